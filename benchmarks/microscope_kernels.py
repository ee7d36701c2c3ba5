"""Time and memory of two kernels that the microscope needs often, beside the way one would write them first.

The flattened kernel of a toy model of superposition (500 inputs of 50 outputs: 25,000 rows), its spectrum and 80
eigenvectors, by the Gram of the parameters; beside it the dense flat kernel and a dense eigendecomposition, run on few
inputs and *counted up*, not run, to all of them: the kernel's time grows as the square of the rows, the
eigendecomposition's as the cube, the matrix takes 8 bytes an entry.

The nine kernels of the modular-addition Transformer's tensors (841 inputs, 30 outputs), by rule; beside them
per-example gradients, ``vmap(grad)`` for one class after the other, and one product a tensor: the standard way in
PyTorch, in a form that never holds more than one class. Every run is a fresh process with one thread, one after the
other. Ratios are taken from the processor time, which other processes on the machine change less than the wall clock.

    python -m benchmarks.microscope_kernels            about ten minutes on a quiet machine; printed, not stored
    python -m benchmarks.microscope_kernels --store    and stored
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from benchmarks._common import BUSY, FOLDER, finish, in_fresh_process, peak_resident, thread_settings
from entk_tutorial import empirical_ntk, parameter_gram_eigenpairs, top_eigenpairs
from entk_tutorial.experiments.provenance import provenance
from entk_tutorial.models.superposition import SuperpositionModel
from entk_tutorial.models.transformer import ModularTransformer, modular_tokens

P = 29
N = {"superposition": 500, "transformer": P * P}
FEATURES, HIDDEN, LEADING = 50, (10, 40), 80
DENSE_SIZES = (20, 40, 60)
RESULTS = FOLDER / "microscope_kernels.json"
REPEATS = {"gram": 5, "dense": 3, "rules": 5, "vmap": 3}


@dataclass(frozen=True)
class Run:
    """One measured process.

    Attributes:
        method: "gram", "dense", "rules" or "vmap".
        setting: hidden dimensions ("gram", "dense"), or the reduction ("rules", "vmap").
        n: inputs.
        seconds: processor time of the call, after a small warm-up.
        wall: wall clock of the same.
        eigen_seconds: processor time of the eigendecomposition in it; "dense" only.
        peak_bytes: highest resident memory of the process above what it had after imports, model and data.
        load: load average of the machine over a minute, before the run.
    """

    method: str
    setting: str
    n: int
    seconds: float
    wall: float
    eigen_seconds: float
    peak_bytes: int
    load: float


def sparse_inputs(n: int) -> Tensor:
    """(n, 50): each feature is present in one input of ten, uniform in [0, 1]."""
    generator = torch.Generator().manual_seed(1)
    present = torch.rand(n, FEATURES, generator=generator) < 0.1
    return torch.rand(n, FEATURES, generator=generator) * present


def gradient_products(model: nn.Module, x: Tensor, reduce: str) -> dict[str, Tensor]:
    """The peer: per-example gradients of one output after the other, one product for each tensor."""
    params = {name: p.detach() for name, p in model.named_parameters()}
    outputs = model(x[:1]).shape[1]
    mean = torch.full((outputs,), 1.0 / outputs, dtype=next(iter(params.values())).dtype)
    rows = torch.eye(outputs, dtype=mean.dtype) if reduce == "trace" else mean[None]

    def one(values: dict[str, Tensor], example: Tensor, row: Tensor) -> Tensor:
        logits: Tensor = functional_call(model, values, (example[None],))
        return logits[0] @ row

    totals = {name: torch.zeros(len(x), len(x), dtype=mean.dtype) for name in params}
    for row in rows:
        for name, g in vmap(grad(one), in_dims=(None, 0, None))(params, x, row).items():
            totals[name].addmm_(g.flatten(1), g.flatten(1).T)
    return totals


def work(method: str, setting: str, n: int) -> dict[str, float]:
    """What a worker process does: one call, timed."""
    torch.set_num_threads(1)
    eigen = 0.0

    def dense(model: nn.Module, x: Tensor) -> None:
        nonlocal eigen
        kernel = empirical_ntk(model, x, reduce="flat")
        assert isinstance(kernel, Tensor)
        start = time.process_time()
        top_eigenpairs(kernel, min(LEADING, len(kernel)), method="dense")
        eigen = time.process_time() - start

    calls: dict[str, Callable[[nn.Module, Tensor], object]] = {
        "gram": lambda model, x: parameter_gram_eigenpairs(model, x, LEADING),
        "dense": dense,
        "rules": lambda model, x: empirical_ntk(model, x, reduce=setting, by="parameter"),
        "vmap": lambda model, x: gradient_products(model, x, setting),
    }
    toy = method in ("gram", "dense")
    model: nn.Module = SuperpositionModel(FEATURES, int(setting), seed=0) if toy else ModularTransformer(P, seed=0)
    x = sparse_inputs(n) if toy else modular_tokens(P)[:n]
    calls[method](model, x[:16])
    before = peak_resident()
    start, wall = time.process_time(), time.perf_counter()
    calls[method](model, x)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    peak = float(peak_resident() - before)
    return {"seconds": seconds, "wall": wall, "eigen_seconds": eigen, "peak_bytes": peak}


def measure(method: str, setting: str, n: int) -> Run:
    """One run in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.microscope_kernels", "--worker", method, setting, str(n)]
    found = in_fresh_process(command, thread_settings(1), f"{method} {setting}, N = {n}")
    run = Run(method, setting, n, found["seconds"], found["wall"], found["eigen_seconds"],
              int(found["peak_bytes"]), found["load"])  # fmt: skip
    flag = "  BUSY" if run.load > BUSY else ""
    times = f"{run.seconds:8.3f} s of processor, {run.wall:8.3f} s of wall"
    print(f"{method:6} {setting:10} N = {n:4}  {times}  {run.peak_bytes / 2**20:8.1f} MiB  load {run.load:.2f}{flag}",
          flush=True)  # fmt: skip
    return run


