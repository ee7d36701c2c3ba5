r"""Ground truth of modular addition: functions of n, of m, of n + m and of n - m, frequency by frequency."""

from __future__ import annotations

import math
from operator import index

import torch
from torch import Tensor

FAMILIES = ("n", "m", "sum", "diff")
"""Four families whose centred spans are mutually orthogonal."""


def check_modulus(p: int) -> None:
    """Refuse a modulus for which the families do not exist.

    Raises:
        ValueError: p below 3, even, or no integer.
    """
    try:
        index(p)
    except TypeError as error:
        raise ValueError(f"p={p!r} is a {type(p).__name__}; an integer modulus is expected.") from error
    if p < 3:
        raise ValueError(f"p={p}; modular addition needs a modulus of at least 3.")
    if p % 2 == 0:
        raise ValueError(
            f"p={p} is even: frequency p/2 has no sine, and n + m, n - m share their parity, so the families overlap. "
            "Take an odd modulus (the papers use primes)."
        )


def modular_pairs(p: int) -> Tensor:
    """All pairs (n, m) of residues, first digit slowest: (p*p, 2) int64.

    Example:
        >>> modular_pairs(3)[:4].tolist()
        [[0, 0], [0, 1], [0, 2], [1, 0]]

    Chapter: book/microscope/modular-mlp.
    """
    if p < 1:
        raise ValueError(f"p={p}; a positive modulus is expected.")
    r = torch.arange(p)
    return torch.cartesian_prod(r, r)


def residues(p: int, family: str) -> Tensor:
    """The residue that a family is a function of, for every pair: (p*p,) int64 in [0, p).

    Args:
        p: modulus, odd, at least 3.
        family: ``"n"``, ``"m"``, ``"sum"`` (n + m) or ``"diff"`` (n - m).

    Example:
        >>> residues(3, "sum").tolist()
        [0, 1, 2, 1, 2, 0, 2, 0, 1]
    """
    check_modulus(p)
    n, m = modular_pairs(p).T
    table = {"n": n, "m": m, "sum": (n + m) % p, "diff": (n - m) % p}
    if family not in table:
        raise ValueError(f"family={family!r} is unknown; expected one of {', '.join(table)}.")
    return table[family]


