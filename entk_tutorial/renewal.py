"""``entk renew``: the code behind a stored result changed, its numbers did not, and one seed run again shows it.

A stored result is stale as soon as any module behind it changes, be it by a new branch that this experiment never
takes. Running twenty seeds again to get the same digits proves little more than running one that nobody could choose:
the seed is drawn by the hash of the git commit, every number of it must come out again, and the result then says at
which commit, and on which seed, that was seen. Criteria and settings are never renewed: if they change, every seed
has to be run.

The same means to rounding, :data:`RELATIVE`. Training may do that on one processor only: on another one a network's
weights can part after some hundreds of steps, whatever the code does, and no re-run can give the stored numbers again.
There the old code is run, too, from a checkout beside this one (``beside``): it must be the code that the result was
made with, by its hash; its numbers must agree with the stored ones within the tolerances that the experiment declared
for other machines; and the new code must give the old one's numbers to rounding, on the same machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from entk_tutorial import experiments
from entk_tutorial.beside import run_beside
from entk_tutorial.experiments.base import Experiment, ProgressFn
from entk_tutorial.experiments.provenance import code_hash, commit, config_hash, versions
from entk_tutorial.experiments.result import Result, SeedRecord, checked_record
from entk_tutorial.ledger.claims import criteria_of
from entk_tutorial.results import FOLDER, load_result, load_stored_checkpoint
from entk_tutorial.verify import Comparison, compare, spot_seed

if TYPE_CHECKING:
    from entk_tutorial.training import State

__all__ = ["RELATIVE", "Renewal", "renew"]

RELATIVE = 1e-5
"""Largest relative difference of numbers that count as the same. Kernels are sums of some ten thousand products in
single precision, and a change of the engine may add them up in another order. Until November 2026 it was 1e-6."""
SMALL = 1e-2
"""Smaller numbers are measured as if they were this large: most are shares of 1, and rounding of a share is 1e-7."""
_TIME = "_seconds"
"""Series that end so are times, which no second run repeats."""


@dataclass(frozen=True)
class Renewal:
    """What one re-run seed said about a stored result.

    Attributes:
        experiment: its name.
        seed: the seed that was run again; None if nothing had to be.
        rows: every number of it, stored and again.
        moved: stored numbers that the old code does not repeat on this machine either, where it was asked.
    """

    experiment: str
    seed: int | None
    rows: list[Comparison]
    moved: int = 0

    @property
    def different(self) -> list[Comparison]:
        """The numbers that did not come out again; empty if the result was renewed."""
        return [row for row in self.rows if not row.agrees]


def renew(
    name: str,
    folder: Path | str | None = None,
    *,
    commit_hash: Callable[[], str | None] = commit,
    progress: ProgressFn | None = None,
    beside: Path | str | None = None,
) -> Renewal:
    """Run one seed of a stale result again; if every number comes out again, store the new code hash.

    Args:
        name: of the experiment, with hyphens or underscores.
        folder: of results; None means those that ship with the package.
        commit_hash: where the commit comes from; it draws the seed.
        progress: called now and then with the fraction of the seed that is done.
        beside: a checkout of the code that the result was made with, to be run on the same machine and seed.

    Returns:
        Renewal: ``different`` is empty if the file was renewed (or was not stale), else it is left untouched.

    Raises:
        ValueError: if there is no valid result; if its config is not the package's, or a criterion was changed,
            added or removed since the run: then every seed has to be run again; if ``beside`` holds other code.

    Chapter: book/reference/reproducibility
    """
    experiment = experiments.get(name)
    result = load_result(experiment.name, folder)
    _only_code_differs(experiment, result)
    now = code_hash(experiment.run_seed)
    if result.hashes["code"] == now:
        return Renewal(experiment.name, None, [])
    drawn = commit_hash()
    seed = spot_seed(experiment.name, result.seeds, drawn)
    before, moved = _before(experiment, result, seed, folder, beside)
    different = [row for row in compare(experiment, seed, result.record(seed), before) if not row.agrees]
    if different:  # never without ``beside``: the stored numbers are compared with themselves
        return Renewal(experiment.name, seed, different)
    record = experiment.run_seed(experiment.restore(result.config), seed, progress or _silent)
    again = checked_record(record, f"{experiment.name}, seed {seed}")
    rows = _rows(experiment, seed, before, again)
    renewal = Renewal(experiment.name, seed, rows, moved)
    if not renewal.different:
        note = {
            "agreement": "stored numbers" if beside is None else "the old code on the same machine",
            "moved": moved,
            "relative": RELATIVE,
            "commit": drawn,
            "seed": seed,
            "numbers": len(rows),
            "replaced_code": result.hashes["code"],
            "versions": versions(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        history = [*result.provenance.get("renewed", []), note]
        fresh = replace(
            result,
            hashes={**result.hashes, "code": now},
            provenance={**result.provenance, "renewed": history},
        )
        fresh.save((FOLDER if folder is None else Path(folder)) / f"{experiment.name}.json")
    return renewal


def _only_code_differs(experiment: Experiment, result: Result) -> None:
    whole = f"Cure: entk run {experiment.command} --fresh, every seed."
    if result.hashes["config"] != config_hash(experiment.name, result.config):
        raise ValueError(f"{experiment.name}: the stored config was edited after the run. {whole}")
    criteria = criteria_of(experiment.name)
    if result.hashes["criteria"] and result.hashes["criteria"] != criteria:
        then = result.hashes["criteria"]
        changed = sorted(key for key in {*criteria, *then} if criteria.get(key) != then.get(key))
        raise ValueError(f"{experiment.name}: criteria of {', '.join(changed)} are not those of the run. {whole}")


def _before(
    experiment: Experiment, result: Result, seed: int, folder: Path | str | None, beside: Path | str | None
) -> tuple[SeedRecord, int]:
    """What the new code's numbers are held to, and how many of them are not the stored ones."""
    stored = result.record(seed)
    if beside is None:
        weights = load_stored_checkpoint(experiment.name, seed, folder) if str(seed) in result.checkpoints else None
        return replace(stored, checkpoint=weights), 0
    old = run_beside(beside, experiment.name, seed, result.config, code=result.hashes["code"])
    before = checked_record(old, f"{experiment.name}, seed {seed}, the old code")
    return before, sum(not row.agrees for row in _rows(experiment, seed, stored, replace(before, checkpoint=None)))


