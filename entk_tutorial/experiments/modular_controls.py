r"""What finds what: twelve ways to get directions out of the modular-addition MLP, at equal dimension.

For each method, trained and untrained: overlap with the four families, purity of its waves, and purity after the
digits were renamed. Source of the network: [Lin 2025]. Chapter: book/microscope/controls.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import top_eigenpairs
from entk_tutorial.experiments import modular_mlp
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features import (
    FAMILIES,
    activation_pca,
    concentration_chance,
    fourier_features,
    overlap_chance,
    subspace_overlap,
)
from entk_tutorial.features.baselines import (
    input_weight_directions,
    leading_directions,
    random_directions,
    random_waves,
    weight_wave_directions,
)
from entk_tutorial.features.families import beyond_digits
from entk_tutorial.features.waves import wave_concentration
from entk_tutorial.features.windows import modular_windows
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.training import pick_device

METHODS = (
    "input_gram",
    "w1_svd",
    "entk_window1",
    "entk_window2",
    "entk_beyond",
    "pca_plain",
    "pca_beyond",
    "w2_svd",
    "weight_dft",
    "dft_nonsense",
    "random_waves",
    "random",
)
"""In the order of the table."""
BEYOND = ("entk_window2", "entk_beyond", "pca_beyond", "weight_dft", "random_waves")
"""Methods whose directions hold no function of single digits, by construction or (window 2) nearly so."""


@dataclass(frozen=True)
class Config:
    """Settings; training as in ``modular_mlp``.

    Attributes:
        p: modulus, odd, at least 7.
        hidden: H, neurons; at least 2p, so that the first layer can have full rank.
        train_fraction: share of the p*p pairs trained on.
        epochs: full-batch steps.
        lr: of AdamW.
        weight_decay: of AdamW.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    p: int = 29
    hidden: int = 512
    train_fraction: float = 0.7
    epochs: int = 500
    lr: float = 0.05
    weight_decay: float = 0.01
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        self.training()
        if self.p < 7 or self.hidden < 4 * self.p:
            raise ValueError(
                f"p={self.p}, hidden={self.hidden}: p from 7 on and at least 4p neurons are expected, so that every "
                "method has 2(p-1) directions to give."
            )

    def training(self) -> modular_mlp.Config:
        """The settings of the training, which checks them."""
        return modular_mlp.Config(
            p=self.p,
            hidden=self.hidden,
            train_fraction=self.train_fraction,
            epochs=self.epochs,
            lr=self.lr,
            weight_decay=self.weight_decay,
            kernel_every=max(self.epochs, 1),
            device=self.device,
        )


def directions(config: Config, model: QuadraticMLP, seed: int) -> dict[str, Tensor]:
    """The 2(p-1) leading directions of each method on all pairs (those of W2: as many as it has, p at most)."""
    p, d = config.p, 2 * (config.p - 1)
    windows, features = modular_windows(p), fourier_features(p)
    x = modular_task(p, 0.5, 0).inputs
    model = model.cpu()
    with torch.no_grad():
        hidden, outputs = model.activations(x), model(x)
    kernel = modular_mlp.layer_kernels(config.training(), model)["total"]
    vectors = top_eigenpairs(kernel).vectors
    known = torch.cat([torch.ones(p * p, 1, dtype=torch.float64), features["n"], features["m"]], 1)
    w1 = model.fc1.weight.detach()
    nonsense = torch.randperm(p, generator=torch.Generator().manual_seed(40_000 + seed))
    return {
        "input_gram": leading_directions(x, d),
        "w1_svd": input_weight_directions(w1, x, d),
        "entk_window1": vectors[:, windows.first],
        "entk_window2": vectors[:, windows.second],
        "entk_beyond": beyond_digits(kernel, p, d),
        "pca_plain": leading_directions(hidden, d),
        "pca_beyond": activation_pca(hidden, d, remove=known),
        "w2_svd": leading_directions(outputs, d),
        "weight_dft": weight_wave_directions(w1, p, d),
        "dft_nonsense": weight_wave_directions(w1, p, d, order=nonsense),
        "random_waves": random_waves(p, d, 50_000 + seed),
        "random": random_directions(p, d, 60_000 + seed),
    }


def measure(config: Config, model: QuadraticMLP, seed: int) -> dict[str, float]:
    """Overlap of every method with every family, the purity of its waves, and the purity once digits are renamed."""
    p, features = config.p, fourier_features(config.p)
    renamed = torch.randperm(p, generator=torch.Generator().manual_seed(70_000 + seed))
    out = {}
    for name, u in directions(config, model, seed).items():
        for family in FAMILIES:
            out[f"{name}_{family}"] = subspace_overlap(u, features[family]).value
        out[f"{name}_concentration"] = float(wave_concentration(u, p).median())
        out[f"{name}_renamed"] = float(wave_concentration(u, p, order=renamed).median())
    out["w2_svd_dimension"] = float(directions_of_outputs(model))
    return out


def directions_of_outputs(model: QuadraticMLP) -> int:
    """How many directions the outputs have, without the constant: p at most, the rank of the second layer."""
    x = modular_task(model.p, 0.5, 0).inputs
    with torch.no_grad():
        return leading_directions(model.cpu()(x), 2 * (model.p - 1)).shape[1]


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: every method on the trained and on the untrained network."""
    untrained = QuadraticMLP(config.p, config.hidden, seed).to(pick_device(config.device))
    controls = {"untrained": measure(config, untrained, seed)}
    progress(0.2, "untrained")
    task = modular_task(config.p, config.train_fraction, modular_mlp.SPLIT_OFFSET + seed)
    model, history = modular_mlp.fit(config.training(), task, seed)
    progress(0.7, "trained")
    metrics = measure(config, model, seed)
    metrics["test_accuracy"] = history.metrics["test_accuracy"][-1]
    arrays = {f"weights_{k}": v.detach().cpu() for k, v in model.state_dict().items()}
    return SeedRecord(metrics, controls, arrays=arrays)


def chance(config: Config) -> dict[str, float]:
    """Chance level of every overlap at its dimension, given what the method is orthogonal to, and of every purity."""
    p, full = config.p, config.p - 1
    out = {"test_accuracy": 1 / p}
    for name in METHODS:
        d = p if name == "w2_svd" else 2 * full
        for family in FAMILIES:
            inside = name in BEYOND and family in ("sum", "diff")
            out[f"{name}_{family}"] = overlap_chance(d, full, p * p, excluded=2 * p - 1 if inside else 1)
        out[f"{name}_concentration"] = out[f"{name}_renamed"] = concentration_chance((p * p - 1) // 2)
    return out


EXPERIMENT = Experiment(
    name="modular_controls",
    title="What finds what: kernel, principal components, weights, inputs and random directions at equal dimension",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=Config(p=13, hidden=256, train_fraction=0.8, epochs=300),
    seconds_per_seed=20.0,
    tolerances={"*": 0.05},
    cheap=True,
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
        >>> result = run(Config(p=7, hidden=32, epochs=0), seeds=[0])
        >>> round(float(result.metrics["input_gram_n"][0]), 6)      # all six, with no network at all
        6.0
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
