"""The engine's table: time, memory and agreement of every kernel that the course needs, each beside a named peer.

Every measurement is a fresh process with two threads, one after the other. Peers that would take minutes run on an
eighth, a quarter and a half of the inputs, or less, and are extrapolated with the exponent fitted to those runs; the
table says so. The machine's own matrix product is timed in the same run, before and after. Wall clocks mean nothing on
a machine that is busy with something else: the run is refused there, and each figure says how many cores others took
while it was measured.

    python -m benchmarks                            the table, printed; under 15 minutes
    python -m benchmarks --store                    and stored in benchmarks/results/engine.json
    python -m benchmarks --peer nt/bin/python       with neural-tangents beside it, in the environment that has it
    python -m benchmarks --anyway                   on a busy machine, flagged
    python -m benchmarks --quick                    few inputs, to see that it runs

neural-tangents needs an old JAX, so it never enters this project's environment::

    python3.11 -m venv nt && nt/bin/pip install jax==0.4.30 jaxlib==0.4.30 neural-tangents==0.6.5 "scipy<1.18"
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks._common import (
    BUSY_CORES,
    FOLDER,
    cores_of_others,
    finish,
    in_fresh_process,
    power_law,
    thread_settings,
)
from entk_tutorial.experiments.provenance import provenance

RESULTS = FOLDER / "engine.json"
PEER = Path(__file__).resolve().parent / "empirical_kernel_peer.py"
THREADS = 2
N = {"mlp": 841, "superposition": 500, "transformer": 841, "large": 12_769}
SGEMM = 4096
GROWTH = {"inputs": (2048, 4096, 8192), "neurons": (1024, 2048, 4096), "outputs": (8, 16, 32)}
"""What grows, and to which sizes."""
WHERE_LIMITS_WERE_SET = 150e9
"""Matrix product of the machine on which the limits in seconds were set: 150 to 220 GF/s, two threads."""
PEER_SECONDS = 180.0
"""After so long the peer in another environment counts as absent."""


@dataclass(frozen=True)
class Run:
    """One measured process.

    Attributes:
        job: see :func:`benchmarks._engine_work.jobs`.
        n: inputs.
        wall: seconds of each call.
        seconds: processor time of each call, all threads.
        peak_bytes: highest resident memory above what the process had before the first call.
        load: load average over a minute, before.
        others: cores that other processes took meanwhile; None where the system does not say.
        more: what else the job reports.
    """

    job: str
    n: int
    wall: list[float]
    seconds: list[float]
    peak_bytes: int
    load: float
    others: float | None
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def typical(self) -> float:
        """Median wall clock."""
        return statistics.median(self.wall)


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure, the peer's, and what is asked for.

    Attributes:
        work: what was computed.
        figure: what was measured of it.
        unit: of the figure.
        ours: the value.
        limit: the target; None for a figure without one.
        at_most: whether the target is an upper bound.
        peer: named, with its own figure and how it was come by; empty where there is none.
        note: what to know when reading it.
    """

    work: str
    figure: str
    unit: str
    ours: float
    limit: float | None
    at_most: bool = True
    peer: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is met; None if there is none."""
        if self.limit is None:
            return None
        return self.ours <= self.limit if self.at_most else self.ours >= self.limit


def schedule(*, quick: bool, peer: str | None) -> list[tuple[str, int]]:
    """Jobs and their inputs, in the order in which they run."""
    mlp, toy, tokens, large = (max(16, n // (8 if quick else 1)) for n in N.values())
    product = SGEMM // (4 if quick else 1)
    # What takes a tenth of a second is at the mercy of what the machine's host does in that minute: three rounds.
    short = [("mlp", mlp), ("mlp without factor", mlp)] + ([("neural-tangents", mlp)] if peer else [])
    jobs = [("sgemm", product), *short]
    jobs += [("mlp jacobians", mlp // k) for k in (8, 4, 2)]
    jobs += [("superposition", toy)] + [("superposition dense", toy // k) for k in (16, 8, 4)]
    jobs += [("transformer mean_logit", tokens), ("transformer trace", tokens)]
    jobs += [("transformer tiles", tokens // k) for k in (16, 8, 4)]
    jobs += short
    jobs += [("large trace 512", large // k) for k in (4, 2, 1)]
    jobs += [("large without factor 512", large // k) for k in (4, 2, 1)]
    jobs += [("large trace 2048", large)]
    jobs += [(f"growth {what}", size // (4 if quick else 1)) for what, sizes in GROWTH.items() for size in sizes]
    return [*jobs, *short, ("sgemm", product)]


def measure(job: str, n: int, peer: str | None) -> Run:
    """One run in a fresh process, printed."""
    settings = thread_settings(THREADS)
    command = [sys.executable, "-m", "benchmarks._engine_work", job, str(n)]
    if job == "neural-tangents":
        assert peer is not None
        command = [peer, str(PEER), str(n)]
        settings |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"intra_op_parallelism_threads={THREADS}"}
        settings["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen=true {settings['XLA_FLAGS']}"
    limit = PEER_SECONDS if job == "neural-tangents" else None
    found = in_fresh_process(command, settings, f"{job}, N = {n}", seconds=limit)
    known = {key: found.pop(key) for key in ("wall", "seconds", "peak_bytes", "load", "others")}
    run = Run(job, n, **known, more=found)
    flag = "  BUSY" if _disturbed(run) else ""
    others = "?" if run.others is None else f"{run.others:.2f}"
    what = (
        f"{run.typical:9.3f} s  {run.peak_bytes / 1e9:6.2f} GB"
        if run.wall
        else f"{_flops(run) / 1e9:9.1f} GF/s" + " " * 9
    )
    print(f"{job:26} N = {n:6}  {what}  load {run.load:5.2f}, others {others} cores{flag}", flush=True)
    return run


def _flops(run: Run) -> float:
    return 2 * float(run.more["operations_a_second"])


def _disturbed(run: Run) -> bool:
    return run.others is not None and run.others > BUSY_CORES


def _of(runs: list[Run], job: str) -> list[Run]:
    """A job's runs, by inputs: those of one size as one."""
    mine = [run for run in runs if run.job == job]
    return [_pooled([run for run in mine if run.n == n]) for n in sorted({run.n for run in mine})]


