r"""Modular addition at p = 113 with 37 neurons a frequency, as many as at p = 29, and the loss summed over classes.

With the paper's loss this network's first gradients lie a hundred times below Adam's epsilon, and training takes
thousands of epochs; see the chapter for that run. Source: [Lin 2025]. Chapter: book/beyond/scaling-up.
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

    hidden: int = 2048
    losses: tuple[str, ...] = ("sum",)


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One training, as in :func:`entk_tutorial.experiments.scaling_training.run_seed`."""
    return narrow.run_seed(config, seed, progress)


EXPERIMENT = Experiment(
    name="scaling_training_wide",
    title="The modular-addition MLP at p = 113, 37 neurons a frequency, trained until it groks; its weights are kept",
    config_type=Config,
    run_seed=run_seed,
    chance=narrow.chance,
    quick=replace(Config(), p=23, hidden=402, train_fraction=0.8, max_epochs=400),
    seconds_per_seed=250.0,
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