def agreement() -> dict[str, float]:
    """Largest relative differences of the two ways, in float64 on few inputs: they compute the same thing."""
    model, x = SuperpositionModel(FEATURES, HIDDEN[0], seed=0).double(), sparse_inputs(12).double()
    kernel = empirical_ntk(model, x, reduce="flat")
    assert isinstance(kernel, Tensor)
    pairs, expected = parameter_gram_eigenpairs(model, x, 20), top_eigenpairs(kernel, 20)
    transformer, tokens = ModularTransformer(P, seed=0).double(), modular_tokens(P)[::60]
    worst = 0.0
    for reduce in ("trace", "mean_logit"):
        ours, peer = (
            empirical_ntk(transformer, tokens, reduce=reduce, by="parameter"),
            gradient_products(transformer, tokens, reduce),
        )
        assert isinstance(ours, dict)
        worst = max(worst, *(float((ours[k] - peer[k]).abs().max() / peer[k].abs().max()) for k in peer))
    return {
        "spectrum": float((pairs.values - expected.values).abs().max() / expected.values[0]),
        "residual": float((kernel @ pairs.vectors - pairs.vectors * pairs.values).abs().max() / expected.values[0]),
        "transformer": worst,
    }


def counted(runs: list[Run]) -> dict[str, object]:
    """The dense way at all inputs, counted up from its largest size: squares for the kernel, cubes for eigenpairs."""
    largest = max(run.n for run in runs)
    mine = [run for run in runs if run.n == largest]
    eigen = statistics.median(run.eigen_seconds for run in mine)
    kernel = statistics.median(run.seconds for run in mine) - eigen
    grow = N["superposition"] / largest
    return {
        "seconds": kernel * grow**2 + eigen * grow**3,
        "matrix_bytes": (N["superposition"] * FEATURES) ** 2 * 8,
        "measured": False,
        "from_n": largest,
        "measured_seconds": kernel + eigen,
    }


def summary(runs: list[Run]) -> dict[str, object]:
    """Medians and ratios."""

    def medians(mine: list[Run]) -> dict[str, object]:
        keys = ("seconds", "wall", "peak_bytes")
        return {key: statistics.median(getattr(run, key) for run in mine) for key in keys} | {"measured": True}

    out: dict[str, object] = {}
    for setting in map(str, HIDDEN):
        ours = medians([run for run in runs if (run.method, run.setting) == ("gram", setting)])
        dense = counted([run for run in runs if (run.method, run.setting) == ("dense", setting)])
        times = dense["seconds"] / ours["seconds"]  # type: ignore[operator]
        parameters = FEATURES * int(setting) + FEATURES
        out[f"superposition, P = {parameters}"] = {"gram": ours, "dense": dense, "times_slower": times}
    for setting in ("trace", "mean_logit"):
        ours = medians([run for run in runs if (run.method, run.setting) == ("rules", setting)])
        peer = medians([run for run in runs if (run.method, run.setting) == ("vmap", setting)])
        times = peer["seconds"] / ours["seconds"]  # type: ignore[operator]
        out[f"transformer, {setting}"] = {"rules": ours, "vmap": peer, "times_slower": times}
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run everything, print and, if asked, store it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.microscope_kernels", description=__doc__)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print(json.dumps(work(options.worker[0], options.worker[1], int(options.worker[2]))))
        return 0
    torch.set_num_threads(1)
    made = provenance(device="cpu")
    differences = agreement()
    if max(differences.values()) > 1e-10:
        raise SystemExit(f"the ways disagree ({differences}): a comparison of their times would mean nothing.")
    start = time.perf_counter()
    jobs = [("gram", str(m), N["superposition"]) for m in HIDDEN for _ in range(REPEATS["gram"])]
    jobs += [("dense", str(m), n) for m in HIDDEN for n in DENSE_SIZES for _ in range(REPEATS["dense"])]
    for reduce in ("mean_logit", "trace"):
        jobs += [(way, reduce, N["transformer"]) for way in ("rules", "vmap") for _ in range(REPEATS[way])]
    runs = [measure(*job) for job in jobs]
    table = summary(runs)
    document = {
        "benchmark": "microscope_kernels",
        "setting": {"n": N, "features": FEATURES, "hidden": HIDDEN, "leading": LEADING, "p": P, "threads_each": 1},
        "relative_differences": differences,
        "summary": table,
        "busy": max(run.load for run in runs) > BUSY,
        "runs": [asdict(run) for run in runs],
        "provenance": made | {"seconds": round(time.perf_counter() - start, 1)},
    }
    finish(document, options.output if options.store else None, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
