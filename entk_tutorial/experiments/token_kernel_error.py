r"""How wide must a network be before the kernel of its V tokens is right? The error follows sqrt(V / width).

An MLP on single one-hot tokens has a V x V tangent kernel, at infinite width :math:`(A-B)I + B\,11^\top` with
:math:`B=\mu_\phi^2`. Networks are drawn over widths and vocabularies; the relative Frobenius error of the centred
kernel is fitted by :math:`c\,V^\alpha n^\beta` and laid beside a prediction of c. Control: the same error divided by
the size of the bias term :math:`B\,11^\top`, which hides the growth. Source: [Sun, Li & Lu 2023], [Jacot 2018].
Chapter: book/infinite/finite-width.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.infinite import activation_mean, dual_activation, mlp_constants
from entk_tutorial.models.text import MLPText
from entk_tutorial.models.text_base import activation_function

ODD = ("tanh", "erf")
BIASED = ("relu", "gelu")


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        vocabularies: numbers of tokens V, growing; the smaller ones are the first tokens of the largest.
        widths: n, growing.
        activations: names out of "tanh", "erf" (odd) and "relu", "gelu" (with a mean).
    """

    vocabularies: tuple[int, ...] = (60, 120, 240, 480, 960, 1500)
    widths: tuple[int, ...] = (64, 256, 1024)
    activations: tuple[str, ...] = (*ODD, *BIASED)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for name, least in (("vocabularies", 3), ("widths", 2)):
            values = getattr(self, name)
            if len(values) < least or sorted(set(values)) != list(values) or values[0] < 8:
                raise ValueError(
                    f"{name}={values}; {least} or more growing numbers, 8 or more each, are needed to fit an exponent."
                )
        unknown = sorted(set(self.activations) - set(ODD) - set(BIASED))
        if unknown or not self.activations:
            raise ValueError(f"activations={self.activations}; expected names out of {', '.join(ODD + BIASED)}.")


@dataclass(frozen=True)
class Constants:
    r"""What the error is predicted to be, for one activation at variance 1.

    Attributes:
        bias: :math:`B = \mu^2`, what two different tokens share at infinite width.
        centred: c in :math:`c\sqrt{V/n}`, relative to the centred kernel.
        saturation: limit of :math:`\sqrt n` times the error relative to the whole kernel, for V to infinity; infinite
            without a bias.
    """

    bias: float
    centred: float
    saturation: float


def predicted_constants(activation: str) -> Constants:
    r"""Constants of the error law, to leading order in 1 / width.

    .. math:: c = \frac{\sqrt{(\Phi-\mu^2)^2+4(\mathbb E\phi')^4}}{A-B},\qquad
              s = \frac{\sqrt{\Phi^2-\mu^4+4(\mathbb E\phi')^4+4\mu^2\mu'^2}}{B},\qquad
              \Phi = \mathbb E\phi(z)^2,\quad \mu' = \partial_\nu\,\mathbb E\,\phi(\sqrt\nu z)|_{\nu=1}.

    Example:
        >>> c = predicted_constants("relu")
        >>> bool(np.isclose(c.saturation, np.sqrt(0.5) * 2 * np.pi))
        True

    Derived in book/infinite/finite-width.
    """
    a, b = _token_pair(activation)
    square = float(dual_activation(activation, 1.0, 1.0, 1.0).value)
    # Uncorrelated pre-activations: E phi'(u) phi'(u') = (E phi')^2.
    slope = float(dual_activation(activation, 1.0, 1.0, 0.0).derivative)
    step = 1e-4
    change = float(activation_mean(activation, 1 + step) - activation_mean(activation, 1 - step)) / (2 * step)
    centred = np.sqrt((square - b) ** 2 + 4 * slope**2) / (a - b)
    whole = np.sqrt(square**2 - b**2 + 4 * slope**2 + 4 * b * change**2)
    return Constants(b, float(centred), float(whole / b) if b > 0 else float("inf"))


def _token_pair(activation: str) -> tuple[float, float]:
    """A and B; B exactly 0 for an odd activation, where quadrature leaves a rounding error."""
    a, b = mlp_constants(activation)
    return a, b if float(activation_mean(activation, 1.0)) > 0 else 0.0


def predicted_error(activation: str, vocabulary: int, width: int, norm: str = "centred") -> float:
    """What the laws of :func:`predicted_constants` say of one vocabulary and width; ``norm`` is "centred" or "whole".

    Example:
        >>> round(predicted_error("tanh", 1000, 1000), 2)
        0.63
    """
    law, (a, b) = predicted_constants(activation), _token_pair(activation)
    if norm == "centred" or law.bias == 0:
        return law.centred * float(np.sqrt(vocabulary / width))
    share = b * vocabulary / np.sqrt(vocabulary * a**2 + vocabulary * (vocabulary - 1) * b**2)
    return law.saturation * float(share / np.sqrt(width))


def token_kernel(activation: str, vocabulary: int, width: int, seed: int) -> Tensor:
    r"""Empirical tangent kernel of an :class:`MLPText` between its one-hot tokens, in float32: (V, V).

    Three Gram matrices do it, without a Jacobian. With :math:`u_a=We_a/\sqrt n` and :math:`d_a=v\odot\phi'(u_a)`,

    .. math:: \hat\Theta_{ab} = \frac{\phi(u_a)\cdot\phi(u_b)}n+\frac{(d_a\cdot d_b)(e_a\cdot e_b)}{n^2}
              +\delta_{ab}\frac{\lVert W^\top d_a\rVert^2}{n^2}.

    Example:
        >>> token_kernel("tanh", 3, 16, seed=0).shape
        torch.Size([3, 3])
    """
    model = MLPText(vocabulary, width, activation=activation, seed=seed, dtype=torch.float32)
    weights = {name: p.detach() for name, p in model.named_parameters()}
    e, w, v = weights["E"], weights["W"], weights["v"]  # (V, n), (n, n), (n,)
    u = (e @ w.T / width**0.5).requires_grad_(True)  # (V, n)
    hidden: Tensor = activation_function(activation)(u)
    (slope,) = torch.autograd.grad(hidden.sum(), u)
    hidden, d = hidden.detach(), slope * v  # (V, n)
    kernel: Tensor = hidden @ hidden.T / width + (d @ d.T) * (e @ e.T) / width**2
    kernel += torch.diag((d @ w).square().sum(1) / width**2)
    return kernel