def _waves(values: Tensor, p: int, step: int = 1) -> Tensor:
    """Cos and sin of 2 pi k values / p, k = 1..(p-1)/2, interleaved: (N, p - 1)."""
    k = torch.arange(1, (p - 1) // 2 + 1)
    # Reduce modulo p in integers first: the angle is then exact to rounding for any p.
    angle = 2 * math.pi * ((values[:, None] * k[None] * step) % p).double() / p
    return torch.stack([angle.cos(), angle.sin()], 2).flatten(1)


def fourier_features(p: int) -> dict[str, Tensor]:
    r"""Ground-truth features of addition modulo p.

    Column 2(k-1) is the cosine and column 2(k-1)+1 the sine of frequency k = 1..(p-1)/2.

    Args:
        p: modulus, odd, at least 3.

    Returns:
        dict: family -> (p*p, p-1) float64, rows in the order of :func:`modular_pairs`, columns not normalised.

        * ``"n"``, ``"m"``: :math:`\cos(2\pi k n/p)`, :math:`\sin(2\pi k n/p)`, and of m;
        * ``"sum"``, ``"diff"``: of n + m and n - m;
        * ``"axis_sum"``: :math:`\cos kn + \cos km`, :math:`\sin kn + \sin km`; ``"axis_diff"`` with a minus;
        * ``"2n"``, ``"2m"``: of 2n and 2m (the same spans as n and m, in another order of frequencies).

    Raises:
        ValueError: if p is even or below 3.

    Example:
        >>> f = fourier_features(5)
        >>> f["sum"].shape
        torch.Size([25, 4])
        >>> bool((f["sum"].T @ f["diff"]).abs().max() < 1e-12)      # the families are orthogonal
        True

    Source: [Lin 2025]. Chapter: book/microscope/modular-mlp.
    """
    check_modulus(p)
    waves = {family: _waves(residues(p, family), p) for family in FAMILIES}
    n, m = residues(p, "n"), residues(p, "m")
    waves["axis_sum"] = waves["n"] + waves["m"]
    waves["axis_diff"] = waves["n"] - waves["m"]
    waves["2n"] = _waves(n, p, 2)
    waves["2m"] = _waves(m, p, 2)
    return waves


def place_of_digit(p: int, order: Tensor | None) -> Tensor:
    """Place of each residue on the cycle, (p,): the inverse of ``order``, where digit ``order[i]`` takes place i.

    Raises:
        ValueError: if ``order`` is not a permutation of 0..p-1.
    """
    if order is None:
        return torch.arange(p)
    if order.shape != (p,) or not torch.equal(order.cpu().sort().values, torch.arange(p)):
        raise ValueError(f"order must be a permutation of 0..{p - 1}.")
    return torch.argsort(order.cpu())


def fourier_planes(p: int, families: tuple[str, ...] = FAMILIES, *, order: Tensor | None = None) -> Tensor:
    """Orthonormal (cos, sin) planes: (F, K, p*p, 2) for F families and K = (p-1)/2 frequencies.

    With ``order`` the waves run over the residues in that order (see :func:`place_of_digit`).
    """
    place = place_of_digit(p, order)
    waves = [_waves(place[residues(p, f)], p).reshape(p * p, -1, 2).transpose(0, 1) for f in families]
    return torch.stack(waves) * (math.sqrt(2) / p)


def plane_energy(u: Tensor, p: int, families: tuple[str, ...] = FAMILIES, *, order: Tensor | None = None) -> Tensor:
    r"""Share of each column's energy in each (cos, sin) plane.

    Args:
        u: (p*p, d) directions over the pairs, none of them zero.
        p: modulus.
        families: which families, in order.
        order: (p,) permutation of the residues along the cycle; None is the natural order.

    Returns:
        Tensor (F, K, d) in [0, 1]; over the four default families the shares of a column add up to at most 1.

    Raises:
        ValueError: rows other than p*p, or a zero column.

    Example:
        >>> n = fourier_features(5)["n"]
        >>> plane_energy(n[:, :1], 5)[0, :, 0].round(decimals=6).tolist()      # all in frequency 1 of n
        [1.0, 0.0]
    """
    check_modulus(p)
    if u.ndim != 2 or u.shape[0] != p * p:
        raise ValueError(f"u has shape {tuple(u.shape)}; ({p * p}, d) is expected: one row for each pair modulo {p}.")
    u = u.double()
    energy = u.pow(2).sum(0)
    if not bool(torch.isfinite(energy).all()):
        raise ValueError("u holds a NaN or an infinity; its energy has no shares.")
    if bool((energy == 0).any()):
        raise ValueError("u has a zero column; it has no direction and no frequency.")
    return torch.einsum("fknc,nd->fkcd", fourier_planes(p, families, order=order), u).pow(2).sum(2) / energy


def frequency_concentration(u: Tensor, p: int) -> Tensor:
    r"""Largest share of each column's energy in one (family, frequency).

    .. math:: c(u) = \max_{f, k} \lVert P_{f,k}\, u \rVert^2 / \lVert u \rVert^2

    with :math:`P_{f,k}` the projector on the (cos, sin) plane of frequency k in family f (n, m, sum, diff). It is 1
    for a Fourier mode, and :func:`concentration_chance` for a random mixture of planes. An overlap says "function of
    n + m"; this says "Fourier".

    Args:
        u: (p*p, d) directions over the pairs.
        p: modulus, odd.

    Returns:
        Tensor (d,), float64, in [0, 1].

    Example:
        >>> f = fourier_features(5)["sum"]
        >>> frequency_concentration(f[:, :1], 5).round(decimals=6).tolist()
        [1.0]

    Chapter: book/microscope/modular-mlp.
    """
    return plane_energy(u, p).flatten(0, 1).amax(0)


def concentration_chance(n_planes: int) -> float:
    r"""Mean concentration of a random direction in the span of ``n_planes`` orthogonal planes.

    The shares are those of independent exponentials, whose largest of F is H_F / F on average, with the harmonic
    number :math:`H_F = \sum_{j \le F} 1/j`.

    Example:
        >>> round(concentration_chance(28), 3)
        0.14
    """
    if n_planes < 1:
        raise ValueError(f"n_planes={n_planes}; at least one plane is expected.")
    return sum(1 / j for j in range(1, n_planes + 1)) / n_planes


def weight_frequencies(weights: Tensor, p: int) -> Tensor:
    r"""Share of each neuron's weights in each frequency, as functions of one residue.

    Args:
        weights: (H, p) weights of H neurons for the p values of a digit; their mean over the digit is left out.
        p: modulus.

    Returns:
        Tensor (H, (p-1)/2), float64, rows adding up to 1.

    Raises:
        ValueError: another number of columns, or a neuron whose weights do not vary.

    Example:
        >>> wave = torch.cos(2 * torch.pi * 2 * torch.arange(5) / 5)
        >>> weight_frequencies(wave[None], 5).round(decimals=6).tolist()
        [[0.0, 1.0]]

    Chapter: book/microscope/modular-mlp.
    """
    check_modulus(p)
    if weights.ndim != 2 or weights.shape[1] != p:
        raise ValueError(f"weights have shape {tuple(weights.shape)}; (H, {p}) is expected, one column a residue.")
    power = torch.fft.rfft(weights.double(), dim=1)[:, 1:].abs().square()
    total = power.sum(1, keepdim=True)
    if bool((total <= 1e-20 * p * weights.double().square().sum(1, keepdim=True)).any()):  # rounding of a constant
        raise ValueError("a neuron's weights do not vary with the digit; it has no frequency.")
    return power / total
