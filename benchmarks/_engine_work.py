"""What the worker processes of ``benchmarks.engine`` do: one kernel, or one peer's way to it, timed.

``python -m benchmarks._engine_work NAME N`` prints one line of JSON: the calls' times, the peak of memory above what
the process had before the first of them, and what says that the right thing was computed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, jacrev, vmap

from benchmarks._common import peak_resident
from entk_tutorial import empirical_ntk, parameter_gram_eigenpairs, plan, top_eigenpairs
from entk_tutorial.empirical import kernel as engine
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.superposition import SuperpositionModel
from entk_tutorial.models.transformer import ModularTransformer, modular_tokens

SMALL, LARGE, FEATURES, LEADING, PAIRS = 29, 113, 50, 80, 460
PEER_TILE = 32
GROWTH = {"inputs": ("n", "trace"), "neurons": ("hidden", "trace"), "outputs": ("classes", "full")}
"""What grows -> which of the sizes below, and the reduction it is measured with."""
_SIZES = {"inputs": (1024, 1024, 10), "neurons": (2048, 1024, 10), "outputs": (256, 512, 10)}
"""Inputs, neurons and outputs of these networks, but for the one that grows."""


def modular(p: int, hidden: int, n: int) -> tuple[nn.Module, Tensor]:
    """The network of modular addition with random weights, and n pairs spread over all p^2; as in the peer's script."""
    pairs = torch.linspace(0, p * p - 1, n).round().long()
    x = torch.zeros(n, 2 * p)
    x[torch.arange(n), pairs // p] = 1.0
    x[torch.arange(n), p + pairs % p] = 1.0
    model, draws = QuadraticMLP(p, hidden, seed=0), np.random.default_rng(0)
    with torch.no_grad():
        for weight in (model.fc1.weight, model.fc2.weight):
            weight.copy_(torch.from_numpy(draws.standard_normal(tuple(weight.shape), dtype=np.float32)))
    return model, x


def superposition(n: int) -> tuple[nn.Module, Tensor]:
    """The toy model, and n sparse inputs: each feature is present in one input of ten, uniform in [0, 1]."""
    generator = torch.Generator().manual_seed(1)
    present = torch.rand(n, FEATURES, generator=generator) < 0.1
    return SuperpositionModel(FEATURES, 10, seed=0), torch.rand(n, FEATURES, generator=generator) * present


def transformer(n: int) -> tuple[nn.Module, Tensor]:
    """The modular Transformer with random weights, and n sentences spread over all."""
    tokens = modular_tokens(SMALL)
    return ModularTransformer(SMALL, seed=0), tokens[torch.linspace(0, len(tokens) - 1, n).round().long()]


def growing(what: str, size: int) -> tuple[nn.Module, Tensor, str]:
    """A network of one hidden layer, its inputs and a reduction, one of its sizes as asked."""
    sizes = dict(zip(("n", "hidden", "classes"), _SIZES[what], strict=True))
    varied, reduce = GROWTH[what]
    n, hidden, classes = {**sizes, varied: size}.values()
    generator = torch.Generator().manual_seed(2)
    net = nn.Sequential(nn.Linear(64, hidden), nn.GELU(), nn.Linear(hidden, classes))
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) / p.shape[-1] ** 0.5)
    return net, torch.randn(n, 64, generator=generator), reduce


