r"""Why a larger modulus groks late: p = 29 with Adam's epsilon as large against the gradient as it is at p = 113.

A loss s times as large, with epsilon s times as large, gives the same steps. So a loss whose gradients sink below
epsilon can be looked at where training is cheap: by raising epsilon. Source: [Lin 2025].
Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from entk_tutorial.experiments import scaling_training as training
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_gradients import squared_error_step

FACTORS = {"tiny": 0.01, "usual": 1.0, "ten": 10.0, "as_113": 66.0}
"""Epsilon over its default; 66 makes the first gradient at p = 29 0.16 of it, as at p = 113, H = 512."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        p: modulus.
        hidden: H, neurons.
        max_epochs: budget of a training.
        train_fraction: share of the pairs trained on.
    """

    p: int = 29
    hidden: int = 512
    max_epochs: int = 1000
    train_fraction: float = 0.7

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        self.training()

    def training(self) -> training.Config:
        """Settings of a training, the loss averaged over classes."""
        return training.Config(
            p=self.p, hidden=self.hidden, max_epochs=self.max_epochs, train_fraction=self.train_fraction, keep_every=0
        )


def grokking_epoch(config: Config, seed: int, epsilon: float) -> tuple[float, bool]:
    """Epoch at which held-out accuracy reaches 99 % with this epsilon, and whether it does; else the last one."""
    settings = config.training()
    task, model = training.task_of(settings, seed), QuadraticMLP(config.p, config.hidden, seed)
    rows = task.train.sort().values
    pairs, labels = task.pairs[rows], task.labels[rows]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, eps=epsilon, foreach=False
    )
    for epoch in range(1, config.max_epochs + 1):
        squared_error_step(model, pairs, labels)
        optimizer.step()
        if epoch % settings.record_every == 0:
            if training.accuracy(model, task, task.held_out) >= training.GROKKED:
                return float(epoch), True
    return float(config.max_epochs), False


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One training for each epsilon."""
    size = training.initial_gradient(config.training(), seed, "mean")
    metrics: dict[str, float] = {}
    for i, (name, factor) in enumerate(FACTORS.items()):
        progress(i / len(FACTORS), name)
        at, grokked = grokking_epoch(config, seed, factor * training.EPSILON)
        metrics |= {f"grokking_{name}": at, f"grokked_{name}": float(grokked), f"gradient_{name}": size / factor}
    return SeedRecord(metrics, {}, {}, {})


def chance(config: Config) -> dict[str, float]:
    """No number here has a chance level."""
    return {}


EXPERIMENT = Experiment(
    name="scaling_epsilon",
    title="Late grokking at a large modulus is Adam's epsilon: p = 29 with a larger one groks late, too",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), p=23, hidden=256, train_fraction=0.8, max_epochs=600),
    seconds_per_seed=6.0,
    tolerances={"*": 60.0},
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
        >>> run(Config(p=7, hidden=16, max_epochs=10), seeds=[0]).metrics["grokking_usual"]
        array([10.])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
