"""``entk reproduce``: every experiment again from nothing, then the ledger, and what differs from the stored results.

The seeds are the first ones of the stored result, so that each number has one to stand beside. Finished seeds are kept
as they come: the same call continues a run that was stopped.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from entk_tutorial import experiments
from entk_tutorial.experiments.base import Experiment, run_experiment
from entk_tutorial.experiments.job import Job
from entk_tutorial.results import load_result, stored_names
from entk_tutorial.verify import Comparison, compare

__all__ = ["Part", "Reproduction", "plan_reproduction", "reproduce"]

QUICK_SECONDS = 20.0
"""A generous guess at one quick seed: what it is meant to take at the most."""


@dataclass(frozen=True)
class Part:
    """One experiment of a reproduction.

    Attributes:
        experiment: its registration.
        config: settings.
        seeds: which seeds.
        todo: those that are not finished in the folder yet.
        seconds: estimate for ``todo``.
    """

    experiment: Experiment
    config: Any
    seeds: tuple[int, ...]
    todo: tuple[int, ...]
    seconds: float


@dataclass
class Reproduction:
    """What came of it.

    Attributes:
        finished: names of the experiments whose seeds are all there.
        failed: name -> why it could not be run.
        rows: every number that has a stored one to stand beside; empty for quick settings.
    """

    finished: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    rows: list[Comparison] = field(default_factory=list)

    @property
    def different(self) -> list[Comparison]:
        """Numbers outside their tolerance."""
        return [row for row in self.rows if not row.agrees]


def plan_reproduction(
    names: Iterable[str] = (), *, folder: Path | str, count: int = 5, quick: bool = False, fresh: bool = False
) -> list[Part]:
    """What will be run, in the order of the book, and how long it may take on two processors.

    Args:
        names: of experiments; none for all.
        folder: of results, where an earlier run may have left finished seeds.
        count: seeds an experiment: the first of the stored result, 0, 1, ... where there is none.
        quick: the small settings, one seed each.
        fresh: nothing in the folder counts.

    Raises:
        ValueError: unknown names, or a count below 1.

    Example:
        >>> import tempfile
        >>> part, = plan_reproduction(["word-order"], folder=tempfile.mkdtemp(), count=2)
        >>> part.experiment.name, len(part.todo)
        ('word_order', 2)
    """
    if count < 1:
        raise ValueError(f"{count} seeds; at least one is needed.")
    chosen = [experiments.canonical(name) for name in names] or experiments.names()
    stored = set(stored_names())
    parts = []
    for name in chosen:
        experiment = experiments.get(name)
        known = load_result(name).seeds if name in stored else list(range(count))
        seeds = tuple(known[: 1 if quick else count])
        config = experiment.quick if quick else experiment.config_type()
        # A folder that is not there yet holds nothing, and planning should not make it.
        todo = (
            seeds
            if fresh or not Path(folder).is_dir()
            else tuple(Job(experiment, config, seeds, results_dir=folder).todo)
        )
        each = min(experiment.seconds_per_seed, QUICK_SECONDS) if quick else experiment.seconds_per_seed
        parts.append(Part(experiment, config, seeds, todo, len(todo) * each))
    return parts


def reproduce(
    parts: list[Part],
    *,
    folder: Path | str,
    client: Any = None,
    fresh: bool = False,
    progress: bool = True,
    announce: Callable[[str], None] = lambda line: None,
) -> Reproduction:
    """Run the parts one after the other; one that cannot be run does not stop the others.

    Args:
        parts: from :func:`plan_reproduction`.
        folder: where results are written, seed by seed.
        client: a Dask client whose workers share the seeds (:func:`entk_tutorial.distributed.connect`), or None.
        fresh: run every seed again.
        progress: a bar an experiment, on stderr.
        announce: called with a line before each part.

    Returns:
        Reproduction: numbers compared with the stored ones by each experiment's own tolerances.

    A KeyboardInterrupt is passed on; finished seeds stay in the folder.

    Chapter: book/reference/reproducibility.
    """
    out, stored = Reproduction(), set(stored_names())
    for number, part in enumerate(parts, start=1):
        experiment, name = part.experiment, part.experiment.name
        announce(f"[{number} of {len(parts)}] {experiment.command}: {len(part.todo)} of {len(part.seeds)} seeds to run")
        try:
            if client is None:
                result = run_experiment(
                    experiment, part.config, part.seeds, results_dir=folder, progress=progress, fresh=fresh
                )
            else:
                from entk_tutorial.experiments.sweep import run_sweep

                options = {"client": client, "results_dir": folder, "progress": progress, "fresh": fresh}
                result = run_sweep(experiment, {"": part.config}, part.seeds, **options)[""]
        except (ValueError, OSError, RuntimeError, MemoryError) as error:
            out.failed[name] = f"{type(error).__name__}: {error}"
            announce(f"    could not be run: {error}")
            continue
        out.finished.append(name)
        if name in stored and part.config == experiment.config_type():
            before = load_result(name)
            for seed in part.seeds:
                if seed in before.seeds:
                    out.rows += compare(experiment, seed, before.record(seed), result.record(seed))
    return out


def estimate(parts: list[Part], processors: int | None = None) -> str:
    """Hours and minutes that the parts may take here, in words.

    Example:
        >>> estimate([])
        'nothing is left to run'
    """
    seconds = sum(part.seconds for part in parts)
    if not seconds:
        return "nothing is left to run"
    there = processors or os.cpu_count() or 1
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    words = f"{hours} h {minutes} min" if hours else f"{minutes} min"
    seeds = sum(len(part.todo) for part in parts)
    what = f"{seeds} seeds of {sum(bool(part.todo) for part in parts)} experiments"
    return f"{what}, about {words} at the speed of two processors (here: {there})"
