r"""Candidate families of functions of two residues, and a fixed rule that names one from eigenvectors alone.

A family is a label for every pair (n, m): its functions are constant where the label is. What it shares with functions
of single digits is taken out, since every kernel here holds those anyway (they are the geometry of the inputs).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from entk_tutorial.features.alignment import orthonormal_basis, overlap_chance, subspace_overlap
from entk_tutorial.features.fourier import check_modulus, modular_pairs

NONE = "none"
"""The answer that no candidate fits."""

_Label = Callable[[Tensor, Tensor, int], Tensor]


def _ratio(n: Tensor, m: Tensor, p: int) -> Tensor:
    """n/m modulo p; n/0 and 0/0 are labels of their own."""
    inverse = torch.tensor([0] + [pow(i, -1, p) for i in range(1, p)])
    return torch.where(m > 0, n * inverse[m] % p, torch.where(n > 0, p, p + 1))


_LABELS: dict[str, _Label] = {
    "n+m": lambda n, m, p: (n + m) % p,
    "n-m": lambda n, m, p: (n - m) % p,
    "n*m": lambda n, m, p: n * m % p,
    "n/m": _ratio,
    "n^2+m^2": lambda n, m, p: (n * n + m * m) % p,
    "n^2-m^2": lambda n, m, p: (n * n - m * m) % p,
    "2n+m": lambda n, m, p: (2 * n + m) % p,
    "2n-m": lambda n, m, p: (2 * n - m) % p,
    "n+2m": lambda n, m, p: (n + 2 * m) % p,
    "n-2m": lambda n, m, p: (n - 2 * m) % p,
    "n^2+m": lambda n, m, p: (n * n + m) % p,
    "n+m^2": lambda n, m, p: (n + m * m) % p,
}
CANDIDATES = tuple(_LABELS)
"""Names the rule may give, besides "none". Only four belong to tasks of the chapter's experiment, four more are their
partners, four are decoys."""
PARTNERS = {"n+m": "n-m", "n*m": "n/m", "n^2+m^2": "n^2-m^2", "2n+m": "2n-m", "n+2m": "n-2m"}
PARTNERS |= {b: a for a, b in PARTNERS.items()}
"""The family that a square makes beside the one that is asked for: a(n) - b(m) beside a(n) + b(m)."""


def check_prime(p: int) -> None:
    """Refuse a modulus without inverses.

    Raises:
        ValueError: p is not an odd prime.
    """
    check_modulus(p)
    if any(p % q == 0 for q in range(2, math.isqrt(p) + 1)):
        raise ValueError(f"p={p} is not prime: not every residue has an inverse, and n/m is not defined.")


def family_labels(p: int, family: str) -> Tensor:
    """The label of every pair: (p*p,) int64.

    Args:
        p: modulus, an odd prime.
        family: one of ``CANDIDATES``.

    Example:
        >>> family_labels(3, "n*m").tolist()
        [0, 0, 0, 0, 1, 2, 0, 2, 1]
    """
    check_prime(p)
    if family not in _LABELS:
        raise ValueError(f"family={family!r} is unknown; expected one of {', '.join(CANDIDATES)}.")
    n, m = modular_pairs(p).T
    return _LABELS[family](n, m, p)


def without_digits(f: Tensor, p: int) -> Tensor:
    """The part of each column that is orthogonal to every function of n alone and of m alone: zero sums along both.

    Args:
        f: (p*p, k), rows in the order of :func:`modular_pairs`.
        p: modulus.

    Example:
        >>> without_digits(torch.tensor([[0.0], [1.0], [1.0], [0.0]]), 2).flatten().tolist()
        [-0.5, 0.5, 0.5, -0.5]
    """
    if f.ndim != 2 or f.shape[0] != p * p:
        raise ValueError(f"f has shape {tuple(f.shape)}; ({p * p}, k) is expected: one row for each pair modulo {p}.")
    t = f.double().reshape(p, p, -1)
    return (t - t.mean(0, keepdim=True) - t.mean(1, keepdim=True) + t.mean((0, 1), keepdim=True)).flatten(0, 1)


def family_basis(p: int, labels: str | Tensor) -> Tensor:
    """Orthonormal basis of the functions of a label, without what is a function of single digits: (p*p, r).

    Args:
        p: modulus.
        labels: name of a candidate, or (p*p,) integers, one label a pair.

    Raises:
        ValueError: labels of another shape, or a label of which every function is one of n plus one of m.

    Example:
        >>> family_basis(5, "n+m").shape, family_basis(5, "n*m").shape
        (torch.Size([25, 4]), torch.Size([25, 4]))
    """
    table = family_labels(p, labels) if isinstance(labels, str) else labels
    if table.shape != (p * p,):
        raise ValueError(f"labels have shape {tuple(table.shape)}; one integer for each of the {p * p} pairs.")
    _, index = torch.unique(table, return_inverse=True)
    rest = without_digits(one_hot(index), p)
    if float(rest.abs().max()) < 1e-12:
        raise ValueError("all functions of this label are sums of a function of n and one of m; nothing is left.")
    return orthonormal_basis(rest, center=False)


def beyond_digits(kernel: Tensor, p: int, d: int) -> Tensor:
    """The d leading eigenvectors of a kernel among the functions with zero sums along both digits: (p*p, d).

    Raises:
        ValueError: a kernel that is not (p*p, p*p), or d larger than (p-1)^2.
    """
    if kernel.shape != (p * p, p * p) or not 1 <= d <= (p - 1) ** 2:
        raise ValueError(f"kernel {tuple(kernel.shape)}, d={d}: ({p * p}, {p * p}) and at most {(p - 1) ** 2} needed.")
    half = without_digits(kernel, p)
    vectors = torch.linalg.eigh(without_digits(half.T, p))[1]
    return vectors.flip(1)[:, :d]


def check_beyond_digits(u: Tensor, p: int) -> None:
    """Refuse directions that hold functions of single digits, which would count for several families at once.

    Raises:
        ValueError: with the share of energy found, and the cure.
    """
    share = float((u.double() - without_digits(u, p)).square().sum() / u.double().square().sum())
    if not share < 1e-6:
        raise ValueError(
            f"{share:.1%} of the energy is in functions of single digits; take eigenvectors from beyond_digits, "
            "or remove that part with without_digits."
        )


def family_scores(u: Tensor, p: int, families: Sequence[str] = CANDIDATES) -> dict[str, float]:
    r"""How much of each family the directions hold, from 0 (chance) to 1 (all that fits): by overlap.

    .. math:: \frac{\text{overlap} - \text{chance}}{\text{largest possible} - \text{chance}}, \qquad
        \text{chance} = \frac{d\,r}{(p-1)^2}

    Args:
        u: (p*p, d) directions without functions of single digits, linearly independent.
        p: modulus, an odd prime.
        families: candidates.

    Example:
        >>> scores = family_scores(family_basis(7, "n*m"), 7)
        >>> max(scores, key=scores.get), round(scores["n*m"], 6)
        ('n*m', 1.0)

    Chapter: book/microscope/controls.
    """
    check_beyond_digits(u, p)
    out = {}
    for family in families:
        basis = family_basis(p, family)
        overlap = subspace_overlap(u, basis, center=False)
        chance = overlap_chance(u.shape[1], basis.shape[1], (p - 1) ** 2)
        out[family] = (overlap.value - chance) / (overlap.max - chance)
    return out


@dataclass(frozen=True)
class Naming:
    """The rule's answer.

    Attributes:
        name: the family with the largest score, or "none" if that is below the threshold.
        scores: of every candidate.
        margin: largest score less the second largest.
    """

    name: str
    scores: dict[str, float]
    margin: float


def name_family(scores: Mapping[str, float], threshold: float = 0.5) -> Naming:
    """The candidate with the largest score, or "none" below the threshold.

    Example:
        >>> name_family({"n+m": 0.9, "n-m": 0.8}).name, name_family({"n+m": 0.2, "n-m": 0.1}).name
        ('n+m', 'none')

    Chapter: book/microscope/controls.
    """
    if len(scores) < 2:
        raise ValueError(f"{len(scores)} candidates; at least two are expected, or there is nothing to choose.")
    first, second = sorted(scores, key=lambda f: -scores[f])[:2]
    name = first if scores[first] >= threshold else NONE
    return Naming(name, dict(scores), scores[first] - scores[second])
