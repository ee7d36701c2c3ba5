r"""Modular addition at p = 113 with 9 neurons a frequency, and the loss summed over classes.

Five times as fast as with the paper's loss (``scaling_training`` has both), so that more seeds could be run.
Source: [Lin 2025]. Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from entk_tutorial.experiments import scaling_training as narrow
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment


@dataclass(frozen=True)
class Config(narrow.Config):
    """As :class:`entk_tutorial.experiments.scaling_training.Config`, with other defaults."""

    losses: tuple[str, ...] = ("sum",)


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One training, as in :func:`entk_tutorial.experiments.scaling_training.run_seed`."""
    return narrow.run_seed(config, seed, progress)


EXPERIMENT = Experiment(
    name="scaling_training_narrow",
    title="The modular-addition MLP at p = 113, 9 neurons a frequency, trained until it groks; its weights are kept",
    config_type=Config,
    run_seed=run_seed,
    chance=narrow.chance,
    quick=replace(Config(), p=23, hidden=100, train_fraction=0.8, max_epochs=400),
    seconds_per_seed=30.0,
    tolerances=narrow.EXPERIMENT.tolerances,
    cheap=False,
)


def run(
    config: Config | None = None,
    seeds: Iterable[int] = range(5),
    *,
    results_dir: Path | str | None = None,
    progress: bool = False,
) -> Result:
    """Run the experiment over seeds; see :func:`entk_tutorial.experiments.base.run_experiment`.

    Example:
        >>> result = run(Config(p=7, hidden=16, max_epochs=10, keep_every=0), seeds=[0])
        >>> result.metrics["sum_epochs"]
        array([10.])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
