"""``entk verify``: are the stored results whole, and does a re-run give the same numbers?

The spot check runs one seed of each cheap experiment again. The seed is drawn by the hash of the git commit, so
nobody can know beforehand which stored number will be looked at.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from entk_tutorial import experiments
from entk_tutorial.experiments.base import Experiment, SeedRecord, run_experiment
from entk_tutorial.experiments.provenance import commit
from entk_tutorial.ledger.check import integrity
from entk_tutorial.results import load_result, stored_names

__all__ = ["Comparison", "compare", "spot_check", "spot_seed", "verify_stored"]


@dataclass(frozen=True)
class Comparison:
    """One number, stored and computed again.

    Attributes:
        experiment: name of the experiment.
        seed: which seed.
        entry: "metric" or "control.metric".
        stored: the stored value; NaN if there is none.
        again: the new value; NaN if there is none.
        tolerance: largest absolute difference allowed.
    """

    experiment: str
    seed: int
    entry: str
    stored: float
    again: float
    tolerance: float

    @property
    def agrees(self) -> bool:
        """Whether they differ by no more than the tolerance, plus the rounding of stored numbers; NaN never agrees."""
        return abs(self.stored - self.again) <= self.tolerance + 1e-9 * abs(self.stored)


def verify_stored(folder: Path | str | None = None) -> list[str]:
    """Form, lengths, finite numbers, config and code hashes of every stored result.

    Args:
        folder: of results; None means those that ship with the package.

    Returns:
        One sentence a failure, with file and cure; empty if all is well.
    """
    return [failure for name in stored_names(folder) for failure in integrity(name, folder)]


def spot_seed(name: str, seeds: list[int], commit_hash: str | None) -> int:
    """The seed to look at: drawn by the hash of commit and experiment; the first one outside a git checkout.

    Example:
        >>> spot_seed("modular_mlp", [0, 1, 2], None)
        0
        >>> {spot_seed("modular_mlp", [0, 1, 2], str(commit)) for commit in range(50)}
        {0, 1, 2}
    """
    if commit_hash is None:
        return seeds[0]
    digest = hashlib.sha256(f"{commit_hash.partition('+')[0]} {name}".encode()).digest()
    return seeds[int.from_bytes(digest, "big") % len(seeds)]


def compare(experiment: Experiment, seed: int, stored: SeedRecord, again: SeedRecord) -> list[Comparison]:
    """Every metric and every control's metric of two records of one seed, in order of their names."""
    tables = [("", stored.metrics, again.metrics)]
    for control in sorted(set(stored.controls) | set(again.controls)):
        tables.append((control, stored.controls.get(control, {}), again.controls.get(control, {})))
    rows = []
    for control, old, new in tables:
        for metric in sorted(set(old) | set(new)):
            entry = f"{control}.{metric}" if control else metric
            values = old.get(metric, math.nan), new.get(metric, math.nan)
            rows.append(
                Comparison(experiment.name, seed, entry, *values, experiment.tolerance(metric, control or None))
            )
    return rows


def spot_check(
    folder: Path | str | None = None, *, commit_hash: Callable[[], str | None] = commit, progress: bool = False
) -> list[Comparison]:
    """Run one seed of each cheap experiment again and compare every number with the stored one.

    Args:
        folder: of results; None means those that ship with the package.
        commit_hash: where the commit comes from.
        progress: a bar on stderr.

    Raises:
        ValueError: if a result is not valid, or if no stored result is of a cheap experiment: then nothing would
            have been checked.
    """
    rows: list[Comparison] = []
    drawn = commit_hash()
    for name in stored_names(folder):
        experiment = experiments.get(name)
        if not experiment.cheap:
            continue
        result = load_result(name, folder)
        seed = spot_seed(name, result.seeds, drawn)
        again = run_experiment(experiment, experiment.restore(result.config), [seed], progress=progress)
        rows += compare(experiment, seed, result.record(seed), again.record(seed))
    if not rows:
        raise ValueError(
            "no stored result is of a cheap experiment, so the spot check has nothing to run. Cure: entk run one first."
        )
    return rows
