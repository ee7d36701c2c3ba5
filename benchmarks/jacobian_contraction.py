"""Time and memory of the modular MLP's trace kernel: contracted Jacobians beside products by layer.

The peer is the standard way to write a finite-width kernel in PyTorch: per-example Jacobians with ``torch.func`` and
one einsum. It is given its best form for a trace ("trace": only equal classes are multiplied). The form that makes all
pairs of classes first and takes the trace afterwards ("all pairs") is timed on few inputs and extrapolated. Every run
is a fresh process with one thread, and one follows the other. Two clocks are kept: the wall's, which other processes on
the machine slow down, and the processor time of the run, which they change less; ratios are taken from the second.

    python -m benchmarks.jacobian_contraction            three sizes of the peer, extrapolated; printed, not stored
    python -m benchmarks.jacobian_contraction --full     and three runs of it on all 841 inputs (about 10 GB); stored
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
from torch.func import functional_call, jacrev, vmap

from benchmarks._common import BUSY, FOLDER, finish, in_fresh_process, peak_resident, power_law, thread_settings
from entk_tutorial import empirical_ntk
from entk_tutorial.data.modular import modular_task
from entk_tutorial.experiments import modular_mlp
from entk_tutorial.experiments.provenance import provenance
from entk_tutorial.models.modular import QuadraticMLP

P, HIDDEN = 29, 512
N = P * P
RESULTS = FOLDER / "jacobian_contraction.json"
SIZES = {"trace": (N // 8, N // 4, N // 2), "all pairs": (N // 16, N // 12, N // 8)}
REPEATS = {"trace": 3, "all pairs": 3, "products": 5, "full": 3}


@dataclass(frozen=True)
class Run:
    """One measured process.

    Attributes:
        method: "trace" and "all pairs" for the two forms of the peer, "products" for ours, "seed" for one whole seed.
        n: inputs.
        seconds: processor time of the call, after a small warm-up.
        wall: wall clock of the same.
        peak_bytes: highest resident memory of the process above what it had after imports, model and data.
        load: load average of the machine over a minute, before the run.
    """

    method: str
    n: int
    seconds: float
    wall: float
    peak_bytes: int
    load: float


def jacobian_contraction(model: nn.Module, x1: Tensor, x2: Tensor, *, all_pairs: bool) -> Tensor:
    """The peer: both Jacobians, one tensor a parameter, then one contraction a parameter, summed."""
    params = {name: p.detach() for name, p in model.named_parameters()}

    def one(values: dict[str, Tensor], example: Tensor) -> Tensor:
        outputs: Tensor = functional_call(model, values, (example[None],))
        return outputs[0]

    left = vmap(jacrev(one), in_dims=(None, 0))(params, x1)
    right = vmap(jacrev(one), in_dims=(None, 0))(params, x2)
    rule = "ncp,mdp->nmcd" if all_pairs else "ncp,mcp->nm"
    parts = [torch.einsum(rule, left[name].flatten(2), right[name].flatten(2)) for name in params]
    total = torch.stack(parts).sum(0)
    return torch.einsum("nmcc->nm", total) if all_pairs else total


def work(method: str, n: int) -> dict[str, float]:
    """What a worker process does: one call, timed."""
    torch.set_num_threads(1)
    model, x = QuadraticMLP(P, HIDDEN, seed=0), modular_task(P, 0.5, 0).inputs
    calls: dict[str, Callable[[int], object]] = {
        "trace": lambda rows: jacobian_contraction(model, x[:rows], x[:rows], all_pairs=False),
        "all pairs": lambda rows: jacobian_contraction(model, x[:rows], x[:rows], all_pairs=True),
        "products": lambda rows: empirical_ntk(model, x[:rows], reduce="trace", by="layer"),
        "seed": lambda rows: modular_mlp.run(
            modular_mlp.Config(controls=False) if rows == N else modular_mlp.Config(p=5, epochs=10, controls=False), [0]
        ),
    }
    calls[method](min(n, 8))
    before = peak_resident()
    start, wall = time.process_time(), time.perf_counter()
    calls[method](n)
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    return {"seconds": seconds, "wall": wall, "peak_bytes": float(peak_resident() - before)}


def measure(method: str, n: int) -> Run:
    """One run in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.jacobian_contraction", "--worker", method, str(n)]
    found = in_fresh_process(command, thread_settings(1), f"{method}, N = {n}")
    run = Run(method, n, found["seconds"], found["wall"], int(found["peak_bytes"]), found["load"])
    flag = "  BUSY" if run.load > BUSY else ""
    memory = run.peak_bytes / 2**30
    times = f"{run.seconds:8.3f} s of processor, {run.wall:8.3f} s of wall"
    print(f"{method:10} N = {n:4}  {times}  {memory:6.2f} GiB  load {run.load:.2f}{flag}", flush=True)
    return run


