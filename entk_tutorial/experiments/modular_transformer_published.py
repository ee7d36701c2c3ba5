r"""The Transformer's experiment with the published draws: one split for all seeds, weights and batches as published.

The experiment ``modular_transformer`` draws a new split for every seed. The published runs share one, and a seed
decides the weights and the order of the batches. Whether a run groks, and with how many frequencies, turns on such
draws; so the published claims are held to the published ones. The draws are made in the published order from a private
generator, so that a seed gives the weights that it gave there. Source: [Lin 2025].
Chapter: book/microscope/modular-transformer.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.experiments import modular_transformer as own
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.models.transformer import ModularTransformer
from entk_tutorial.training import State

SPLIT_SEED = 0
"""Of the one published split."""


def drawn_weights(config: own.Config, generator: torch.Generator) -> State:
    """Initial weights in the published order and layout, turned to the layout of :class:`ModularTransformer`."""
    d, wide, tokens = config.d_model, config.d_mlp, config.p + 1
    order = {
        "W_E": (tokens, d, d), "W_pos": (3, d, d), "W_Q": (d, d, d), "W_K": (d, d, d), "W_V": (d, d, d),
        "W_O": (d, d, d), "W_in": (d, wide, wide), "W_out": (wide, d, d), "W_U": (d, tokens, tokens),
    }  # fmt: skip
    drawn = {name: torch.randn(r, c, generator=generator) / math.sqrt(fan) for name, (r, c, fan) in order.items()}
    return {name: w.T.contiguous() if name in ("W_in", "W_out", "W_U") else w for name, w in drawn.items()}


@dataclass(frozen=True)
class Config(own.Config):
    """As :class:`entk_tutorial.experiments.modular_transformer.Config`; only the draws differ."""

    def network(self, seed: int) -> ModularTransformer:
        """The untrained network of a seed, with the published weights."""
        model = super().network(seed)
        model.load_state_dict(drawn_weights(self, torch.Generator().manual_seed(seed)))
        return model

    def task(self, seed: int) -> ModularTask:
        """The pairs with the published split, the same for every seed."""
        task = modular_task(self.p, self.train_fraction, 0)
        order = list(range(self.p**2))
        random.Random(SPLIT_SEED).shuffle(order)
        rows = torch.tensor(order)
        return replace(task, train=rows[: len(task.train)], held_out=rows[len(task.train) :])

    def batches(self, rows: Tensor, seed: int) -> Iterator[Tensor]:
        """Batches in the order that a shuffling ``DataLoader`` takes after the weights were drawn."""
        stream = torch.Generator().manual_seed(seed)
        drawn_weights(self, stream)

        def draw() -> int:
            return int(torch.empty((), dtype=torch.int64).random_(generator=stream).item())

        while True:
            draw()  # a loader's own seed, which does nothing here
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(draw()))
            yield from rows[order.to(rows.device)].split(self.batch)


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed, as in :func:`entk_tutorial.experiments.modular_transformer.run_seed`."""
    return own.run_seed(config, seed, progress)


EXPERIMENT = Experiment(
    name="modular_transformer_published",
    title="The Transformer with the published split and weights: the published run again, and nine others",
    config_type=Config,
    run_seed=run_seed,
    chance=own.chance,
    quick=replace(
        Config(), p=23, d_model=48, d_mlp=96, train_fraction=0.8, epochs=500, lr=2e-3, kernel_every=250, controls=False
    ),
    seconds_per_seed=60.0,
    tolerances=own.EXPERIMENT.tolerances,
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
        >>> tiny = Config(p=7, d_model=8, heads=2, d_mlp=8, epochs=0, record_every=1, kernel_every=1)
        >>> run(tiny, seeds=[0]).metrics["key_count"]       # nothing was learned
        array([0.])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
