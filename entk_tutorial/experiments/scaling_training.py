r"""Modular addition at p = 113: the MLP trained until it groks, its weights kept for the kernels that follow.

Training is an experiment of its own, since it takes a hundred times as long as the measurement; whoever changes the
measurement need not train again. Half an hour of training can be cut short: the state is kept in the user's cache, and
taken up there. Source: [Lin 2025]. Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.data.fetch import cache_folder
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.provenance import canonical_json, code_hash
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_gradients import squared_error_step
from entk_tutorial.training import State, copy_state

SPLIT_OFFSET = 10_000
"""Seeds of the splits, kept apart from those of the weights."""

GROKKED = 0.99
"""Held-out accuracy from which a run counts as one that groks."""

EPSILON = 1e-8
"""Adam's epsilon, its default."""

LOSSES = ("mean", "sum")
"""The paper's loss, and p times it."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        p: modulus, odd, at least 5.
        hidden: H, neurons.
        losses: one network is trained for each: ``"mean"`` averages the squared error over all N*p entries, as the
            paper does; ``"sum"`` sums it over the p classes and averages over the N pairs.
        age: training ends at this multiple of the epoch at which held-out accuracy reaches :data:`GROKKED`.
        max_epochs: or here, whichever comes first.
        train_fraction: share of the p*p pairs trained on.
        lr: of AdamW.
        weight_decay: of AdamW.
        record_every: epochs between two looks at the accuracy.
        keep_every: epochs between two states kept for a run that is cut short; 0 keeps none.
    """

    p: int = 113
    hidden: int = 512
    losses: tuple[str, ...] = LOSSES
    age: float = 1.5
    max_epochs: int = 3000
    train_fraction: float = 0.7
    lr: float = 0.05
    weight_decay: float = 0.01
    record_every: int = 10
    keep_every: int = 100

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        modular_task(self.p, self.train_fraction, 0)
        if self.p < 5 or min(self.hidden, self.record_every) < 1 or min(self.max_epochs, self.keep_every) < 0:
            raise ValueError(
                f"p={self.p}, hidden={self.hidden}, record_every={self.record_every}, max_epochs={self.max_epochs}, "
                f"keep_every={self.keep_every}: an odd p from 5 on, a neuron and an epoch at least, and no negative "
                "number are expected."
            )
        if not self.losses or set(self.losses) - set(LOSSES) or len(set(self.losses)) < len(self.losses):
            raise ValueError(f"losses={self.losses}; one or both of {LOSSES} are expected, each once.")
        if not (self.age >= 1 and self.lr > 0 and self.weight_decay >= 0):
            raise ValueError(
                f"age={self.age}, lr={self.lr}, weight_decay={self.weight_decay}: age is at least 1, lr positive, "
                "weight decay not negative."
            )
        if self.max_epochs % self.record_every or self.keep_every % self.record_every:
            raise ValueError(
                f"max_epochs={self.max_epochs} and keep_every={self.keep_every} are to be multiples of "
                f"record_every={self.record_every}."
            )


def task_of(config: Config, seed: int) -> ModularTask:
    """All pairs, with the split of a seed."""
    return modular_task(config.p, config.train_fraction, SPLIT_OFFSET + seed)


def accuracy(model: QuadraticMLP, task: ModularTask, rows: Tensor) -> float:
    """Share of these pairs whose largest output is the right one."""
    with torch.no_grad():
        right = [model(task.inputs[part]).argmax(1) == task.labels[part] for part in rows.split(1024)]
    return float(torch.cat(right).double().mean())


def initial_gradient(config: Config, seed: int, loss: str) -> float:
    """Root mean square of the first gradient, in units of Adam's epsilon.

    Far above 1, Adam's step does not depend on the loss's scale; far below, epsilon rules, and a loss a hundred times
    smaller learns a hundred times slower.
    """
    task, model = task_of(config, seed), QuadraticMLP(config.p, config.hidden, seed)
    squared_error_step(model, task.pairs[task.train], task.labels[task.train], sum_classes=loss == "sum")
    both = torch.cat([w.grad.flatten() for w in model.parameters() if w.grad is not None])
    return float(both.double().square().mean().sqrt()) / EPSILON


def first_reaching(epochs: list[int], values: list[float], level: float) -> int | None:
    """First epoch at which a curve reaches a level; None if it never does.

    Example:
        >>> first_reaching([10, 20, 30], [0.1, 0.6, 0.9], 0.5)
        20
    """
    return next((epoch for epoch, value in zip(epochs, values, strict=True) if value >= level), None)


