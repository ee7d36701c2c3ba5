r"""Closed-form trace kernels of the modular-addition MLP: at analytic weights and at initialisation.

Both are sums of four indicators, :math:`[n=n'], [m=m'], [n+m=n'+m'], [n-m=n'-m']`, and of products of the first two.
So their eigenspaces are the four families, the constant and the rest, and each eigenvalue is one line.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.features.alignment import orthonormal_basis
from entk_tutorial.features.fourier import FAMILIES, check_modulus, fourier_features, residues

Scales = tuple[float, float]


@dataclass(frozen=True)
class Levels:
    """Eigenvalues of a kernel whose eigenspaces are the families.

    Attributes:
        constant: of the constant function.
        digits: of centred functions of n and of m, 2(p-1) of them.
        diagonals: of centred functions of n + m and of n - m, 2(p-1) of them.
        rest: of what is orthogonal to all these, (p-1)(p-3) of them.
    """

    constant: float
    digits: float
    diagonals: float
    rest: float

    def __add__(self, other: Levels) -> Levels:
        """Eigenvalues of the sum of two such kernels: they commute."""
        return Levels(
            self.constant + other.constant,
            self.digits + other.digits,
            self.diagonals + other.diagonals,
            self.rest + other.rest,
        )

    def spectrum(self, p: int) -> Tensor:
        """All p*p eigenvalues, descending: (p*p,) float64."""
        values = [self.constant] + (2 * (p - 1)) * [self.digits] + (2 * (p - 1)) * [self.diagonals]
        values += ((p - 1) * (p - 3)) * [self.rest]
        return torch.tensor(values, dtype=torch.float64).sort(descending=True).values


def _check(p: int, hidden: int, scales: Scales) -> None:
    check_modulus(p)
    if p < 5:
        raise ValueError(f"p={p}; from 5 on the four families leave a rest.")
    if hidden < 1 or not all(0 < s < math.inf for s in scales):
        raise ValueError(f"hidden={hidden}, scales={scales}: positive numbers are expected.")


def _same(p: int, family: str) -> Tensor:
    r = residues(p, family)
    return (r[:, None] == r[None]).double()


def analytic_kernel(p: int, hidden: int, scales: Scales = (1.0, 1.0)) -> dict[str, Tensor]:
    r"""Trace kernels, by layer, of the quadratic MLP at analytic weights with all phases.

    With :math:`s = x \cdot x' = [n=n'] + [m=m']`,

    .. math::
        K_1 = \frac{s_1^2 s_2^2}{4p(p-1)H} (p s^2 - 2 s), \quad
        K_2 = \frac{s_1^4}{2p(p-1)H} \Big( \frac{p-1}{2} - \frac58 + \frac{p}{16} s
            + \frac{p}{4} \big([n+m=n'+m'] + [n-m=n'-m']\big) \Big).

    Args:
        p: modulus, odd, at least 5.
        hidden: H.
        scales: (s_1, s_2), amplitudes of the waves in the two layers.

    Returns:
        dict: ``"fc1"`` and ``"fc2"``, each (p*p, p*p) float64. The phases' relation to the readout does not enter:
        a network that subtracts has the same kernels.

    Example:
        >>> from entk_tutorial.models.analytic import analytic_mlp
        >>> from entk_tutorial.data import modular_task
        >>> from entk_tutorial.empirical import empirical_ntk
        >>> model, x = analytic_mlp(5), modular_task(5, 0.5, 0).inputs.double()
        >>> measured = empirical_ntk(model, x, by="layer")
        >>> closed = analytic_kernel(5, model.hidden)
        >>> all(torch.allclose(measured[k], closed[k]) for k in closed)
        True

    Derived in book/microscope/controls; weights from [Gromov 2023].
    """
    _check(p, hidden, scales)
    first, second = (s * s for s in scales)
    s = _same(p, "n") + _same(p, "m")
    diagonals = _same(p, "sum") + _same(p, "diff")
    k1 = first * second / (4 * p * (p - 1) * hidden) * (p * s.square() - 2 * s)
    k2 = first * first / (2 * p * (p - 1) * hidden) * ((p - 1) / 2 - 5 / 8 + p / 16 * s + p / 4 * diagonals)
    return {"fc1": k1, "fc2": k2}


def analytic_levels(p: int, hidden: int, scales: Scales = (1.0, 1.0)) -> dict[str, Levels]:
    r"""Eigenvalues of :func:`analytic_kernel`: ``"fc1"``, ``"fc2"`` and ``"total"``.

    In units of :math:`s_1^2 / (4p(p-1)H)` the total has

    * digits: :math:`p^2 (s_2^2 + s_1^2/8)`; diagonals: :math:`2p\,s_2^2 + p^2 s_1^2/2`; rest: :math:`2p\,s_2^2`;
    * the constant: :math:`p(p-1)(2 s_2^2 + p\,s_1^2)`.

    Example:
        >>> levels = analytic_levels(29, 126)["total"]
        >>> round(levels.digits / levels.diagonals, 4), round(levels.diagonals / levels.rest, 4)
        (1.9773, 8.25)

    Derived in book/microscope/controls.
    """
    _check(p, hidden, scales)
    first, second = (s * s for s in scales)
    unit = first / (4 * p * (p - 1) * hidden)
    one = Levels(2 * p * (p - 1) * second, p * p * second, 2 * p * second, 2 * p * second)
    two = Levels(p * p * (p - 1) * first, p * p * first / 8, p * p * first / 2, 0.0)
    layers = {
        name: Levels(*(unit * v for v in (level.constant, level.digits, level.diagonals, level.rest)))
        for name, level in (("fc1", one), ("fc2", two))
    }
    return {**layers, "total": layers["fc1"] + layers["fc2"]}


def initial_levels(p: int, hidden: int, scales: Scales = (1.0, 1.0)) -> dict[str, Levels]:
    r"""Eigenvalues of the mean kernel of random weights, :math:`N(0, s_1^2)` and :math:`N(0, s_2^2)`, by layer.

    Digits over diagonals is (p+2)/2 in either layer, so in the total for any scales; diagonals and rest are equal.

    Example:
        >>> total = initial_levels(29, 512, (3.0, 1.0))["total"]
        >>> round(total.digits / total.diagonals, 9), total.diagonals == total.rest
        (15.5, True)

    Derived in book/microscope/modular-mlp and book/microscope/controls.
    """
    _check(p, hidden, scales)
    first, second = (s * s for s in scales)
    unit = first / (p * hidden)

    def level(a: float, b: float) -> Levels:  # of a + b s^2
        return Levels(unit * (a * p * p + b * (2 * p + 2)), unit * b * (p + 2), unit * 2 * b, unit * 2 * b)

    layers = {"fc1": level(0.0, second), "fc2": level(first, first / 2)}
    return {**layers, "total": layers["fc1"] + layers["fc2"]}


def flip_ratio(p: int) -> float:
    r"""The ratio s_1/s_2 at which digits and diagonals change places: :math:`\sqrt{8(p-2)/(3p)}`.

    Below it functions of single digits come first, above it functions of sum and difference.

    Example:
        >>> round(flip_ratio(29), 4)
        1.5757

    Derived in book/microscope/controls.
    """
    check_modulus(p)
    return math.sqrt(8 * (p - 2) / (3 * p))


def random_phase_loss(p: int, hidden: int, scales: Scales = (1.0, 1.0)) -> float:
    r"""Mean overlap that random phases take from the functions of the sum, to leading order in 1/H.

    With independent phases the kernel is its mean plus noise V, a sum over neurons. Second-order perturbation theory
    turns the diagonals' eigenspace by :math:`V_{ab}/(\lambda_a - \lambda_b)`, so the window loses

    .. math:: \sum_b \mathbb{E}\,\lVert P_b V P_{\rm sum}\rVert_F^2 / (\lambda_{\rm diagonals} - \lambda_b)^2,
        \qquad \mathbb{E}\,\lVert P_b V P_{\rm sum} \rVert_F^2 = H\,\lVert P_b\,k\,P_{\rm sum} \rVert_F^2

    with b the constant, the digits and the rest, and k the kernel of one neuron. Shifting a digit shifts a phase, and
    multiplying both digits changes the frequency; so k's phases and frequency do not matter for prime p from 11 on.

    Args:
        p: modulus, prime, at least 11.
        hidden: H.
        scales: (s_1, s_2); next to :func:`flip_ratio` the gap closes and the expansion fails.

    Returns:
        float: expected loss of the overlap with functions of the sum, of p - 1; the difference loses as much.

    Raises:
        ValueError: p too small or not prime, scales that are not positive.

    Example:
        >>> round(random_phase_loss(29, 1024) / random_phase_loss(29, 2048), 6)      # one over the width
        2.0

    Derived in book/microscope/controls.
    """
    _check(p, hidden, scales)
    if p < 11 or any(p % q == 0 for q in range(2, math.isqrt(p) + 1)):
        raise ValueError(f"p={p}; a prime from 11 on is expected, for which one neuron stands for all.")
    first, second = (s * s for s in scales)
    n, m = residues(p, "n").double(), residues(p, "m").double()
    z = ((2 * math.pi * n / p).cos() + (2 * math.pi * m / p).cos()) * math.sqrt(first / (2 * p))
    s = _same(p, "n") + _same(p, "m")
    one = (second * torch.outer(z, z) * s + p * torch.outer(z.square(), z.square())) / hidden**2
    features = fourier_features(p)
    bases = {"digits": orthonormal_basis(torch.cat([features["n"], features["m"]], 1))}
    bases["constant"] = torch.full((p * p, 1), 1 / p, dtype=torch.float64)
    families = orthonormal_basis(torch.cat([features[f] for f in FAMILIES], 1))
    moved = one @ orthonormal_basis(features["sum"])
    energy = {name: float((q.T @ moved).square().sum()) for name, q in bases.items()}
    inside = float((families.T @ moved).square().sum()) + energy["constant"]
    energy["rest"] = float(moved.square().sum()) - inside
    levels = analytic_levels(p, hidden, scales)["total"]
    gap = {name: levels.diagonals - getattr(levels, name) for name in energy}
    return hidden * sum(energy[name] / gap[name] ** 2 for name in energy)