def _pooled(runs: list[Run]) -> Run:
    """Every call of runs of the same job and size; the most memory, load and other work of any."""
    others = [run.others for run in runs if run.others is not None]
    return replace(
        runs[0],
        wall=[seconds for run in runs for seconds in run.wall],
        seconds=[seconds for run in runs for seconds in run.seconds],
        peak_bytes=max(run.peak_bytes for run in runs),
        load=max(run.load for run in runs),
        others=max(others, default=None),
    )


def _extrapolated(runs: list[Run], job: str, n: int) -> tuple[float, str]:
    mine = _of(runs, job)
    value, exponent = power_law([run.n for run in mine], [run.typical for run in mine], n)
    return value, f"{value:.3g} s, extrapolated from N = {mine[-1].n} with exponent {exponent:.2f}"


def table(runs: list[Run]) -> list[Row]:
    """Rows with ratios and targets, from the runs alone."""
    peak = max(_flops(run) for run in runs if run.job == "sgemm")
    slower = WHERE_LIMITS_WERE_SET / peak
    note = f"the limits in seconds were set on a machine whose product was {slower:.1f} times as fast, or more"
    machine = Row("this machine", "matrix product", "GF/s", peak / 1e9, None, note=note)
    return [machine, *_mlp(runs), *_superposition(runs), *_transformer(runs), *_large(runs, peak), *_growth(runs)]


