r"""Rotations that separate a degenerate eigenspace, by the Laplacian of a graph on the inputs.

Inside a degenerate eigenspace any rotation of the eigenvectors is as good as another. The rotation here asks a second
matrix to choose: the Laplacian of a cycle through the residues, whose eigenvectors are Fourier modes. That matrix
knows the answer beforehand. So a rotated picture is shown beside the same rotation of an untrained network, of the
bare input Gram, and with the digits in a nonsense order, or it shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.features.alignment import orthonormal_basis
from entk_tutorial.features.fourier import FAMILIES, check_modulus, place_of_digit, plane_energy, residues

PAIRS = {"axes": ("n", "m"), "diagonals": ("sum", "diff")}
"""Families that one window separates into."""


def cycle_laplacian(p: int, family: str, *, order: Tensor | None = None) -> Tensor:
    r"""Laplacian of the graph that steps one residue of ``family`` and keeps its partner.

    For ``"n"`` the neighbours of (n, m) are (n ± 1, m). For ``"sum"`` they are the pairs with the same n - m and the
    sum one more or one less. A function of the family with frequency k has eigenvalue :math:`2 - 2\cos(2\pi k/p)`; a
    function of the partner has eigenvalue 0.

    Args:
        p: modulus, odd.
        family: ``"n"``, ``"m"``, ``"sum"`` or ``"diff"``.
        order: (p,) permutation; residue ``order[i]`` takes place i of the cycle. None is the natural order.

    Returns:
        Tensor (p*p, p*p) float64.

    Example:
        >>> import torch
        >>> from entk_tutorial.features import fourier_features
        >>> f = fourier_features(5)["sum"][:, :1]
        >>> eigenvalue = 2 - 2 * torch.cos(torch.tensor(2 * torch.pi / 5, dtype=torch.float64))
        >>> bool(torch.allclose(cycle_laplacian(5, "sum") @ f, eigenvalue * f))
        True

    Chapter: book/microscope/modular-mlp.
    """
    check_modulus(p)
    partner = {"n": "m", "m": "n", "sum": "diff", "diff": "sum"}
    if family not in partner:
        raise ValueError(f"family={family!r} is unknown; expected one of {', '.join(FAMILIES)}.")
    place = place_of_digit(p, order)
    digit = torch.argsort(place)
    own, kept = residues(p, family), residues(p, partner[family])
    row_of = torch.empty(p, p, dtype=torch.long)  # for odd p a pair of residues (own, kept) names one row
    row_of[own, kept] = torch.arange(p * p)
    lap = 2 * torch.eye(p * p, dtype=torch.float64)
    for sign in (1, -1):
        there = row_of[digit[(place[own] + sign) % p], kept]
        lap[torch.arange(p * p), there] -= 1.0
    return lap


@dataclass(frozen=True)
class Rotation:
    """A window in a new basis, and how close each new direction is to a Fourier atom.

    Attributes:
        vectors: (N, d) orthonormal basis of the same span.
        atom_scores: (d,) largest norm of the projection on one (cos, sin) plane of one of the two families, in [0, 1].
        family: (d,) index of that family in the pair.
        frequency: (d,) its frequency, from 1.
    """

    vectors: Tensor
    atom_scores: Tensor
    family: Tensor
    frequency: Tensor

    def recovered(self, threshold: float = 0.9) -> int:
        """How many directions are Fourier atoms: score at least ``threshold``, at most two a (family, frequency)."""
        seen: dict[tuple[int, int], int] = {}
        for score, f, k in zip(self.atom_scores.tolist(), self.family.tolist(), self.frequency.tolist(), strict=True):
            if score >= threshold:
                seen[f, k] = min(2, seen.get((f, k), 0) + 1)
        return sum(seen.values())


def rotate(
    u: Tensor, p: int, pair: str = "axes", *, method: str = "two-stage", order: Tensor | None = None
) -> Rotation:
    r"""Rotate a window of directions so that the two families of ``pair``, and their frequencies, come apart.

    With the Laplacians :math:`L_a, L_b` of the two families projected into the window, ``"two-stage"`` splits the
    window at the median eigenvalue of :math:`L_a` (functions of b have eigenvalue 0) and diagonalises :math:`L_b` in
    the low half and :math:`L_a` in the high half; ``"one-shot"`` diagonalises :math:`L_a - L_b` once.

    Args:
        u: (p*p, d) window, e.g. eigenvectors 2 to 2p-1 of a kernel; need not be orthonormal.
        p: modulus, odd.
        pair: ``"axes"`` (n, m) or ``"diagonals"`` (sum, diff).
        method: ``"two-stage"`` or ``"one-shot"``.
        order: nonsense order of the residues for the control; the atoms are then those of the reordered residues.

    Returns:
        Rotation: the Laplacian brings the Fourier basis along, so quote the controls beside its scores.

    Raises:
        ValueError: unknown pair or method, rows other than p*p, columns that depend on each other.

    Source: [Lin 2025], v3. Chapter: book/microscope/modular-mlp.
    """
    if pair not in PAIRS:
        raise ValueError(f"pair={pair!r} is unknown; expected one of {', '.join(PAIRS)}.")
    if method not in ("two-stage", "one-shot"):
        raise ValueError(f"method={method!r} is unknown; expected 'two-stage' or 'one-shot'.")
    if u.ndim != 2 or u.shape[0] != p * p:
        raise ValueError(f"u has shape {tuple(u.shape)}; ({p * p}, d) is expected: one row for each pair modulo {p}.")
    first, second = PAIRS[pair]
    q = orthonormal_basis(u, center=False)
    if q.shape[1] != u.shape[1]:
        raise ValueError(f"the {u.shape[1]} columns of u span {q.shape[1]} dimensions only; drop the dependent ones.")
    lap_a, lap_b = (cycle_laplacian(p, f, order=order) for f in (first, second))
    a, b = q.T @ lap_a @ q, q.T @ lap_b @ q
    if method == "one-shot":
        vectors = q @ torch.linalg.eigh(a - b)[1]
    else:
        basis = torch.linalg.eigh(a)[1]
        half = u.shape[1] // 2
        low, high = basis[:, :half], basis[:, half:]
        low = low @ torch.linalg.eigh(low.T @ b @ low)[1]
        high = high @ torch.linalg.eigh(high.T @ a @ high)[1]
        vectors = q @ torch.cat([low, high], 1)
    return Rotation(vectors, *_atoms(vectors, p, (first, second), order))


def _atoms(vectors: Tensor, p: int, families: tuple[str, str], order: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    energy = plane_energy(vectors, p, families, order=order)  # (2, K, d)
    best, index = energy.flatten(0, 1).max(0)
    return best.sqrt(), index // energy.shape[1], index % energy.shape[1] + 1
