"""What an experiment is, and the one runner that chapters, command line and ledger share.

An experiment is a function of (config, seed). The runner calls it once a seed, keeps every finished seed on disk at
once, and stacks the seeds into a :class:`Result`. It never looks at what the numbers say: verdicts are the ledger's
business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from entk_tutorial.experiments.provenance import code_hash, config_hash, provenance
from entk_tutorial.experiments.result import Finished, Result, SeedRecord, checked_record
from entk_tutorial.experiments.storage import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Experiment", "ProgressFn", "Result", "SeedRecord", "run_experiment"]


class ProgressFn(Protocol):
    """Called by ``run_seed`` now and then: ``progress(0.4)`` says that 40 % of this seed is done."""

    def __call__(self, fraction: float, message: str = "") -> None:
        """Report the fraction of the current seed that is done, in [0, 1]."""


@dataclass(frozen=True)
class Experiment:
    """The registration of one experiment, one a module, called ``EXPERIMENT`` there.

    Attributes:
        name: name of the module, e.g. ``modular_mlp``.
        title: one line, what it shows.
        config_type: frozen dataclass; every field has a default, the defaults are the paper's scale; validates itself.
        run_seed: (config, seed, progress) -> SeedRecord. All randomness comes from the seed.
        chance: config -> chance level by metric name.
        quick: a config that runs in seconds and still means something.
        seconds_per_seed: estimate on two CPU cores at the paper's scale.
        tolerances: absolute tolerance, by metric, of a re-run on another machine. "*" is the default;
            "control.metric" is for one control only, else the metric's own holds.
        cheap: whether ``entk verify --spot`` re-runs it.
    """

    name: str
    title: str
    config_type: type[Any]
    run_seed: Callable[[Any, int, ProgressFn], SeedRecord]
    chance: Callable[[Any], dict[str, float]]
    quick: Any
    seconds_per_seed: float
    tolerances: dict[str, float] = field(default_factory=lambda: {"*": 1e-6})
    cheap: bool = False

    def __post_init__(self) -> None:
        """Refuse a registration that could not be run or compared."""
        if not self.name.isidentifier():
            raise ValueError(f"an experiment is named like its module, e.g. 'modular_mlp'; got {self.name!r}.")
        if not is_dataclass(self.config_type):
            raise ValueError(f"{self.name}: config_type must be a dataclass, got {self.config_type!r}.")
        if not isinstance(self.quick, self.config_type):
            raise ValueError(
                f"{self.name}: quick must be a {self.config_type.__name__}, got {type(self.quick).__name__}."
            )
        if "*" not in self.tolerances or any(not t >= 0 for t in self.tolerances.values()):
            raise ValueError(
                f"{self.name}: tolerances must be >= 0 and hold a default under '*', got {self.tolerances}."
            )

    @property
    def command(self) -> str:
        """The name on the command line, with hyphens."""
        return self.name.replace("_", "-")

    def restore(self, settings: dict[str, Any]) -> Any:
        """The config that was stored as these settings; lists become tuples again.

        Raises:
            ValueError: if the settings are not this config's, or it refuses them.
        """
        values = {name: tuple(v) if isinstance(v, list) else v for name, v in settings.items()}
        try:
            return self.config_type(**values)
        except TypeError as error:
            raise ValueError(f"{self.name} does not know the settings {sorted(settings)} ({error}).") from error

    def tolerance(self, metric: str, control: str | None = None) -> float:
        """Absolute tolerance of a metric, or of a control's metric: the most specific entry of ``tolerances``."""
        keys = [metric, "*"] if control is None else [f"{control}.{metric}", metric, "*"]
        return next(self.tolerances[key] for key in keys if key in self.tolerances)


