r"""Waves: how much of a direction lies in one frequency, whatever the family, or along a given family's own cycle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entk_tutorial.features.alignment import orthonormal_basis
from entk_tutorial.features.families import check_beyond_digits, check_prime, family_labels, without_digits
from entk_tutorial.features.fourier import check_modulus, modular_pairs


def wave_concentration(u: Tensor, p: int, *, order: Tensor | None = None) -> Tensor:
    r"""Largest share of each column's energy in one plane wave :math:`\cos, \sin\, 2\pi(an + bm)/p`, any (a, b).

    All :math:`(p^2-1)/2` planes compete, so no family is favoured; a random direction has
    ``concentration_chance((p * p - 1) // 2)``. Contrast :func:`frequency_concentration`, which knows four families.

    Args:
        u: (p*p, d) directions, none constant.
        p: modulus, odd.
        order: (p,) permutation; both digits are renamed by it first. None is the natural order.

    Returns:
        Tensor (d,) in [0, 1].

    Raises:
        ValueError: rows other than p*p, a constant column, an order that is no permutation.

    Example:
        >>> n, m = modular_pairs(5).T
        >>> wave = torch.cos(2 * torch.pi * (2 * n + m) / 5).double()[:, None]
        >>> wave_concentration(wave, 5).round(decimals=6).tolist()
        [1.0]

    Chapter: book/microscope/controls.
    """
    check_modulus(p)
    if u.ndim != 2 or u.shape[0] != p * p:
        raise ValueError(f"u has shape {tuple(u.shape)}; ({p * p}, d) is expected: one row for each pair modulo {p}.")
    table = u.double().T.reshape(-1, p, p)
    if order is not None:
        if order.shape != (p,) or not torch.equal(order.sort().values, torch.arange(p)):
            raise ValueError(f"order must be a permutation of 0..{p - 1}.")
        table = table[:, order][:, :, order]
    power = torch.fft.fft2(table).abs().square()
    power[:, 0, 0] = 0
    total = power.sum((1, 2))
    if bool((total <= 1e-20 * p * p * table.square().sum((1, 2))).any()):
        raise ValueError("a column is constant; it has no wave.")
    # A real wave has its energy at (a, b) and (-a, -b) in equal halves.
    return 2 * power.flatten(1).amax(1) / total


def discrete_logarithm(p: int) -> Tensor:
    """Exponent of every residue to the smallest primitive root, and -1 for 0: (p,) int64.

    Example:
        >>> discrete_logarithm(5).tolist()      # powers of 2: 1, 2, 4, 3
        [-1, 0, 1, 3, 2]
    """
    check_prime(p)
    for root in range(2, p):
        powers = [pow(root, e, p) for e in range(p - 1)]
        if len(set(powers)) == p - 1:
            break
    table = torch.full((p,), -1)
    table[torch.tensor(powers)] = torch.arange(p - 1)
    return table


def family_waves(p: int, family: str) -> Tensor:
    r"""Waves along a family's cycle, without functions of single digits: (K, p*p, 2), each plane orthonormal.

    The cycle is the residue of the label, 0 to p-1; for n*m and n/m it is the discrete logarithm, of length p-1, and
    pairs with a zero are left out. K is the number of frequencies with a cosine and a sine of their own.

    Args:
        p: modulus, an odd prime from 5 on.
        family: one of ``families.CANDIDATES``.
    """
    labels = family_labels(p, family)
    if family in ("n*m", "n/m"):
        n, m = modular_pairs(p).T
        inside = (n > 0) & (m > 0)
        length, place = p - 1, discrete_logarithm(p)[labels.clamp(max=p - 1)]
    else:
        inside, length, place = torch.ones(p * p, dtype=torch.bool), p, labels
    planes = []
    for k in range(1, (length - 1) // 2 + 1):
        angle = 2 * math.pi * ((k * place) % length).double() / length
        wave = torch.stack([angle.cos(), angle.sin()], 1) * inside[:, None]
        planes.append(orthonormal_basis(without_digits(wave, p), center=False))
    return torch.stack(planes)


def family_concentration(u: Tensor, p: int, family: str) -> float:
    r"""Mean over the directions of their largest share of energy in one frequency of one family.

    A random direction without functions of digits has about :math:`\frac{2}{(p-1)^2} \cdot (1 + \frac12 + \dots)`, far
    below a tenth; a mixture of all of the family's waves has about a quarter.

    Args:
        u: (p*p, d) directions without functions of single digits.
        p: modulus, an odd prime from 5 on.
        family: one of ``families.CANDIDATES``.

    Example:
        >>> waves = family_waves(7, "n*m").transpose(0, 1).flatten(1)
        >>> round(family_concentration(waves, 7, "n*m"), 6)
        1.0

    Chapter: book/microscope/controls.
    """
    check_beyond_digits(u, p)
    shares = torch.einsum("knc,nd->kcd", family_waves(p, family), u.double()).square().sum(1) / u.double().square().sum(
        0
    )
    return float(shares.amax(0).mean())