def agreement() -> float:
    """Largest difference of the two ways on 40 inputs, relative to the largest entry: they compute the same kernel."""
    model, x = QuadraticMLP(P, HIDDEN, seed=0).double(), modular_task(P, 0.5, 0).inputs.double()[:40]
    ours = empirical_ntk(model, x, reduce="trace")
    assert isinstance(ours, Tensor)
    return max(
        float((jacobian_contraction(model, x, x, all_pairs=pairs) - ours).abs().max() / ours.abs().max())
        for pairs in (False, True)
    )


def extrapolated(runs: list[Run], what: str) -> tuple[float, float]:
    """Value at N by a power law through the medians of each size, and its exponent."""
    sizes = sorted({run.n for run in runs if run.n < N})
    values = [statistics.median(getattr(run, what) for run in runs if run.n == n) for n in sizes]
    return power_law(sizes, values, N)


def summary(runs: list[Run]) -> dict[str, object]:
    """The table that the chapter quotes."""
    by = {method: [run for run in runs if run.method == method] for method in (*SIZES, "products", "seed")}
    ours = statistics.median(run.seconds for run in by["products"])
    memory = statistics.median(run.peak_bytes for run in by["products"])
    wall = statistics.median(run.wall for run in by["products"])
    out: dict[str, object] = {"products": {"seconds": ours, "wall": wall, "peak_bytes": memory, "measured": True}}
    for name in ("trace", "all pairs"):
        whole = [run for run in by[name] if run.n == N]
        seconds, exponent = extrapolated(by[name], "seconds")
        peak = extrapolated(by[name], "peak_bytes")[0]
        row = {"seconds": seconds, "peak_bytes": peak, "exponent": exponent, "measured": False}
        if whole:
            row |= {"extrapolated_seconds": seconds, "measured": True}
            row |= {
                key: statistics.median(getattr(run, key) for run in whole) for key in ("seconds", "wall", "peak_bytes")
            }
        row |= {"times_slower": row["seconds"] / ours, "times_memory": row["peak_bytes"] / memory}
        out[name] = row
    if by["seed"]:
        out["seed"] = {"seconds": by["seed"][0].seconds, "wall": by["seed"][0].wall, "measured": True}
    return out


def main(arguments: list[str] | None = None) -> int:
    """Run everything, print and store it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.jacobian_contraction", description=__doc__)
    parser.add_argument("--full", action="store_true", help="also run the peer on all inputs (10 GB), and store")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        print(json.dumps(work(options.worker[0], int(options.worker[1]))))
        return 0
    torch.set_num_threads(1)
    made = provenance(device="cpu")
    difference = agreement()
    if difference > 1e-12:
        raise SystemExit(f"the ways disagree by {difference:.1e}: a comparison of their times would mean nothing.")
    start = time.perf_counter()
    runs = [measure("products", N) for _ in range(REPEATS["products"])]
    runs += [measure(m, n) for m, sizes in SIZES.items() for n in sizes for _ in range(REPEATS[m])]
    runs += [measure("trace", N) for _ in range(REPEATS["full"])] if options.full else []
    runs += [measure("seed", N)]
    table = summary(runs)
    document = {
        "benchmark": "jacobian_contraction",
        "setting": {"p": P, "hidden": HIDDEN, "n": N, "outputs": P, "parameters": 3 * P * HIDDEN, "threads_each": 1},
        "relative_difference": difference,
        "summary": table,
        "busy": max(run.load for run in runs) > BUSY,
        "runs": [asdict(run) for run in runs],
        "provenance": made | {"seconds": round(time.perf_counter() - start, 1)},
    }
    finish(document, options.output if options.full else None, table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
