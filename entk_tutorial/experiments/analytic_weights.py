r"""Weights that are waves: the kernel in closed form, the order of its eigenspaces, and what random phases cost.

Complete lattices of phases at a sweep of the relative scale of the two layers, against closed forms; then random
phases at growing width, against perturbation theory. Weights from [Gromov 2023]. Chapter: book/microscope/controls.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import empirical_ntk, top_eigenpairs
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features import FAMILIES, fourier_features, orthonormal_basis, residues, subspace_overlap
from entk_tutorial.features.analytic_kernel import (
    analytic_kernel,
    analytic_levels,
    flip_ratio,
    random_phase_loss,
)
from entk_tutorial.features.windows import modular_windows, window_chance
from entk_tutorial.models.analytic import analytic_mlp, grid_is_exact, random_phase_mlp
from entk_tutorial.models.modular import QuadraticMLP


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        p: modulus, prime, at least 11.
        grid: phases a circle of the complete lattices.
        ratios: s_1/s_2, with s_2 = 1.
        widths: H of the networks with random phases, increasing.
        predicted_at: those of the ratios at which the loss by random phases is compared with its prediction.
    """

    p: int = 29
    grid: int = 3
    ratios: tuple[float, ...] = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.65, 2.0, 3.0, 4.0)
    widths: tuple[int, ...] = (512, 2048, 8192)
    predicted_at: tuple[float, ...] = (0.5, 1.0, 3.0)

    def __post_init__(self) -> None:
        """Refuse settings whose closed forms do not hold."""
        random_phase_loss(self.p, 1)  # checks the modulus, with its reason
        if not grid_is_exact(self.grid):
            raise ValueError(f"grid={self.grid} phases do not average like all phases; take 3, or 5 and more.")
        if not self.ratios or any(abs(r / flip_ratio(self.p) - 1) < 0.01 for r in self.ratios):
            raise ValueError(f"ratios={self.ratios}: some are expected, none within 1 % of {flip_ratio(self.p):.4f}.")
        if len(self.widths) < 2 or list(self.widths) != sorted(set(self.widths)) or self.widths[0] < self.p:
            raise ValueError(f"widths={self.widths}: at least two, increasing, from p={self.p} on, are expected.")
        if not set(self.predicted_at) <= set(self.ratios) or not self.predicted_at:
            raise ValueError(f"predicted_at={self.predicted_at} must be some of the ratios {self.ratios}.")


def product_kernels(model: QuadraticMLP, x: Tensor) -> dict[str, Tensor]:
    r"""The trace kernel of a quadratic MLP by layer, from its two products: fast for very wide networks.

    The same as ``empirical_ntk(model, x, by="layer")``, which knows nothing of squares and needs more memory.
    """
    p, hidden = model.p, model.hidden
    with torch.no_grad():
        z = model.fc1(x) / math.sqrt(2 * p)  # (N, H)
        weighted = z * model.fc2.weight.square().sum(0)
        squares = z.square()
        k1 = 4 / hidden**2 * (x @ x.T) / (2 * p) * (weighted @ z.T)
        return {"fc1": k1, "fc2": p / hidden**2 * squares @ squares.T}


def predicted_overlaps(p: int, ratio: float) -> dict[str, float]:
    """Overlap of either window with each family in closed form: a whole family, or nothing of it."""
    digits_first = ratio < flip_ratio(p)
    full = float(p - 1)
    out = {}
    for family in FAMILIES:
        first = digits_first == (family in ("n", "m"))
        out[f"window1_{family}"], out[f"window2_{family}"] = (full, 0.0) if first else (0.0, full)
    return out


def window_overlaps(kernel: Tensor, p: int) -> dict[str, float]:
    """Overlap of either window of a kernel with each family."""
    vectors = top_eigenpairs(kernel, modular_windows(p).edge2, method="dense").vectors
    windows, features = modular_windows(p), fourier_features(p)
    return {
        f"window{i}_{f}": subspace_overlap(vectors[:, part], features[f]).value
        for i, part in ((1, windows.first), (2, windows.second))
        for f in FAMILIES
    }