def jacobian_contraction(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Both Jacobians, one tensor a parameter, then one contraction a parameter: after the PyTorch tutorial on NTKs."""
    params = {name: p.detach() for name, p in model.named_parameters()}

    def one(values: dict[str, Tensor], example: Tensor) -> Tensor:
        outputs: Tensor = functional_call(model, values, (example[None],))
        return outputs[0]

    left, right = (vmap(jacrev(one), in_dims=(None, 0))(params, x) for _ in range(2))
    return {k: torch.einsum("ncp,mcp->nm", left[k].flatten(2), right[k].flatten(2)) for k in params}


def tile_by_tile(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Jacobians of tiles of examples, and all pairs of classes of each pair of tiles; mean and trace are taken last."""
    params = {name: p.detach() for name, p in model.named_parameters()}

    def one(values: dict[str, Tensor], example: Tensor) -> Tensor:
        outputs: Tensor = functional_call(model, values, (example[None],))
        return outputs[0]

    def tile(rows: Tensor) -> dict[str, Tensor]:
        return {k: j.flatten(2) for k, j in vmap(jacrev(one), in_dims=(None, 0))(params, rows).items()}

    out = {k: torch.zeros(2, len(x), len(x)) for k in params}
    for i in range(0, len(x), PEER_TILE):
        left = tile(x[i : i + PEER_TILE])
        for j in range(0, len(x), PEER_TILE):
            right = tile(x[j : j + PEER_TILE])
            for k in params:
                n, c, p = left[k].shape
                block = left[k].reshape(n * c, p) @ right[k].reshape(-1, p).T
                block = block.reshape(n, c, -1, c)
                rows, columns = slice(i, i + PEER_TILE), slice(j, j + PEER_TILE)
                out[k][0, rows, columns] = block.mean((1, 3))
                out[k][1, rows, columns] = block.diagonal(dim1=1, dim2=3).sum(2)
    return out


def _without_factor(call: Callable[[], Any]) -> Any:
    fewest, engine.FEWEST_CLASSES = engine.FEWEST_CLASSES, 10**9
    try:
        return call()
    finally:
        engine.FEWEST_CLASSES = fewest


def _norm(found: Any) -> float:
    """Norm of the total kernel, some rows at a time: copies of it would count as the memory of what comes next."""
    if not isinstance(found, Tensor | dict):
        return float(found.values.norm())
    parts = list(found.values()) if isinstance(found, dict) else [found]
    square = 0.0
    for rows in torch.arange(len(parts[0])).split(256):
        square += float(sum(k[rows].double() for k in parts).square().sum())
    return square**0.5


def jobs(name: str, n: int) -> tuple[Callable[[], Any], int, dict[str, float]]:
    """What is timed, how often, and the multiply-adds that are counted for it."""
    hidden = 2048 if name.endswith("2048") else 512
    counts: dict[str, float] = {}
    if name.startswith("growth"):
        model, x, reduce = growing(name.removeprefix("growth "), n)
        return (
            lambda: empirical_ntk(model, x, reduce=reduce),
            2,
            {"operations": plan(model, x, reduce=reduce).operations},
        )
    if name in ("mlp", "mlp without factor", "mlp jacobians"):
        model, x = modular(SMALL, hidden, n)
    elif name.startswith("large"):
        model, x = modular(LARGE, hidden, n)
    elif name.startswith("superposition"):
        model, x = superposition(n)
    else:
        model, x = transformer(n)

    def by_layer() -> Any:
        return empirical_ntk(model, x, reduce="trace", by="layer")

    def flat() -> Any:
        kernel = empirical_ntk(model, x, reduce="flat")
        assert isinstance(kernel, Tensor)
        return top_eigenpairs(kernel, min(LEADING, len(kernel)), method="dense")

    if name.startswith("large"):
        plain = "without" in name
        planned = _without_factor(lambda: plan(model, x)) if plain else plan(model, x)
        # The readout's cotangents are the same for all examples: its products are those of the inputs alone.
        readout = n * (n + 1) / 2 * hidden
        counts["operations"] = next(part.operations for part in planned.parameters if "fc1" in part.name) + readout
        return (lambda: _without_factor(by_layer)) if plain else by_layer, 1, counts
    calls: dict[str, tuple[Callable[[], Any], int]] = {
        "mlp": (by_layer, 9),
        "mlp without factor": (lambda: _without_factor(by_layer), 5),
        "mlp jacobians": (lambda: jacobian_contraction(model, x), 1),
        "superposition": (lambda: parameter_gram_eigenpairs(model, x, LEADING), 5),
        "superposition dense": (flat, 1),
        "transformer mean_logit": (lambda: empirical_ntk(model, x, reduce="mean_logit", by="parameter"), 5),
        "transformer trace": (lambda: empirical_ntk(model, x, reduce="trace", by="parameter"), 3),
        "transformer tiles": (lambda: {k: both[1] for k, both in tile_by_tile(model, x).items()}, 1),
    }
    return (*calls[name], counts)


def peak_product(size: int = 4096, repeats: int = 5) -> float:
    """Multiply-adds a second of this machine's single-precision matrix product, the best of a few."""
    left, right, out = torch.randn(size, size), torch.randn(size, size), torch.empty(size, size)
    torch.mm(left, right, out=out)
    best = 0.0
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(left, right, out=out)
        best = max(best, size**3 / (time.perf_counter() - start))
    return best


def work(name: str, n: int) -> dict[str, Any]:
    """One worker's measurement."""
    if name == "sgemm":
        return {"wall": [], "seconds": [], "peak_bytes": 0, "operations_a_second": peak_product(n)}
    jobs(name, min(n, 40))[0]()  # imports, thread pools, first calls
    call, repeats, counts = jobs(name, n)
    before, found = peak_resident(), None
    wall, seconds, peak = [], [], 0
    for _ in range(repeats):
        found = None  # what the last call returned must not stand beside what this one makes
        start, began = time.perf_counter(), time.process_time()
        found = call()
        wall.append(time.perf_counter() - start)
        seconds.append(time.process_time() - began)
        peak = peak or peak_resident() - before
    result = {"wall": wall, "seconds": seconds, "peak_bytes": peak, "norm": _norm(found), **counts}
    if name.startswith("large trace"):
        assert isinstance(found, dict)
        total = found.pop("fc1")
        total += found.pop("fc2")
        start, began = time.perf_counter(), time.process_time()
        pairs = top_eigenpairs(total, min(PAIRS, len(total) // 2))
        result |= {"eigen_wall": time.perf_counter() - start, "eigen_seconds": time.process_time() - began}
        result |= {"residual": float(pairs.residuals.max() / pairs.values[0]), "eigen_method": pairs.method}
        result["eigen_peak_bytes"] = peak_resident() - before
    return result


if __name__ == "__main__":
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    print(json.dumps(work(sys.argv[1], int(sys.argv[2]))))