def _mlp(runs: list[Run]) -> list[Row]:
    ours, plain = _of(runs, "mlp")[-1], _of(runs, "mlp without factor")[-1]
    work, gap = f"modular MLP, p = 29, trace by layer, {ours.n} inputs", abs(plain.more["norm"] / ours.more["norm"] - 1)
    seconds, told = _extrapolated(runs, "mlp jacobians", ours.n)
    jacobians = _of(runs, "mlp jacobians")
    memory = power_law([run.n for run in jacobians], [run.peak_bytes for run in jacobians], ours.n)[0]
    tutorial = "Jacobian contraction: "
    rows = [
        Row(work, "time", "s", ours.typical, 0.04,
            note=f"without the shared factor {plain.typical:.3g} s, norms agree to {gap:.0e}"),
        Row(work, "times faster", "x", seconds / ours.typical, 500, at_most=False, peer=tutorial + told),
        Row(work, "times less memory", "x", memory / max(ours.peak_bytes, 1), 15, at_most=False,
            peer=f"{tutorial}{memory / 1e9:.2f} GB, extrapolated from N = {jacobians[-1].n}"),
    ]  # fmt: skip
    if peers := _of(runs, "neural-tangents"):
        peer = peers[-1]
        far = abs(peer.more["norm"] / ours.more["norm"] - 1)
        told = f"neural-tangents, structured derivatives: {peer.typical:.3g} s, norms agree to {far:.0e}"
        rows += [
            Row(work, "times faster, peer NT", "x", peer.typical / ours.typical, 5, at_most=False, peer=told),
            Row(work, "the same, without factor", "x", peer.typical / plain.typical, 1, at_most=False, peer=told),
        ]
    return rows


def _superposition(runs: list[Run]) -> list[Row]:
    ours = _of(runs, "superposition")[-1]
    work = f"superposition, flat, top 80 of {50 * ours.n}"
    dense, told = _extrapolated(runs, "superposition dense", ours.n)
    peer = f"dense eigh of the flat kernel: {told}"
    return [
        Row(work, "time", "s", ours.typical, 0.5, peer=peer),
        Row(work, "memory", "GB", ours.peak_bytes / 1e9, 1.5),
        Row(work, "times faster", "x", dense / ours.typical, None, peer=peer),
    ]


def _transformer(runs: list[Run]) -> list[Row]:
    rows = []
    for reduce, limit in (("mean_logit", 0.3), ("trace", 3.0)):
        ours = _of(runs, f"transformer {reduce}")[-1]
        work = f"modular Transformer, nine tensors, {reduce.replace('_', ' ')}, {ours.n} inputs"
        peer, told = _extrapolated(runs, "transformer tiles", ours.n)
        told = f"tile by tile, all pairs of classes: {told}"
        rows += [Row(work, "time", "s", ours.typical, limit, peer=told)]
        rows += [Row(work, "memory", "GB", ours.peak_bytes / 1e9, 1.5)]
        rows += [Row(work, "times faster", "x", peer / ours.typical, None, peer=told)]
    return rows


def _large(runs: list[Run], peak: float) -> list[Row]:
    rows = []
    for hidden, seconds, memory in ((512, 6.0, 3.0), (2048, 300.0, 5.0)):
        ours = _of(runs, f"large trace {hidden}")[-1]
        work = f"modular MLP, p = 113, H = {hidden}, {ours.n} inputs"
        method, eigen = ours.more["eigen_method"], ours.more["eigen_wall"]
        rows += [
            Row(work, "trace by layer, time", "s", ours.typical, seconds),
            Row(work, "memory", "GB", ours.peak_bytes / 1e9, memory),
            Row(work, "top 460 pairs, time", "s", eigen, 20.0 if hidden == 512 else seconds, note=method),
            Row(work, "with pairs, memory", "GB", ours.more["eigen_peak_bytes"] / 1e9, memory),
            Row(work, "residual / first eigenvalue", "", ours.more["residual"], 1e-5),
        ]  # fmt: skip
    plain = _of(runs, "large without factor 512")
    work = f"modular MLP, p = 113, H = 512, {plain[-1].n} inputs, without the shared factor"
    gap = abs(plain[-1].more["norm"] / _of(runs, "large trace 512")[-1].more["norm"] - 1)
    rate = 2 * plain[-1].more["operations"] / plain[-1].typical
    rows += [
        Row(work, "trace by layer, time", "s", plain[-1].typical, 80.0, note=f"norms agree to {gap:.0e}"),
        Row(work, "memory", "GB", plain[-1].peak_bytes / 1e9, 3.0),
        Row(work, "share of peak product", "%", 100 * rate / peak, 60.0, at_most=False,
            peer=f"sgemm of this machine, {peak / 1e9:.0f} GF/s in the same run"),
    ]  # fmt: skip
    for job, name in (("large without factor 512", work), ("large trace 512", work.partition(", without")[0])):
        mine = _of(runs, job)
        found = power_law([run.n for run in mine], [run.typical for run in mine], mine[-1].n)[1]
        counted = power_law([run.n for run in mine], [run.more["operations"] for run in mine], mine[-1].n)[1]
        limit = 0.15 if job.startswith("large without") else None
        note = f"measured {found:.2f}, products counted {counted:.2f}"
        rows.append(Row(name, "exponent of N, off 2 by", "", abs(found - 2), limit, note=note))
    return rows


