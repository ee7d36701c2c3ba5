"""One seed of an experiment with the code of another checkout, on this machine: what a renewal is compared with.

Run as a script by :func:`run_beside`, with the other checkout first on the path, so it may use only what every checkout
has had: ``experiments.get``, ``Experiment.restore``, ``run_seed`` and ``provenance.code_hash``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entk_tutorial.experiments.result import SeedRecord

__all__ = ["run_beside"]


def run_beside(checkout: Path | str, name: str, seed: int, config: dict[str, Any], *, code: str) -> SeedRecord:
    """Run one seed with the code of ``checkout``, in a process of its own, with this Python and its packages.

    Args:
        checkout: folder that holds another version's ``entk_tutorial``, for instance from ``git worktree add``.
        name: of the experiment, with underscores.
        seed: which one.
        config: settings, as a result stores them.
        code: hash that the code behind the experiment must have there.

    Raises:
        ValueError: if there is no package in ``checkout``, its code is another, or its run fails; with the last line it
            printed.

    Chapter: book/reference/reproducibility
    """
    from safetensors.torch import load_file

    from entk_tutorial.experiments.result import SeedRecord

    root = Path(checkout).resolve()
    if not (root / "entk_tutorial" / "__init__.py").exists():
        raise ValueError(
            f"{root} holds no entk_tutorial; a checkout is expected. Make one: git worktree add {root} COMMIT"
        )
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / "job.json"
        job.write_text(json.dumps({"name": name, "seed": seed, "config": config, "root": str(root), "code": code}))
        # -P keeps this file's own folder off the path.
        command = [sys.executable, "-P", str(Path(__file__).resolve()), scratch]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
        out = Path(scratch) / "record.json"
        if done.returncode or not out.exists():
            lines = done.stderr.strip().splitlines() or ["nothing was printed"]
            raise ValueError(f"{name}, seed {seed}, failed with the code of {root}: {lines[-1]}")
        found = json.loads(out.read_text())
        weights = Path(scratch) / "weights.safetensors"
        checkpoint = load_file(weights) if weights.exists() else None
    return SeedRecord(found["metrics"], found["controls"], found["series"], {}, checkpoint)


def _run(scratch: Path) -> None:
    """In the other checkout: run what ``job.json`` says, write ``record.json`` and the weights."""
    from safetensors.torch import save_file

    import entk_tutorial
    from entk_tutorial import experiments
    from entk_tutorial.experiments.provenance import code_hash

    job = json.loads((scratch / "job.json").read_text())
    where = Path(entk_tutorial.__file__).resolve()
    if not where.is_relative_to(job["root"]):
        raise SystemExit(f"{where} was imported, which is not in {job['root']}")
    experiment = experiments.get(job["name"])
    code = code_hash(experiment.run_seed)
    if code != job["code"]:
        raise SystemExit(
            f"its code is {code[:8]}, and the result's {job['code'][:8]}. Take the commit that the result was made or "
            "last renewed at: git worktree add FOLDER COMMIT"
        )
    record = experiment.run_seed(experiment.restore(job["config"]), job["seed"], _silent)
    if record.checkpoint:
        save_file({k: v.contiguous() for k, v in record.checkpoint.items()}, scratch / "weights.safetensors")
    numbers = {
        "metrics": {k: float(v) for k, v in record.metrics.items()},
        "controls": {c: {k: float(v) for k, v in table.items()} for c, table in record.controls.items()},
        "series": record.series,
    }
    (scratch / "record.json").write_text(json.dumps(numbers, default=lambda value: value.tolist()))


def _silent(fraction: float, message: str = "") -> None:
    """Report nothing."""


if __name__ == "__main__":
    _run(Path(sys.argv[1]))
