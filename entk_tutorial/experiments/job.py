"""One experiment with one config over some seeds, whoever computes them: what is done, what is not, and the result."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entk_tutorial.experiments.provenance import code_hash, config_hash, provenance
from entk_tutorial.experiments.result import Finished, Result, SeedRecord, checked_record
from entk_tutorial.experiments.storage import Store

if TYPE_CHECKING:
    from entk_tutorial.experiments.base import Experiment


class Job:
    """Seeds to run. Every finished one is written at once, and the result is stacked from them.

    Args:
        experiment: what to run.
        config: its settings; None for its defaults.
        seeds: distinct integers >= 0, at least one.
        results_dir: None keeps everything in memory.
        fresh: compute every seed again, whatever is on disk.

    Attributes:
        asked: the seeds.
        todo: those that have to be run.
        done: seed -> what is finished, without arrays but for the first seed.

    Raises:
        ValueError: as :func:`entk_tutorial.experiments.base.run_experiment`, before anything is computed.
    """

    def __init__(
        self,
        experiment: Experiment,
        config: Any | None,
        seeds: Iterable[int],
        *,
        results_dir: Path | str | None = None,
        fresh: bool = False,
    ) -> None:
        config = experiment.config_type() if config is None else config
        if type(config) is not experiment.config_type:
            raise ValueError(
                f"{experiment.name} takes a {experiment.config_type.__name__}, got {type(config).__name__}."
            )
        self.experiment, self.config, self.fresh = experiment, config, fresh
        self.asked = _checked_seeds(seeds)
        self.settings = asdict(config)
        self.hashes = {
            "config": config_hash(experiment.name, self.settings),
            "code": code_hash(experiment.run_seed),
            "criteria": _criteria(experiment, self.settings),
        }
        folder = None if results_dir is None else Path(results_dir)
        self._store = None if folder is None else Store(folder, experiment.name, self.settings, self.hashes)
        self._stored: dict[int, Finished] = {} if self._store is None or fresh else self._store.finished()
        self.done = {seed: self._stored[seed] for seed in self.asked if seed in self._stored}
        self.todo = [seed for seed in self.asked if seed not in self.done]

    def take(self, seed: int, record: SeedRecord, seconds: float) -> None:
        """Check one computed seed, and keep it.

        Raises:
            ValueError: a number that is not finite, or other names than the seeds before it have.
        """
        record = checked_record(
            record, f"{self.experiment.name}, seed {seed}", [*self._stored.values(), *self.done.values()]
        )
        entry = Finished(record, seconds)
        digest = None if self._store is None else self._store.keep(seed, entry)
        arrays = record.arrays if seed == self.asked[0] else {}  # memory: figures need one seed only
        self.done[seed] = replace(entry, record=replace(record, arrays=arrays, checkpoint=None), checkpoint=digest)

    def finish(self) -> Result:
        """The result over the seeds asked for; the one that is written holds earlier seeds of the folder as well."""
        made = provenance(str(self.settings.get("device", "auto")))  # once: what is returned is what is stored
        everything = self.done if self.fresh else {**self._stored, **self.done}
        if self._store is not None:
            self._store.finish(
                _judged(self._stacked(everything, self.asked if self.fresh else sorted(everything), made))
            )
        return _judged(self._stacked(everything, self.asked, made))

    def _stacked(self, entries: dict[int, Finished], which: list[int], made: dict[str, Any]) -> Result:
        return Result.stack(
            self.experiment.name,
            self.settings,
            {seed: entries[seed] for seed in which},
            chance=self.experiment.chance(self.config),
            hashes=self.hashes,
            provenance={**made, "seconds": round(sum(entries[seed].seconds for seed in which), 3)},
        )

    def what_is_kept(self) -> str:
        """For a run that is broken off: what of it is not lost."""
        name, kept = self.experiment.command, f"{len(self.done)} of {len(self.asked)} seeds"
        if self._store is None:
            return f"{kept} of {name} were finished; without a results folder they are lost."
        return f"{kept} of {name} are kept in {self._store.partial}; the same call continues from there."


def _checked_seeds(seeds: Iterable[int]) -> list[int]:
    asked = list(seeds)
    if not asked:
        raise ValueError("no seeds given: a result needs at least one, e.g. seeds=range(5) or --seeds 0-4.")
    wrong = [seed for seed in asked if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0]
    if wrong:
        raise ValueError(f"seeds are integers >= 0; got {wrong}.")
    doubled = sorted({seed for seed in asked if asked.count(seed) > 1})
    if doubled:
        raise ValueError(
            f"seeds {doubled} are given more than once: the spread over seeds would be too small. Give each once."
        )
    return asked


def _criteria(experiment: Experiment, settings: dict[str, Any]) -> dict[str, str]:
    """Hashes of the criteria that the result will be held to: none if its settings are not the paper's."""
    from entk_tutorial.ledger import criteria_of  # here, since the ledger reads results

    return criteria_of(experiment.name) if settings == asdict(experiment.config_type()) else {}


def _judged(result: Result) -> Result:
    """The result with the verdicts on the claims whose criteria it holds."""
    from entk_tutorial.ledger import judge

    return result.with_verdicts(judge(result)) if result.hashes["criteria"] else result
