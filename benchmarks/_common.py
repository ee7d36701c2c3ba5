"""What all benchmarks share: a fresh process for each measurement, the machine's load, power laws, and how they end."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).resolve().parent / "results"
BUSY = 2.5
"""A load average above this means that others compute too; the numbers are then flagged."""
BUSY_CORES = 0.3
"""So many cores taken by other processes, and a wall clock says little."""


def peak_resident() -> int:
    """Highest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def core_seconds() -> float | None:
    """Core seconds that the whole machine has worked since it was started; None where the system does not say."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    ticks = [int(word) for word in stat.read_text().splitlines()[0].split()[1:]]
    return (sum(ticks[:8]) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")  # less idle and waiting for disks


def cores_of_others(seconds: float = 1.0) -> float | None:
    """Cores that other processes keep busy now, while this one waits."""
    start = core_seconds()
    time.sleep(seconds)
    stop = core_seconds()
    return None if start is None or stop is None else (stop - start) / seconds


def thread_settings(threads: int) -> dict[str, str]:
    """Environment of a worker: so many threads, which sleep where they wait, and no bars."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {name: str(threads) for name in names} | {"OMP_WAIT_POLICY": "passive", "TQDM_DISABLE": "1"}


def in_fresh_process(
    command: list[str], environment: dict[str, str], what: str, *, seconds: float | None = None
) -> dict[str, Any]:
    """Last line that ``command`` prints, read as JSON, with the load before it and the cores others took meanwhile.

    Raises:
        SystemExit: if it fails, or takes longer than ``seconds``.
    """
    load, before, start = os.getloadavg()[0], core_seconds(), time.perf_counter()
    mine = _children()
    try:
        done = subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise SystemExit(f"{what}: no answer after {seconds} s.") from None
    if done.returncode != 0:
        raise SystemExit(f"{what}: the process ended with {done.returncode}.\n{done.stderr.strip()[-800:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    after = core_seconds()
    others = None
    if before is not None and after is not None:
        others = max(0.0, (after - before - (_children() - mine)) / (time.perf_counter() - start))
    return found | {"load": load, "others": others}


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def power_law(sizes: list[int], values: list[float], n: int) -> tuple[float, float]:
    """Value at n by a power law through the values of each size, and its exponent."""
    slope = np.polyfit(np.log(sizes), np.log(values), 1)[0]
    # The largest size is nearest to n: the line goes through it, so that an early bend costs least.
    return float(values[-1] * (n / sizes[-1]) ** slope), float(slope)


def finish(document: dict[str, Any], output: Path | None, shown: object = None) -> None:
    """Write the document if it is to be stored, and print ``shown``."""
    if output is not None:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        print(f"stored: {output}")
    if shown is not None:
        print(shown if isinstance(shown, str) else json.dumps(shown, indent=1))
