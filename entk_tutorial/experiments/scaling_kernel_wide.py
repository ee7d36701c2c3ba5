r"""The kernel of the MLP that adds modulo 113, with 37 neurons a frequency: do the cliffs come back?

As ``scaling_kernel``, with the networks of ``scaling_training_wide``. Source: [Lin 2025].
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

    source: str = "scaling_training_wide"
    hidden: int = 2048


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One network, as in :func:`entk_tutorial.experiments.scaling_kernel.run_seed`."""
    return narrow.run_seed(config, seed, progress)


EXPERIMENT = Experiment(
    name="scaling_kernel_wide",
    title="The kernel at p = 113 with 37 neurons a frequency: 460 eigenpairs on 12,769 pairs, both cliffs",
    config_type=Config,
    run_seed=run_seed,
    chance=narrow.chance,
    quick=replace(Config(), source="", p=23, hidden=402, max_epochs=400, train_fraction=0.8),
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
        >>> tiny = Config(source="", p=7, hidden=100, max_epochs=20)
        >>> run(tiny, seeds=[0]).metrics["sum_window1_n"] > 0.9        # there before training, too
        array([ True])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