def run_experiment(
    experiment: Experiment,
    config: Any | None = None,
    seeds: Iterable[int] = range(5),
    *,
    results_dir: Path | str | None = None,
    progress: bool = False,
    fresh: bool = False,
) -> Result:
    """Run an experiment over seeds; with a folder, resume what an earlier run finished there.

    Args:
        experiment: what to run.
        config: an ``experiment.config_type``; None means its defaults, the paper's scale.
        seeds: distinct integers >= 0, at least one.
        results_dir: None keeps everything in memory. Else each finished seed is written to
            ``<name>.partial/seed-<n>.json`` at once, and the whole to ``<name>.json`` at the end. A seed finished
            there with the same config, code and criteria is taken from there. A result of others is set aside under
            a longer name, never overwritten.
        progress: a bar on stderr.
        fresh: compute every seed again, whatever is on disk.

    Returns:
        Result: one value a seed, in the order of ``seeds``; ``arrays`` of the first seed if it was computed now,
            else empty.

    Raises:
        ValueError: for seeds that are empty, negative or doubled; a config of the wrong type; a folder that cannot
            be written (before anything is computed); a corrupt ``<name>.json``; a seed that yields a number that is
            not finite.

    A KeyboardInterrupt is passed on; the seeds finished until then stay in the folder.

    Chapter: book/reference/reproducibility
    """
    config = experiment.config_type() if config is None else config
    if type(config) is not experiment.config_type:
        raise ValueError(f"{experiment.name} takes a {experiment.config_type.__name__}, got {type(config).__name__}.")
    asked = _checked_seeds(seeds)
    settings = asdict(config)
    hashes = {
        "config": config_hash(experiment.name, settings),
        "code": code_hash(experiment.run_seed),
        "criteria": _criteria(experiment, settings),
    }
    store = None if results_dir is None else Store(Path(results_dir), experiment.name, settings, hashes)
    done: dict[int, Finished] = {} if store is None or fresh else store.finished()
    todo = [seed for seed in asked if seed not in done]

    with _bar(experiment.command, len(asked), len(asked) - len(todo), progress) as show:
        for position, seed in enumerate(todo, start=len(asked) - len(todo)):
            start = time.perf_counter()
            try:
                record = experiment.run_seed(config, seed, partial(_tick, show, position, seed))
            except (Exception, KeyboardInterrupt) as error:
                error.add_note(_what_is_kept(experiment, position, len(asked), store))
                raise
            record = checked_record(record, f"{experiment.name}, seed {seed}", done.values())
            entry = Finished(record, time.perf_counter() - start)
            digest = None if store is None else store.keep(seed, entry)
            arrays = record.arrays if seed == asked[0] else {}  # memory: figures need one seed only
            slim = replace(record, arrays=arrays, checkpoint=None)
            done[seed] = replace(entry, record=slim, checkpoint=digest)
            show(position + 1.0, seed, "")

    made = provenance(str(settings.get("device", "auto")))  # once: what is returned is what is stored

    def stacked(which: list[int]) -> Result:
        return Result.stack(
            experiment.name,
            settings,
            {seed: done[seed] for seed in which},
            chance=experiment.chance(config),
            hashes=hashes,
            provenance={**made, "seconds": round(sum(done[seed].seconds for seed in which), 3)},
        )

    if store is not None:
        store.finish(_judged(stacked(asked if fresh else sorted(done))))
    return _judged(stacked(asked))


def _tick(
    show: Callable[[float, int, str], None], position: int, seed: int, fraction: float, message: str = ""
) -> None:
    show(position + fraction, seed, message)


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


def _what_is_kept(experiment: Experiment, done: int, total: int, store: Store | None) -> str:
    if store is None:
        return f"{done} of {total} seeds of {experiment.command} were finished; without a results folder they are lost."
    kept = f"{done} of {total} seeds of {experiment.command} are kept in {store.partial}"
    return f"{kept}; the same call continues from there."


@contextmanager
def _bar(name: str, total: int, finished: int, visible: bool) -> Iterator[Callable[[float, int, str], None]]:
    """A bar over seeds on stderr that also moves inside a seed."""
    style = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=float(total), initial=finished, desc=name, disable=not visible, bar_format=style) as bar:

        def show(position: float, seed: int, message: str) -> None:
            bar.set_postfix_str(f"seed {seed}" + (f", {message}" if message else ""), refresh=False)
            bar.update(max(0.0, min(position, total) - bar.n))

        yield show
