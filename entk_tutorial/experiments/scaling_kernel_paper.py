r"""The kernel of the MLP that adds modulo 113, with the paper's loss beside the loss summed over classes.

As ``scaling_kernel``, with the networks of ``scaling_training``. Source: [Lin 2025].
Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from entk_tutorial.experiments import scaling_kernel as narrow
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment


@dataclass(frozen=True)
class Config(narrow.Config):
    """As :class:`entk_tutorial.experiments.scaling_kernel.Config`, with other defaults."""

    source: str = "scaling_training"
    losses: tuple[str, ...] = narrow.training.LOSSES


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """Two networks, as in :func:`entk_tutorial.experiments.scaling_kernel.run_seed`."""
    return narrow.run_seed(config, seed, progress)


EXPERIMENT = Experiment(
    name="scaling_kernel_paper",
    title="The kernel at p = 113 with 9 neurons a frequency, trained with the paper's loss and with p times it",
    config_type=Config,
    run_seed=run_seed,
    chance=narrow.chance,
    quick=replace(Config(), source="", p=23, hidden=100, max_epochs=400, train_fraction=0.8),
    seconds_per_seed=90.0,
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
        >>> tiny = Config(source="", p=7, hidden=100, losses=("sum",), max_epochs=20)
        >>> run(tiny, seeds=[0]).metrics["sum_window1_n"] > 0.9        # there before training, too
        array([ True])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
