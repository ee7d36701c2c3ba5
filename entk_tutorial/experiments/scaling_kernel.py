r"""The kernel of the MLP that adds modulo 113, on all 12,769 pairs: 460 leading eigenpairs, by layer.

The networks are those of the experiment ``scaling_training_narrow``, from its stored weights, so that a change of the
measurement asks for no training. Source: [Lin 2025]. Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from entk_tutorial.data import modular_task
from entk_tutorial.experiments import scaling_training as training
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.scaling_measures import LOOSE, measure
from entk_tutorial.features.fourier import concentration_chance
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.results import load_stored_checkpoint


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        source: experiment whose stored weights are measured; empty to train here, with the settings below.
        p: modulus.
        hidden: H, neurons.
        losses: which of the source's networks.
        max_epochs: of a training here.
        train_fraction: share of the pairs that was trained on.
    """

    source: str = "scaling_training_narrow"
    p: int = 113
    hidden: int = 512
    losses: tuple[str, ...] = ("sum",)
    max_epochs: int = 3000
    train_fraction: float = 0.7

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        self.training()
        if self.p < 7:
            raise ValueError(f"p={self.p}: too few functions are left behind the two windows; take an odd p from 7 on.")

    def training(self) -> training.Config:
        """Settings of a training here."""
        return training.Config(
            p=self.p, hidden=self.hidden, losses=self.losses, max_epochs=self.max_epochs,
            train_fraction=self.train_fraction, keep_every=0,
        )  # fmt: skip


def networks(config: Config, seed: int) -> dict[str, QuadraticMLP]:
    """Loss -> trained network of one seed.

    Raises:
        ValueError: if the source has no weights of this seed, or of other sizes.
    """
    if not config.source:
        return {loss: training.fit(config.training(), seed, loss)[0] for loss in config.losses}
    stored = load_stored_checkpoint(config.source, seed)
    out = {}
    for loss in config.losses:
        state = {name: stored[f"{loss}.{name}"].float() for name in ("fc1.weight", "fc2.weight")}
        shape = tuple(state["fc1.weight"].shape)
        if shape != (config.hidden, 2 * config.p):
            raise ValueError(f"{config.source} holds weights {shape}; {(config.hidden, 2 * config.p)} were expected.")
        model = QuadraticMLP(config.p, config.hidden, seed)
        model.load_state_dict(state)
        out[loss] = model
    return out


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """The networks of one seed, and the untrained one."""
    metrics: dict[str, float] = {}
    series: dict[str, list[float]] = {}
    task = training.task_of(config.training(), seed)
    models = networks(config, seed)
    for i, (loss, model) in enumerate(models.items()):
        progress(i / (len(models) + 1), f"kernel, loss {loss}")
        numbers, spectra = measure(model, task.held_out, layers=True)
        numbers["test_accuracy"] = training.accuracy(model, task, task.held_out)
        residual = max(float((s.residuals / s.values[0]).max()) for s in spectra.values())
        metrics |= {f"{loss}_{name}": value for name, value in numbers.items()}
        metrics[f"{loss}_residual"] = residual
        series |= {f"{loss}_spectrum_{layer}": pairs.values.tolist() for layer, pairs in spectra.items()}
    progress(len(models) / (len(models) + 1), "untrained")
    before, spectra = measure(QuadraticMLP(config.p, config.hidden, seed), task.held_out, tolerance=LOOSE)
    series["untrained_spectrum_total"] = spectra["total"].values.tolist()
    control = {f"{loss}_{name}": value for loss in config.losses for name, value in before.items()}
    return SeedRecord(metrics, {"untrained": control}, series, {})


def chance(config: Config) -> dict[str, float]:
    """Chance level of every share and concentration."""
    p = config.p
    held = p * p - len(modular_task(p, config.train_fraction, 0).train)
    levels = {"window1_n": 2 / (p + 1), "window1_m": 2 / (p + 1), "test_accuracy": 1 / p}
    levels |= {f"{w}_{f}": 2 / (p - 1) for w in ("window2", "fc2_window2") for f in ("sum", "diff")}
    levels |= {f"held_out_{f}": min(1.0, 2 * (p - 1) / held) for f in ("sum", "diff")}
    levels |= {f"window{w}_concentration": concentration_chance(p - 1) for w in (1, 2)}
    return {f"{loss}_{name}": value for loss in config.losses for name, value in levels.items()}


EXPERIMENT = Experiment(
    name="scaling_kernel",
    title="The kernel at p = 113 with 9 neurons a frequency: 460 eigenpairs on 12,769 pairs, windows without cliffs",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), source="", p=23, hidden=128, max_epochs=400, train_fraction=0.8),
    seconds_per_seed=60.0,
    tolerances={"*": 0.01},
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
