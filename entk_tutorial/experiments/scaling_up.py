r"""From p = 29 upwards: what becomes of the two cliffs when the modulus grows, and when neurons are few.

At each modulus two networks, with 37 and with 9 neurons a frequency; each trained until it groks and half as long
again, with the loss summed over classes, so that it takes about as many epochs at each p. At the smaller moduli the
paper's loss, too. Then how much of the leading eigenspaces a random part of the inputs would have shown.
Source: [Lin 2025]. Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from entk_tutorial.data import modular_task
from entk_tutorial.experiments import scaling_training as training
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.scaling_measures import LOOSE, measure
from entk_tutorial.features.subsample import subset_shares
from entk_tutorial.features.windows import modular_windows
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_kernel import QuadraticKernel

WIDTHS = {"narrow": 0.25, "wide": 1.0}
"""Share of ``Config.neurons`` that a network of this name has."""

SUBSET_OFFSET = 40_000
"""Seeds of the random subsets."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        moduli: p, odd, at least 7, growing.
        paper_loss: those of them at which the wide network is also trained with the paper's loss.
        neurons: H of the wide network at p = 29; at other moduli in proportion to p - 1, the narrow one a quarter.
        age: training ends at this multiple of the epoch at which the network groks.
        max_epochs: or here.
        train_fraction: share of the pairs trained on.
        subsets: sizes of the random subsets of inputs, at the largest modulus; at least 4p - 3 of it.
    """

    moduli: tuple[int, ...] = (29, 43)
    paper_loss: tuple[int, ...] = (29,)
    neurons: int = 512
    age: float = 1.5
    max_epochs: int = 1000
    train_fraction: float = 0.7
    subsets: tuple[int, ...] = (180, 360, 720, 1440)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if not self.moduli or list(self.moduli) != sorted(set(self.moduli)) or self.moduli[0] < 7:
            raise ValueError(f"moduli={self.moduli}; growing odd numbers from 7 on are expected, at least one.")
        if not set(self.paper_loss) <= set(self.moduli):
            raise ValueError(f"paper_loss={self.paper_loss} should be some of moduli={self.moduli}.")
        largest = self.moduli[-1]
        wrong = [n for n in self.subsets if not 4 * largest - 3 <= n <= largest**2]
        if wrong:
            raise ValueError(f"subsets {wrong}: from 4p - 3 = {4 * largest - 3} to p*p = {largest**2} inputs, please.")
        for p in self.moduli:
            self.training(p, "narrow")

    def training(self, p: int, width: str) -> training.Config:
        """Settings of one training."""
        return training.Config(
            p=p, hidden=max(1, round(WIDTHS[width] * self.neurons * (p - 1) / 28)), age=self.age,
            max_epochs=self.max_epochs, train_fraction=self.train_fraction, keep_every=0,
        )  # fmt: skip

    def networks(self) -> list[tuple[int, str, str]]:
        """Modulus, width and loss of every network."""
        both = [(p, width, "sum") for p in self.moduli for width in WIDTHS]
        return both + [(p, "wide", "mean") for p in self.paper_loss]


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """Every network of one seed, and the untrained wide ones."""
    metrics: dict[str, float] = {}
    controls: dict[str, dict[str, float]] = {"untrained": {}}
    series: dict[str, list[float]] = {}
    networks = config.networks()
    for i, (p, width, loss) in enumerate(networks):
        name, settings = f"p{p}_{width}_{loss}", config.training(p, width)
        progress(i / (len(networks) + 1), name)
        task = training.task_of(settings, seed)
        model, curves, _ = training.fit(settings, seed, loss)
        numbers, spectra = measure(model, task.held_out)
        grown = training.summary(settings, task, model, curves)[0]
        numbers |= {key: grown[key] for key in ("grokked", "grokking_epoch", "test_accuracy")}
        numbers["initial_gradient"] = training.initial_gradient(settings, seed, loss)
        metrics |= {f"{name}_{key}": value for key, value in numbers.items()}
        series[f"{name}_spectrum"] = spectra["total"].values.tolist()
        if loss == "sum" and width == "wide":
            fresh = QuadraticMLP(p, settings.hidden, seed)
            before = measure(fresh, task.held_out, tolerance=LOOSE)[0]
            controls["untrained"] |= {f"{name}_{key}": value for key, value in before.items()}
            if p == config.moduli[-1]:
                found = _subsets(config, model, spectra["total"].vectors, seed)
                metrics |= {key: values[-1] for key, values in found.items() if values}
                series |= found
    return SeedRecord(metrics, controls, series, {})


def _subsets(config: Config, model: QuadraticMLP, vectors: torch.Tensor, seed: int) -> dict[str, list[float]]:
    """Share of each window that random subsets of growing size find: one curve a window."""
    p, windows = model.p, modular_windows(model.p)
    kernel = QuadraticKernel(model)
    order = torch.randperm(p * p, generator=torch.Generator().manual_seed(SUBSET_OFFSET + seed))
    parts = {"subset_window1": windows.first, "subset_window2": windows.second}
    out: dict[str, list[float]] = {name: [] for name in parts}
    for n in config.subsets:
        rows = order[:n].sort().values
        shares = subset_shares(kernel.columns(rows), rows, vectors, parts)
        for name, value in shares.items():
            out[name].append(value)
    return out


def chance(config: Config) -> dict[str, float]:
    """Chance level of every share: of a window of random functions, given what it is orthogonal to."""
    out: dict[str, float] = {}
    for p, width, loss in config.networks():
        name = f"p{p}_{width}_{loss}"
        out |= {f"{name}_window1_{f}": 2 / (p + 1) for f in ("n", "m")}
        out |= {f"{name}_window2_{f}": 2 / (p - 1) for f in ("sum", "diff")}
        held = p * p - len(modular_task(p, config.train_fraction, 0).train)
        share = min(1.0, 2 * (p - 1) / held)  # on some rows only, the functions of n and m are not left out
        out |= {f"{name}_held_out_{f}": share for f in ("sum", "diff")}
        out[f"{name}_test_accuracy"] = 1 / p
    p = config.moduli[-1]
    return out | {f"subset_window{w}": 2 * (p - 1) / p**2 for w in (1, 2) if config.subsets}


EXPERIMENT = Experiment(
    name="scaling_up",
    title="Modular addition at p = 29 and 43: the second cliff grows with p, few neurons blur both; subsets of inputs",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), moduli=(13, 19), paper_loss=(), train_fraction=0.8, max_epochs=300, subsets=(80, 200)),
    seconds_per_seed=15.0,
    tolerances={"*": 0.1}
    | {f"p{p}_{w}_{loss}_grokking_epoch": 60.0 for p in (29, 43) for w in WIDTHS for loss in training.LOSSES}
    | {f"p{p}_{w}_{loss}_other_index": 60.0 for p in (29, 43) for w in WIDTHS for loss in training.LOSSES},
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
        >>> tiny = Config(moduli=(7,), paper_loss=(), neurons=200, max_epochs=20, subsets=(30,))
        >>> run(tiny, seeds=[0]).metrics["p7_wide_sum_window1_n"] > 0.75    # chance 1/4; before training, too
        array([ True])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