def _growth(runs: list[Run]) -> list[Row]:
    """Exponents, measured in processor time, beside those of the products that the plan counts."""
    rows = []
    for what, reduce in (("inputs", "trace"), ("neurons", "trace"), ("outputs", "full")):
        mine = _of(runs, f"growth {what}")
        sizes = [run.n for run in mine]
        found = power_law(sizes, [min(run.seconds) for run in mine], sizes[-1])[1]
        counted = power_law(sizes, [run.more["operations"] for run in mine], sizes[-1])[1]
        work = f"one hidden layer, {reduce} kernel, {sizes[0]} to {sizes[-1]} {what}"
        rows.append(Row(work, f"exponent of {what}", "", found, None, note=f"products counted {counted:.2f}"))
    return rows


def printed(rows: list[Row]) -> str:
    """The table for people."""
    lines, last = [], ""
    for row in rows:
        if row.work != last:
            lines.append(row.work)
            last = row.work
        bound = "" if row.limit is None else f"{'at most' if row.at_most else 'at least'} {row.limit:g}"
        verdict = {None: "", True: "met", False: "MISSED"}[row.met]
        told = "; ".join(part for part in (row.peer, row.note) if part)
        lines.append(f"    {row.figure:28}{row.ours:10.3g} {row.unit:3}{bound:>14}  {verdict:7} {told}".rstrip())
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and store if asked; exit 1 if a target is missed, 2 if the machine is busy."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--store", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--peer", metavar="PYTHON", help="interpreter of an environment that has neural-tangents")
    parser.add_argument("--anyway", action="store_true", help="on a busy machine, too; the figures are flagged")
    parser.add_argument("--quick", action="store_true", help="an eighth of the inputs; never stored")
    options = parser.parse_args(arguments)
    if options.store and options.quick:
        parser.error("--quick is to see that it runs; its figures are not stored.")
    before = cores_of_others()
    if before is not None and before > BUSY_CORES and not options.anyway:
        print(f"other processes keep {before:.1f} cores busy, so a wall clock would say little (load "
              f"{os.getloadavg()[0]:.1f}). Wait for them, or take --anyway.", file=sys.stderr)  # fmt: skip
        return 2
    start, made = time.perf_counter(), provenance(device="cpu")
    runs, absent = [], [] if options.peer else ["neural-tangents (--peer PYTHON)"]
    for job, n in schedule(quick=options.quick, peer=options.peer):
        try:
            runs.append(measure(job, n, options.peer))
        except SystemExit as failure:
            if job != "neural-tangents":
                raise
            absent.append(f"neural-tangents ({str(failure).splitlines()[-1]})")
            print(f"absent: {absent[-1]}", flush=True)
    rows = table(runs)
    document = {
        "benchmark": "engine",
        "setting": {"threads_each": THREADS, "n": N, "sgemm": SGEMM},
        "rows": [asdict(row) | {"met": row.met} for row in rows],
        "runs": [asdict(run) for run in runs],
        "peers_absent": absent,
        "busy": any(_disturbed(run) for run in runs),
        "provenance": made | {"seconds": round(time.perf_counter() - start, 1)},
    }
    ending = [printed(rows), f"{time.perf_counter() - start:.0f} s in all; peers absent: {', '.join(absent) or 'none'}"]
    if document["busy"]:
        ending.append("BUSY: other processes took part of the machine; times are not to be quoted.")
    finish(document, options.output if options.store else None, "\n".join(ending))
    return int(any(row.met is False for row in rows))


if __name__ == "__main__":
    sys.exit(main())
