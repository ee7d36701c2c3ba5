"""Checks of the chapter on modular addition."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.features import (
    concentration_chance,
    fourier_features,
    frequency_concentration,
    overlap_chance,
    residues,
    subspace_overlap,
)
from entk_tutorial.features.fourier import check_modulus


def check_chance(value: float, p: int = 29, d: int = 10) -> Answer:
    """Chance level of the overlap of the first ``d`` eigenvectors of window 2 with the functions of the sum.

    Example:
        >>> check_chance(10 * 28 / 841)
        Not yet. You let the random directions roam all of R^N. Window 2 is orthogonal to the constant and to all functions of n and of m, and so are the functions of the sum: take those dimensions out of N.
    """  # noqa: E501
    k, n = p - 1, p * p
    excluded = 2 * p - 1
    if close(value, overlap_chance(d, k, n, excluded=excluded), 1e-3):
        return Answer(True, "Both subspaces live in the same (p-1)^2 dimensions, so the chance level is d / (p-1).")
    if close(value, overlap_chance(d, k, n), 1e-3) or close(value, overlap_chance(d, k, n, excluded=1), 1e-3):
        return Answer(
            False,
            "You let the random directions roam all of R^N. Window 2 is orthogonal to the constant and to all "
            "functions of n and of m, and so are the functions of the sum: take those dimensions out of N.",
        )
    if close(value, 2.0, 1e-3):
        return Answer(False, f"That is the chance level of the whole window, 2(p-1) directions. Here there are {d}.")
    if close(value, d / n, 1e-3) or close(value, d / (n - excluded), 1e-3):
        return Answer(False, f"That is for one feature; the functions of the sum span p - 1 = {k} dimensions.")
    return Answer(False, "Think of d k / (dimensions that both can live in), and count the three numbers.")


def check_cubic(ratio: float, p: int = 29) -> Answer:
    """Eigenvalue ratio at index 2p-1 of the matrix s^3, where s = x.x' counts equal digits.

    Example:
        >>> bool(check_cubic(35 / 6))
        True
    """
    check_modulus(p)
    if close(ratio, (p + 6) / 6, 1e-3):
        return Answer(True, "s^3 = [n=n'] + [m=m'] + 6 [n=n'][m=m']: p + 6 on functions of n and of m, 6 on the rest.")
    if close(ratio, (p + 2) / 2, 1e-3):
        return Answer(False, "That is the ratio of s^2. When both digits agree s = 2, so s^3 = 8 = 1 + 1 + 6.")
    if close(ratio, (p + 3) / 3, 1e-3):
        return Answer(
            False,
            "You counted 3 products of the two indicators. (u + v)^3 has 3 u^2 v and 3 u v^2, and the square of an "
            "indicator is itself: 6.",
        )
    if close(ratio, p / 6, 1e-3):
        return Answer(False, "The identity, with weight 6, acts on functions of n as well: add it to p.")
    return Answer(
        False,
        "Write s = [n=n'] + [m=m'], expand s^3, and let each term act on a function of n alone, then on a function "
        "with zero sums along both digits.",
    )


def check_not_fourier(u: Tensor, p: int = 29) -> Answer:
    """Directions with full overlap with the functions of the sum and no Fourier mode among them.

    Example:
        >>> check_not_fourier(fourier_features(29)["sum"])
        Not yet. The overlap is full, but each direction is a Fourier mode itself: the median concentration is 1.00. Mix them.
    """  # noqa: E501
    full, chance = p - 1, concentration_chance((p - 1) // 2)
    if u.ndim != 2 or u.shape != (p * p, full):
        return Answer(False, f"u has shape {tuple(u.shape)}; {full} directions over {p * p} pairs are asked for.")
    overlap = subspace_overlap(u, fourier_features(p)["sum"]).value
    if overlap < full - 0.01:
        hint = " Did you mix them with other functions?" if overlap > 0.5 * full else ""
        return Answer(False, f"The overlap with functions of the sum is {overlap:.2f} of {full}, not full.{hint}")
    concentration = float(frequency_concentration(u, p).median())
    if concentration > 0.9:
        return Answer(
            False,
            "The overlap is full, but each direction is a Fourier mode itself: the median concentration is "
            f"{concentration:.2f}. Mix them.",
        )
    if concentration > 1.5 * chance:
        return Answer(
            False,
            f"Median concentration {concentration:.2f}; a random mixture has about {chance:.2f}. Mix more of them.",
        )
    return Answer(
        True,
        f"Overlap {overlap:.2f} of {full}, concentration {concentration:.2f}: 'function of the sum', and no Fourier.",
    )


def check_indicator(value: float, p: int = 29) -> Answer:
    """Frequency concentration of the centred indicator of one sum, [n + m = s] - 1/p.

    Example:
        >>> bool(check_indicator(1 / 14))
        True
    """
    table = (residues(p, "sum") == 0).double() - 1 / p
    exact = float(frequency_concentration(table[:, None], p))
    if close(value, exact, 1e-3):
        return Answer(
            True, "A spike holds all (p-1)/2 frequencies in equal shares: as un-Fourier as a direction can be."
        )
    if close(value, 1.0, 1e-3):
        return Answer(False, "1 would be a single wave. A spike is the sum of all waves: what is the share of each?")
    if close(value, 1 / (p - 1), 1e-3):
        return Answer(False, "Cosine and sine of one frequency share a plane: count frequencies, not columns.")
    return Answer(False, "Write the spike as a sum of cosines of all frequencies and compare their squared lengths.")


def _cubic_ratio() -> float:
    s = fourier_inputs(7)
    values = torch.linalg.eigvalsh((s @ s.T) ** 3).flip(0)
    # From a small modulus to p = 29: the ratio is 1 + p / weight, and the weight does not depend on p.
    weight = 7 / (float(values[12] / values[13]) - 1)
    return 1 + 29 / weight


def fourier_inputs(p: int) -> Tensor:
    """Two one-hot vectors side by side for every pair: (p*p, 2p) float64."""
    eye = torch.eye(p, dtype=torch.float64)
    return torch.cat([eye[residues(p, "n")], eye[residues(p, "m")]], 1)


def _random_mixture() -> Tensor:
    f = fourier_features(29)["sum"]
    g = torch.Generator().manual_seed(0)
    return f @ torch.linalg.qr(torch.randn(28, 28, generator=g, dtype=torch.float64))[0]


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_chance": lambda: overlap_chance(10, 28, 841, excluded=57),
    "check_cubic": _cubic_ratio,
    "check_not_fourier": _random_mixture,
    "check_indicator": lambda: float(
        frequency_concentration(((residues(29, "sum") == 0).double() - 1 / 29)[:, None], 29)
    ),
}
"""Check -> a function that computes the right answer with the package."""