def _rows(experiment: Experiment, seed: int, before: SeedRecord, again: SeedRecord) -> list[Comparison]:
    """Every number of two records, to rounding; of seconds only that there are as many."""
    rows = [_strict(row) for row in compare(experiment, seed, before, again)]
    for key in sorted({*before.series, *again.series}):
        if key.endswith(_TIME) and len(before.series.get(key, [])) == len(again.series.get(key, [])):
            continue
        change = _distance(before.series.get(key), again.series.get(key))
        rows.append(Comparison(experiment.name, seed, f"series {key}", 0.0, change, RELATIVE))
    if before.checkpoint is not None:
        change = _weights(before.checkpoint, again.checkpoint or {})
        rows.append(Comparison(experiment.name, seed, "checkpoint", 0.0, change, RELATIVE))
    return rows


def _strict(row: Comparison) -> Comparison:
    return replace(row, tolerance=RELATIVE * max(abs(row.stored), SMALL))


def _silent(fraction: float, message: str = "") -> None:
    """Report nothing."""


def _flat(value: Any) -> list[float]:
    return [x for item in value for x in _flat(item)] if isinstance(value, list) else [float(value)]


def _distance(stored: Any, again: Any) -> float:
    """Largest difference of two curves over the largest entry; infinite if their shapes differ."""
    if stored is None or again is None or len(_flat(stored)) != len(_flat(again)):
        return math.inf
    a, b = np.array(_flat(stored)), np.array(_flat(again))
    return float(np.abs(a - b).max() / max(np.abs(a).max(), RELATIVE)) if len(a) else 0.0


def _weights(stored: State, again: State) -> float:
    """Largest relative difference of a tensor; infinite if names or shapes differ."""
    if {k: v.shape for k, v in stored.items()} != {k: v.shape for k, v in again.items()}:
        return math.inf
    return max(
        float((value.double() - again[name].double()).norm() / max(float(value.double().norm()), RELATIVE))
        for name, value in stored.items()
    )
