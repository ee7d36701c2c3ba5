"""Time and memory of the infinite-width kernels, and of neural-tangents where it is installed.

Three tables: NNGP and NTK of 2,000 documents of 20 one-hot tokens (vocabulary 5,000); products of explicit feature maps
with a vector for 7,000 documents, kernel never formed; and what has to pay more: a dense token Gram, and softmax
attention with many heads, whose expectation is sampled. Tokens are drawn uniformly and from a Zipf law (as in text:
frequent words make documents share tokens). Every run is a fresh process with one thread, one after the other, so that
peak memory is its own. Limits and ratios are of processor time, which other processes on the machine change less than
the wall's; both are stored.

    python -m benchmarks.infinite_kernels                     all of it; stored in benchmarks/results
    python -m benchmarks.infinite_kernels --peer nt/bin/python    and the peer, in the environment that has it

The peer needs an old JAX, so it never enters this project's environment (``tools/make_golden_kernels.py`` says how to
make one). It multiplies vectors, so one-hot tokens cost it the vocabulary: it gets 200 documents over 200 words, where
both agree to rounding, and so do we for the ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import BUSY, FOLDER, finish, in_fresh_process, peak_resident, thread_settings

RESULTS = FOLDER / "infinite_kernels.json"
PEER = Path(__file__).resolve().parent / "neural_tangents_peer.py"
LIMITS = {"gated": 20.0, "residual": 20.0}  # string kernels; everything else 10 s; all 2 GB
FEATURE_LIMIT, GIGABYTES = 5.0, 2.0
PEER_DOCS, PEER_VOCAB = 200, 200


def families() -> dict[str, Callable[..., Any]]:
    """Kernels of one-hot tokens, by the name in the table; the package is imported in the worker only."""
    from entk_tutorial import infinite

    return {
        "linear": infinite.linear_kernel,
        "mlp relu": infinite.mlp_kernel,
        "mlp tanh": partial(infinite.mlp_kernel, activation="tanh"),
        "mlp relu pooled first": partial(infinite.mlp_kernel, pool_first=True, pooling="mean"),
        "mlp tanh pooled first": partial(infinite.mlp_kernel, pool_first=True, pooling="mean", activation="tanh"),
        "cnn relu k=2": infinite.cnn_kernel,
        "cnn gelu k=3 padded": partial(infinite.cnn_kernel, window=3, padding=1, activation="gelu"),
        "cnn relu k=5": partial(infinite.cnn_kernel, window=5),
        "cnn relu k=10": partial(infinite.cnn_kernel, window=10),
        "attention tied": infinite.attention_kernel,
        "attention uniform": partial(infinite.attention_kernel, variant="uniform"),
        "attention heads identity": partial(infinite.attention_kernel, variant="heads", scores="identity"),
        "hadamard": infinite.hadamard_kernel,
        "hadamard tied": partial(infinite.hadamard_kernel, tied=True),
        "mv": infinite.mv_kernel,
        "rnn additive, sum": partial(infinite.rnn_kernel, kind="additive"),
        "rnn gated, sum": infinite.rnn_kernel,
        "rnn gated, last": partial(infinite.rnn_kernel, readout="last"),
        "matrix product": infinite.matrix_product_kernel,
        "matrix product residual": partial(infinite.matrix_product_kernel, residual=True),
    }


def feature_maps() -> dict[str, Callable[..., Any]]:
    """Explicit feature maps; the time is that of making them and of one product with a vector."""
    from entk_tutorial.infinite import feature_maps as maps

    return {
        "features: linear": maps.linear_features,
        "features: mlp": maps.mlp_features,
        "features: cnn": maps.cnn_features,
        "features: attention": maps.attention_features,
        "features: hadamard": maps.hadamard_features,
        "features: mv": maps.mv_features,
        "features: rnn gated": maps.gated_rnn_features,
    }


def dearer() -> dict[str, tuple[Callable[..., Any], int, int]]:
    """What the limits do not cover: kernel, number of documents, vocabulary."""
    import torch

    from entk_tutorial import infinite

    generator = torch.Generator().manual_seed(0)

    def dense(kernel: Callable[..., Any], vocab: int) -> Callable[..., Any]:
        vectors = np.random.default_rng(1).standard_normal((vocab, 50)) / 50**0.5
        return partial(kernel, gram=vectors @ vectors.T)

    softmax = partial(infinite.attention_kernel, variant="heads", n_samples=200, generator=generator)
    return {
        "dense Gram: mlp relu": (dense(infinite.mlp_kernel, 5000), 2000, 5000),
        "dense Gram: cnn relu k=2": (dense(infinite.cnn_kernel, 500), 500, 500),
        "dense Gram: rnn gated": (dense(infinite.rnn_kernel, 500), 1000, 500),
        "softmax heads, 200 samples": (softmax, 100, 100),
    }


def documents(law: str, number: int = 2000, length: int = 20, vocab: int = 5000) -> np.ndarray:
    """(number, length) token ids."""
    rng = np.random.default_rng(0)
    if law == "uniform":
        return rng.integers(0, vocab, size=(number, length))
    share = 1.0 / np.arange(1, vocab + 1)
    return rng.choice(vocab, size=(number, length), p=share / share.sum())


def call(name: str, law: str, number: int) -> tuple[Callable[[np.ndarray], Any], np.ndarray]:
    """What to time, and its documents; ``number`` 0 is the table's own."""
    if name in feature_maps():
        make = feature_maps()[name]

        def product(docs: np.ndarray) -> Any:
            import torch

            return make(docs) @ torch.ones(len(docs), dtype=torch.float64)

        return product, documents(law, number or 7000)
    if name in dearer():
        kernel, size, vocab = dearer()[name]
        return kernel, documents(law, number or size, vocab=vocab)
    vocab = PEER_VOCAB if number else 5000
    return families()[name], documents(law, number or 2000, vocab=vocab)