def fit(
    config: Config,
    seed: int,
    loss: str,
    progress: ProgressFn | None = None,
    *,
    ages: Iterable[float] = (),
    cut: Path | None = None,
) -> tuple[QuadraticMLP, dict[str, list[float]], dict[float, State]]:
    """Train one network until it groks and somewhat longer.

    Args:
        config: settings.
        seed: of weights and split.
        loss: one of :data:`LOSSES`.
        progress: told the share of ``max_epochs`` that is done.
        ages: multiples of the grokking epoch (rounded to ``record_every``), below ``config.age``, at which the weights
            are copied.
        cut: file for the state of a run that is cut short; taken up if it is there.

    Returns:
        the network; ``"epoch"``, ``"loss"`` and ``"test_accuracy"`` along the run; age -> weights.
    """
    task, model = task_of(config, seed), QuadraticMLP(config.p, config.hidden, seed)
    rows = task.train.sort().values  # the order of a full batch is free; sorted pairs are read faster
    pairs, labels = task.pairs[rows], task.labels[rows]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay, eps=EPSILON, foreach=False
    )
    curves: dict[str, list[float]] = {"epoch": [], "loss": [], "test_accuracy": []}
    start = 0
    if cut is not None and cut.is_file():
        kept = torch.load(cut, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        curves, start = kept["curves"], int(kept["epoch"])
    snapshots: dict[float, State] = {}
    grokked = first_reaching([int(e) for e in curves["epoch"]], curves["test_accuracy"], GROKKED)
    for epoch in range(start + 1, config.max_epochs + 1):
        value = squared_error_step(model, pairs, labels, sum_classes=loss == "sum")
        optimizer.step()
        if epoch % config.record_every:
            continue
        found = accuracy(model, task, task.held_out)
        for name, number in (("epoch", epoch), ("loss", value), ("test_accuracy", found)):
            curves[name].append(number)
        if progress is not None:
            progress(epoch / config.max_epochs, f"held-out accuracy {found:.3f}")
        grokked = epoch if grokked is None and found >= GROKKED else grokked
        if grokked is not None:
            due = {age: rounded_age(age, grokked, config.record_every) for age in ages}
            snapshots |= {age: copy_state(model) for age, at in due.items() if at == epoch}
            if epoch >= rounded_age(config.age, grokked, config.record_every):
                break
        if cut is not None and config.keep_every and epoch % config.keep_every == 0:
            keep = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "curves": curves, "epoch": epoch}
            partial = cut.with_suffix(".part")
            torch.save(keep, partial)
            partial.replace(cut)
    return model, curves, snapshots


def rounded_age(age: float, grokked: int, every: int) -> int:
    """The epoch of an age, rounded up to a multiple of ``every``."""
    return math.ceil(age * grokked / every - 1e-9) * every


def cut_file(config: Config, seed: int, loss: str) -> Path:
    """Where a run of this config, seed and code keeps its state; the folder is made."""
    owner = {"config": asdict(config), "seed": seed, "loss": loss, "code": code_hash(fit), "torch": torch.__version__}
    folder = cache_folder() / "training"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{hashlib.sha256(canonical_json(owner).encode()).hexdigest()[:24]}.pt"


def half_precision(model: QuadraticMLP) -> State:
    """The weights rounded to 16 bits, as they are stored; what is measured afterwards are these."""
    return {name: value.half() for name, value in copy_state(model).items()}


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One training a loss: when it groks, and its weights."""
    task = task_of(config, seed)
    metrics: dict[str, float] = {}
    series: dict[str, list[float]] = {}
    weights: State = {}
    for i, loss in enumerate(config.losses):

        def report(fraction: float, message: str = "", done: int = i) -> None:
            progress((done + fraction) / len(config.losses), message)

        cut = cut_file(config, seed, loss) if config.keep_every else None
        model, curves, _ = fit(config, seed, loss, report, cut=cut)
        numbers, kept = summary(config, task, model, curves)
        metrics |= {f"{loss}_{name}": value for name, value in numbers.items()}
        metrics[f"{loss}_initial_gradient"] = initial_gradient(config, seed, loss)
        series |= {f"{loss}_{name}": values for name, values in curves.items()}
        weights |= {f"{loss}.{name}": value for name, value in kept.items()}
        if cut is not None:
            cut.unlink(missing_ok=True)
    untrained = QuadraticMLP(config.p, config.hidden, seed)
    controls = {"untrained": {"test_accuracy": accuracy(untrained, task, task.held_out)}}
    return SeedRecord(metrics, controls, series, {}, weights)


def summary(
    config: Config, task: ModularTask, model: QuadraticMLP, curves: dict[str, list[float]]
) -> tuple[dict[str, float], State]:
    """When a run groks, how right its rounded weights are, and those weights."""
    epochs = [int(e) for e in curves["epoch"]]
    grokked = first_reaching(epochs, curves["test_accuracy"], GROKKED)
    weights = half_precision(model)
    rounded = QuadraticMLP(config.p, config.hidden, seed=0)
    rounded.load_state_dict({name: value.float() for name, value in weights.items()})
    last = epochs[-1] if epochs else 0
    return {
        "grokked": float(grokked is not None),
        "grokking_epoch": float(last if grokked is None else grokked),
        "half_epoch": float(first_reaching(epochs, curves["test_accuracy"], 0.5) or last),
        "epochs": float(last),
        "train_accuracy": accuracy(rounded, task, task.train),
        "test_accuracy": accuracy(rounded, task, task.held_out),
    }, weights


def chance(config: Config) -> dict[str, float]:
    """A right answer by guessing."""
    return {f"{loss}_{kind}_accuracy": 1 / config.p for loss in config.losses for kind in ("train", "test")}


EXPERIMENT = Experiment(
    name="scaling_training",
    title="The modular-addition MLP at p = 113, 9 neurons a frequency, trained until it groks; its weights are kept",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), p=23, hidden=256, train_fraction=0.8, max_epochs=400),
    seconds_per_seed=120.0,
    tolerances={"*": 0.02}
    | {f"{loss}_{name}_epoch": 60.0 for loss in LOSSES for name in ("grokking", "half")}
    | {f"{loss}_epochs": 90.0 for loss in LOSSES},
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
        >>> result.metrics["mean_epochs"]
        array([10.])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
