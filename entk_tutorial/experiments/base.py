"""What an experiment is, and the one runner that chapters, command line and ledger share.

An experiment is a function of (config, seed). The runner calls it once a seed, keeps every finished seed on disk at
once, and stacks the seeds into a :class:`Result`. It never looks at what the numbers say: verdicts are the ledger's
business.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field, is_dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from tqdm import tqdm

from entk_tutorial.experiments.job import Job
from entk_tutorial.experiments.result import Result, SeedRecord

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
    job = Job(experiment, config, seeds, results_dir=results_dir, fresh=fresh)
    with _bar(experiment.command, len(job.asked), len(job.done), progress) as show:
        for position, seed in enumerate(job.todo, start=len(job.done)):
            start = time.perf_counter()
            try:
                record = experiment.run_seed(job.config, seed, partial(_tick, show, position, seed))
            except (Exception, KeyboardInterrupt) as error:
                error.add_note(job.what_is_kept())
                raise
            job.take(seed, record, time.perf_counter() - start)
            show(position + 1.0, seed, "")
    return job.finish()


def _tick(
    show: Callable[[float, int, str], None], position: int, seed: int, fraction: float, message: str = ""
) -> None:
    show(position + fraction, seed, message)


@contextmanager
def _bar(name: str, total: int, finished: int, visible: bool) -> Iterator[Callable[[float, int, str], None]]:
    """A bar over seeds on stderr that also moves inside a seed."""
    style = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
    with tqdm(total=float(total), initial=finished, desc=name, disable=not visible, bar_format=style) as bar:

        def show(position: float, seed: int, message: str) -> None:
            bar.set_postfix_str(f"seed {seed}" + (f", {message}" if message else ""), refresh=False)
            bar.update(max(0.0, min(position, total) - bar.n))

        yield show