def work(name: str, law: str, number: int) -> dict[str, float]:
    """What a worker process does: one call, timed, after a small one that fills quadrature tables."""
    import torch

    torch.set_num_threads(1)
    function, docs = call(name, law, number)
    function(docs[:20])
    before, start, wall = peak_resident(), time.process_time(), time.perf_counter()
    found = function(docs)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    ntk = getattr(found, "ntk", found)
    assert bool(ntk.isfinite().all())
    size = float(np.linalg.norm(np.asarray(ntk)))
    peak = peak_resident()
    return {"seconds": seconds, "wall": wall, "peak_bytes": peak, "extra_bytes": peak - before, "norm": size}


def measure(name: str, law: str, number: int = 0, python: str | None = None) -> dict[str, Any]:
    """One run in a fresh process; with ``python``, of the peer."""
    settings = thread_settings(1) | {"JAX_PLATFORMS": "cpu"}
    settings["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    script = ["-m", "benchmarks.infinite_kernels", "--one"] if python is None else [str(PEER)]
    found = in_fresh_process([python or sys.executable, *script, name, law, str(number)], settings, f"{name}, {law}")
    return {"name": name, "law": law, **found}


def row(name: str, limit: float | None) -> dict[str, Any]:
    """Both laws of one line of the tables, printed and judged."""
    runs = {law: measure(name, law) for law in ("uniform", "zipf")}
    slowest = max(run["seconds"] for run in runs.values())
    peak = max(run["peak_bytes"] for run in runs.values()) / 1e9
    late = limit is not None and (slowest > limit or peak > GIGABYTES)
    figures = f"{runs['uniform']['seconds']:10.2f}{runs['zipf']['seconds']:10.2f}{peak:10.2f}"
    print(f"{name:30}{figures}{limit or float('nan'):10.0f}{'  MISSED' if late else ''}", flush=True)
    return {"name": name, "limit_seconds": limit, "missed": late, "peak_gigabytes": peak, "runs": runs}


def against_peer(python: str) -> list[dict[str, Any]]:
    """The same 200 documents here and in neural-tangents, in turn; equal norms, and the ratio of times."""
    rows = []
    for name in ("linear", "mlp relu", "cnn relu k=2", "attention tied"):
        ours = [measure(name, "zipf", PEER_DOCS) for _ in range(3)]
        peer = [measure(name, "zipf", PEER_DOCS, python) for _ in range(3)]
        if abs(ours[0]["norm"] / peer[0]["norm"] - 1) > 1e-8:
            raise SystemExit(f"{name}: the peer computes another kernel ({ours[0]['norm']}, {peer[0]['norm']}).")
        times = [float(np.median([run["seconds"] for run in runs])) for runs in (ours, peer)]
        print(f"{name:30}{times[0]:10.3f} s ours{times[1]:10.3f} s peer{times[1] / times[0]:10.0f} times", flush=True)
        rows.append({"name": name, "ours": times[0], "peer": times[1], "times_slower": times[1] / times[0]})
    return rows


def main(arguments: list[str] | None = None) -> int:
    """Print and store the tables; exit 1 if a limit is missed."""
    from entk_tutorial.experiments.provenance import provenance

    parser = argparse.ArgumentParser(prog="python -m benchmarks.infinite_kernels", description=__doc__)
    parser.add_argument("--one", nargs=3, metavar=("FAMILY", "LAW", "DOCS"), help=argparse.SUPPRESS)
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter of an environment that has neural-tangents")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    if options.one:
        print(json.dumps(work(options.one[0], options.one[1], int(options.one[2]))))
        return 0
    start, load = time.perf_counter(), os.getloadavg()[0]
    print(f"{'':30}{'uniform s':>10}{'Zipf s':>10}{'peak GB':>10}{'limit s':>10}     load {load:.2f}")
    kernels = [row(n, next((s for word, s in LIMITS.items() if word in n), 10.0)) for n in families()]
    features = [row(n, FEATURE_LIMIT) for n in feature_maps()]
    more = [{**row(n, None), "documents": size, "vocabulary": v} for n, (_, size, v) in dearer().items()]
    rows = [*kernels, *features, *more]
    loads = [run["load"] for line in rows for run in line["runs"].values()]
    document = {
        "benchmark": "infinite_kernels",
        "setting": {"documents": 2000, "feature_documents": 7000, "length": 20, "vocabulary": 5000, "threads_each": 1},
        "kernels": kernels,
        "features": features,
        "dearer": more,
        "peer": {
            "library": "neural-tangents",
            "documents": PEER_DOCS,
            "vocabulary": PEER_VOCAB,
            "rows": against_peer(options.peer) if options.peer else [],
        },
        "busy": max(loads) > BUSY,
        "provenance": provenance(device="cpu") | {"seconds": round(time.perf_counter() - start, 1)},
    }
    finish(document, options.output)
    return int(any(line["missed"] for line in rows))


if __name__ == "__main__":
    sys.exit(main())