def _complete_lattices(config: Config, seed: int, x: Tensor) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Largest deviations from the closed forms over the sweep, and the measured curves."""
    p, labels = config.p, residues(config.p, "sum")
    worst = {"kernel_error": 0.0, "eigenvalue_error": 0.0, "overlap_error": 0.0}
    accuracy = 1.0
    curves: dict[str, list[float]] = {}
    for ratio in config.ratios:
        model = analytic_mlp(p, grid=config.grid, scales=(ratio, 1.0), seed=seed)
        with torch.no_grad():
            accuracy = min(accuracy, float((model(x).argmax(1) == labels).double().mean()))
        measured = empirical_ntk(model, x, by="layer")
        assert isinstance(measured, dict)
        closed = analytic_kernel(p, model.hidden, (ratio, 1.0))
        for name, kernel in closed.items():
            error = float((measured[name] - kernel).abs().max() / kernel.abs().max())
            worst["kernel_error"] = max(worst["kernel_error"], error)
        total = measured["fc1"] + measured["fc2"]
        expected = analytic_levels(p, model.hidden, (ratio, 1.0))["total"].spectrum(p)
        values = top_eigenpairs(total, method="dense").values
        error = float(((values - expected).abs() / expected).max())
        worst["eigenvalue_error"] = max(worst["eigenvalue_error"], error)
        overlaps = window_overlaps(total, p)
        error = max(abs(overlaps[k] - v) for k, v in predicted_overlaps(p, ratio).items())
        worst["overlap_error"] = max(worst["overlap_error"], error)
        for name, value in overlaps.items():
            curves.setdefault(f"lattice_{name}", []).append(value)
    return {**worst, "accuracy": accuracy}, curves


def measured_flip(p: int, grid: int, seed: int, x: Tensor) -> float:
    """The scale ratio at which functions of n and of n + m have equal energy in the measured kernels."""
    layers = empirical_ntk(analytic_mlp(p, grid=grid, seed=seed), x, by="layer")
    assert isinstance(layers, dict)
    level = {}
    for family in ("n", "sum"):
        q = orthonormal_basis(fourier_features(p)[family])
        level[family] = {k: float((q * (kernel @ q)).sum()) / q.shape[1] for k, kernel in layers.items()}
    # Layer 1 goes like s1^2 s2^2 and layer 2 like s1^4: equal at (s1/s2)^2 = this.
    return math.sqrt((level["n"]["fc1"] - level["sum"]["fc1"]) / (level["sum"]["fc2"] - level["n"]["fc2"]))


def _subtraction(config: Config, seed: int, x: Tensor) -> dict[str, float]:
    """How far the kernels of adding and of subtracting are apart, and whether either network does its sum."""
    kernels, right = {}, {}
    for operation in ("sum", "diff"):
        model = analytic_mlp(config.p, grid=config.grid, seed=seed, operation=operation)
        kernels[operation] = empirical_ntk(model, x)
        with torch.no_grad():
            right[operation] = float((model(x).argmax(1) == residues(config.p, operation)).double().mean())
    a, b = kernels["sum"], kernels["diff"]
    assert isinstance(a, Tensor) and isinstance(b, Tensor)
    return {
        "subtraction_kernel_change": float((a - b).norm() / a.norm()),
        "subtraction_accuracy": right["diff"],
    }


def _random_phases(
    config: Config, seed: int, x: Tensor, report: ProgressFn
) -> tuple[dict[str, float], dict[str, list[list[float]]]]:
    """Overlap lost to random phases: by width (rows) and ratio (columns), with its prediction."""
    p, full = config.p, config.p - 1
    lost: list[list[float]] = []
    per_neuron = [random_phase_loss(p, 1, (ratio, 1.0)) for ratio in config.ratios]
    predicted = [[loss / hidden for loss in per_neuron] for hidden in config.widths]
    for i, hidden in enumerate(config.widths):
        model = random_phase_mlp(p, hidden, seed)
        layers = product_kernels(model, x)
        lost.append([])
        for ratio in config.ratios:
            kernel = ratio**2 * layers["fc1"] + ratio**4 * layers["fc2"]
            overlaps = window_overlaps(kernel, p)
            window = 2 if ratio < flip_ratio(p) else 1
            lost[-1].append(full - (overlaps[f"window{window}_sum"] + overlaps[f"window{window}_diff"]) / 2)
        report(0.4 + 0.6 * (i + 1) / len(config.widths), f"random phases, H={hidden}")
    at = [config.ratios.index(r) for r in config.predicted_at]
    metrics = {"loss_error": max(abs(lost[-1][i] / predicted[-1][i] - 1) for i in at)}
    span = math.log(config.widths[-1] / config.widths[-2])
    metrics["loss_slope"] = sum(math.log(lost[-1][i] / lost[-2][i]) for i in at) / (span * len(at))
    for i in at:
        metrics[f"loss_at_{config.ratios[i]:g}"] = lost[0][i]
    return metrics, {"lost": lost, "lost_predicted": predicted}


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: shifts of the lattices, and one draw of random phases at each width."""
    x = modular_task(config.p, 0.5, 0).inputs.double()
    metrics, curves = _complete_lattices(config, seed, x)
    progress(0.3, "complete lattices")
    metrics["flip"] = measured_flip(config.p, config.grid, seed, x)
    metrics["flip_error"] = abs(metrics["flip"] - flip_ratio(config.p))
    metrics |= _subtraction(config, seed, x)
    more, tables = _random_phases(config, seed, x, progress)
    return SeedRecord({**metrics, **more}, series={**curves, **tables})


def chance(config: Config) -> dict[str, float]:
    """Chance levels."""
    return {
        "accuracy": 1 / config.p,
        "subtraction_accuracy": 1 / config.p,
        **{f"loss_at_{r:g}": config.p - 1 - window_chance(config.p, 2) for r in config.predicted_at},
    }


EXPERIMENT = Experiment(
    name="analytic_weights",
    title="Weights that are waves: eigenspaces of the tangent kernel in closed form, and where their order flips",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=Config(p=11, ratios=(0.5, 1.0, 3.0), widths=(256, 1024)),
    seconds_per_seed=24.0,
    tolerances={"*": 1e-6, "loss_error": 0.01, "loss_slope": 0.01, "loss_at_0.5": 1e-4, "loss_at_3": 1e-4},
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
        >>> result = run(Config(p=11, ratios=(1.0,), widths=(128, 256), predicted_at=(1.0,)), seeds=[0])
        >>> bool(result.metrics["overlap_error"][0] < 1e-6)
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
