"""Time and memory of the infinite-width kernels.

NNGP and NTK of 2,000 documents of 20 one-hot tokens, vocabulary 5,000.

Run alone on the machine::

    OMP_NUM_THREADS=1 python -m benchmarks.infinite_kernels

Tokens are drawn from a Zipf law (as in text: frequent words make documents share tokens) and uniformly. Each family
runs in a process of its own, so that peak memory is its own; the figure includes about 0.3 GB of PyTorch itself. The
load of the machine is printed: compare only what was measured at a load near 1.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import numpy as np

from entk_tutorial import infinite
from entk_tutorial.infinite import Kernel

LIMITS = {"gated": 20.0, "residual": 20.0}  # string kernels; everything else 10 s; all 2 GB

FAMILIES: dict[str, Callable[..., Kernel]] = {
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


def documents(law: str, number: int = 2000, length: int = 20, vocab: int = 5000) -> np.ndarray:
    """(number, length) token ids."""
    rng = np.random.default_rng(0)
    if law == "uniform":
        return rng.integers(0, vocab, size=(number, length))
    share = 1.0 / np.arange(1, vocab + 1)
    return rng.choice(vocab, size=(number, length), p=share / share.sum())


def measure(family: str, law: str) -> None:
    """Time one family in this process and print a line of JSON."""
    docs = documents(law)
    FAMILIES[family](docs[:20])  # import and quadrature tables
    start = time.perf_counter()
    kernel = FAMILIES[family](docs)
    seconds = time.perf_counter() - start
    assert bool(kernel.ntk.isfinite().all())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"seconds": seconds, "gigabytes": peak}))


def main() -> int:
    """Print the table; exit 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, metavar=("FAMILY", "LAW"))
    chosen = parser.parse_args().one
    if chosen:
        measure(*chosen)
        return 0
    print(f"load at start {os.getloadavg()[0]:.1f}; OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
    print(f"{'family':28}{'uniform s':>10}{'Zipf s':>10}{'peak GB':>10}{'limit s':>10}")
    missed = 0
    for family in FAMILIES:
        rows = []
        for law in ("uniform", "zipf"):
            command = [sys.executable, "-m", "benchmarks.infinite_kernels", "--one", family, law]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout))
        limit = next((seconds for word, seconds in LIMITS.items() if word in family), 10.0)
        slowest, peak = max(r["seconds"] for r in rows), max(r["gigabytes"] for r in rows)
        late = slowest > limit or peak > 2.0
        missed += late
        figures = f"{rows[0]['seconds']:10.2f}{rows[1]['seconds']:10.2f}{peak:10.2f}{limit:10.0f}"
        print(f"{family:28}{figures}{'  MISSED' if late else ''}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
