"""``entk renew``: the code behind a stored result changed, its numbers did not, and one seed run again shows it.

A stored result is stale as soon as any module behind it changes, be it by a new branch that this experiment never
takes. Running twenty seeds again to get the same digits proves little more than running one that nobody could choose:
the seed is drawn by the hash of the git commit, every number of it must come out again, and the result then says at
which commit, and on which seed, that was seen. Criteria and settings are never renewed: if they change, every seed
has to be run.

Training repeats to the digit on one processor only. On another one a network's weights part after some hundreds of
steps, whatever the code does, and no re-run can give the digits again. Asked to (``within_tolerance``), a renewal then
takes the tolerances that the experiment declared for other machines, those of the spot check; the result says which of
the two it was, and how many numbers differed.
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
from entk_tutorial.experiments.base import Experiment, ProgressFn
from entk_tutorial.experiments.provenance import code_hash, commit, config_hash, versions
from entk_tutorial.experiments.result import Result, checked_record
from entk_tutorial.ledger.claims import criteria_of
from entk_tutorial.results import FOLDER, load_result, load_stored_checkpoint
from entk_tutorial.verify import Comparison, compare, spot_seed

if TYPE_CHECKING:
    from entk_tutorial.training import State

__all__ = ["RELATIVE", "Renewal", "renew"]

RELATIVE = 1e-6
"""Numbers that differ by no more than this, relative, count as the same, since sums may be taken in another order."""


@dataclass(frozen=True)
class Renewal:
    """What one re-run seed said about a stored result.

    Attributes:
        experiment: its name.
        seed: the seed that was run again; None if nothing had to be.
        rows: every number of it, stored and again.
        moved: numbers outside six digits but inside the experiment's tolerances, where these were asked for.
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
    within_tolerance: bool = False,
) -> Renewal:
    """Run one seed of a stale result again; if every number comes out again, store the new code hash.

    Args:
        name: of the experiment, with hyphens or underscores.
        folder: of results; None means those that ship with the package.
        commit_hash: where the commit comes from; it draws the seed.
        progress: called now and then with the fraction of the seed that is done.
        within_tolerance: where digits differ, hold metrics and controls to the experiment's own tolerances.

    Returns:
        Renewal: ``different`` is empty if the file was renewed (or was not stale), else it is left untouched.

    Raises:
        ValueError: if there is no valid result; if its config is not the package's, or a criterion was changed,
            added or removed since the run: then every seed has to be run again.

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
    settings = experiment.restore(result.config)
    record = experiment.run_seed(settings, seed, progress or _silent)
    again = checked_record(record, f"{experiment.name}, seed {seed}")
    stored = result.record(seed)
    rows = [_strict(row) for row in compare(experiment, seed, stored, again)]
    for key in sorted({*stored.series, *again.series}):
        change = _distance(stored.series.get(key), again.series.get(key))
        rows.append(Comparison(experiment.name, seed, f"series {key}", 0.0, change, RELATIVE))
    if str(seed) in result.checkpoints:
        change = _weights(load_stored_checkpoint(experiment.name, seed, folder), record.checkpoint or {})
        rows.append(Comparison(experiment.name, seed, "checkpoint", 0.0, change, RELATIVE))
    renewal = Renewal(experiment.name, seed, rows)
    if renewal.different and within_tolerance:
        renewal = Renewal(experiment.name, seed, compare(experiment, seed, stored, again), len(renewal.different))
    if not renewal.different:
        note = {
            "agreement": f"tolerances ({renewal.moved} of {len(rows)} in other digits)" if renewal.moved else "digits",
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


def _strict(row: Comparison) -> Comparison:
    return replace(row, tolerance=RELATIVE * max(abs(row.stored), RELATIVE))


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