def centred(kernel: Tensor) -> Tensor:
    """Subtract row and column means: what is left says how tokens differ."""
    rows = kernel - kernel.mean(0, keepdim=True)
    return rows - rows.mean(1, keepdim=True)


def relative_errors(kernel: Tensor, activation: str) -> dict[str, float]:
    """Frobenius distance of a (V, V) kernel from its closed form, relative to the whole, the centred part, the bias."""
    a, b = _token_pair(activation)
    number = kernel.shape[0]
    gap = kernel.double() - b - (a - b) * torch.eye(number, dtype=torch.float64)
    whole = np.sqrt(number * a**2 + number * (number - 1) * b**2)
    out = {
        "whole": float(gap.norm()) / whole,
        "centred": float(centred(gap).norm()) / ((a - b) * np.sqrt(number - 1)),
    }
    return out | ({"bias": float(gap.norm()) / (number * b)} if b > 0 else {})


def fit_power(vocabularies: Iterable[int], widths: Iterable[int], table: np.ndarray) -> tuple[float, float]:
    """Exponents of V and of n in a (widths, vocabularies) table of errors, by least squares on logarithms.

    Example:
        >>> v, n = np.array([10, 20, 40]), np.array([8, 64])
        >>> [round(x, 6) for x in fit_power(v, n, 3 * np.sqrt(v[None, :] / n[:, None]))]
        [0.5, -0.5]
    """
    n, v = np.meshgrid(np.log(list(widths)), np.log(list(vocabularies)), indexing="ij")
    design = np.stack([v.ravel(), n.ravel(), np.ones(v.size)], axis=1)
    solution = np.linalg.lstsq(design, np.log(table).ravel(), rcond=None)[0]
    return float(solution[0]), float(solution[1])


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One network for each activation and width; all vocabularies are parts of the largest."""
    metrics: dict[str, float] = {}
    hidden: dict[str, float] = {}
    series: dict[str, list[float]] = {"vocabulary": [float(v) for v in config.vocabularies]}
    largest, shape = config.vocabularies[-1], (len(config.widths), len(config.vocabularies))
    for i, activation in enumerate(config.activations):
        tables: dict[str, np.ndarray] = {}
        for j, width in enumerate(config.widths):
            progress((i + j / len(config.widths)) / len(config.activations), f"{activation}, width {width}")
            draw = (seed * len(config.activations) + i) * len(config.widths) + j  # no network serves twice
            kernel = token_kernel(activation, largest, width, draw)
            for k, number in enumerate(config.vocabularies):
                for name, value in relative_errors(kernel[:number, :number], activation).items():
                    tables.setdefault(name, np.empty(shape))[j, k] = value
            series |= {f"{activation}_{name}_{width}": table[j].tolist() for name, table in tables.items()}
        metrics |= _summary(config, activation, tables)
        if "bias" in tables:
            exponents = fit_power(config.vocabularies, config.widths, tables["bias"])
            hidden |= {f"{activation}_exponent_v": exponents[0], f"{activation}_exponent_n": exponents[1]}
    return SeedRecord(metrics, {"bias_norm": hidden} if hidden else {}, series, {})


def _summary(config: Config, activation: str, tables: dict[str, np.ndarray]) -> dict[str, float]:
    """Exponents, the constant at the largest vocabulary and width, and where the error of the whole kernel ends up."""
    law = predicted_constants(activation)
    exponents = fit_power(config.vocabularies, config.widths, tables["centred"])
    constant = float(tables["centred"][-1, -1]) * np.sqrt(config.widths[-1] / config.vocabularies[-1])
    out = {
        f"{activation}_exponent_v": exponents[0],
        f"{activation}_exponent_n": exponents[1],
        f"{activation}_constant": float(constant),
        f"{activation}_constant_ratio": float(constant / law.centred),
    }
    if law.bias > 0:
        for width, row in zip(config.widths, tables["whole"], strict=True):
            out[f"{activation}_whole_{width}"] = float(row[-1])
        # Per width, so that slow growth at small V does not tilt the fit: only the upper half of the vocabularies.
        half = len(config.vocabularies) // 2
        out[f"{activation}_whole_exponent_v"] = fit_power(
            config.vocabularies[half:], config.widths, tables["whole"][:, half:]
        )[0]
        out[f"{activation}_saturation_ratio"] = float(
            tables["bias"][-1, -1] * np.sqrt(config.widths[-1]) / law.saturation
        )
    return out


def chance(config: Config) -> dict[str, float]:
    """No overlap is measured; exponents are held against their prediction, ratios against 1."""
    return {}


EXPERIMENT = Experiment(
    name="token_kernel_error",
    title="The tangent kernel of V tokens is off by c sqrt(V / width); a bias term hides it",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), vocabularies=(60, 120, 240), widths=(64, 256)),
    seconds_per_seed=8.0,
    tolerances={"*": 2e-3},
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
        >>> result = run(Config(vocabularies=(30, 60, 120), widths=(32, 128), activations=("tanh",)), seeds=[0])
        >>> 0.35 < float(result.metrics["tanh_exponent_v"][0]) < 0.6
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
