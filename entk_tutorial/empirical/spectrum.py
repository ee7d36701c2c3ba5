r"""What to read off a spectrum: cliffs, and effective rank."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Cliffs:
    """Ratios of successive eigenvalues.

    Attributes:
        ratios: (r - 1,) value_i / value_(i+1); ``ratio(i)`` counts i from 1.
        constant: the ratio at i = 1, usually the constant mode's, named apart because it is never a discovery.
        rank: r, the number of eigenvalues above the rank tolerance.
    """

    ratios: Tensor
    constant: float
    rank: int

    def ratio(self, i: int) -> float:
        """value_i / value_(i+1), counted from 1."""
        if not 1 <= i <= len(self.ratios):
            raise ValueError(f"i={i}; ratios 1 to {len(self.ratios)} exist (numerical rank {self.rank}).")
        return float(self.ratios[i - 1])

    def largest_other(self, excluded: Iterable[int], *, last: int | None = None) -> tuple[int, float]:
        """Index and value of the largest ratio among i = 2..last, without the ``excluded`` ones."""
        skip = set(excluded)
        stop = len(self.ratios) if last is None else min(last, len(self.ratios))
        rest = [i for i in range(2, stop + 1) if i not in skip]
        if not rest:
            raise ValueError("no ratio is left to choose from; exclude fewer or raise last.")
        best = max(rest, key=self.ratio)
        return best, self.ratio(best)


def cliffs(values: Tensor, *, rank_tolerance: float = 1e-10) -> Cliffs:
    r"""Ratios value_i / value_(i+1) of a descending spectrum, down to its numerical rank.

    Args:
        values: (r,) eigenvalues, descending.
        rank_tolerance: eigenvalues below this share of the largest are rounding, and form no cliff.

    Raises:
        ValueError: fewer than two eigenvalues above the tolerance, or an order that is not descending.

    Example:
        >>> import torch
        >>> c = cliffs(torch.tensor([100.0, 4.0, 4.0, 1.0, 0.0]))
        >>> c.constant, c.ratio(3), c.largest_other([]), c.rank
        (25.0, 4.0, (3, 4.0), 4)

    Chapter: book/microscope/modular-mlp.
    """
    if values.ndim != 1 or len(values) == 0 or bool(values.isnan().any()) or bool((values[1:] > values[:-1]).any()):
        raise ValueError("values must be one descending axis, as top_eigenpairs returns them.")
    rank = int((values > rank_tolerance * values[0]).sum())
    if rank < 2:
        raise ValueError(f"the spectrum has numerical rank {rank}; a ratio needs two eigenvalues above the tolerance.")
    ratios = values[: rank - 1] / values[1:rank]
    return Cliffs(ratios, float(ratios[0]), rank)


def effective_rank(values: Tensor) -> float:
    r"""Exponential of the entropy of the normalised spectrum: r equal eigenvalues give r.

    Args:
        values: (r,) eigenvalues; rounding below zero counts as zero, anything more is an error.

    Raises:
        ValueError: eigenvalues that are negative beyond rounding, or all zero.

    Example:
        >>> import torch
        >>> round(effective_rank(torch.ones(5)), 6)
        5.0
    """
    scale = float(values.abs().max()) if values.numel() else 0.0
    if not 0 < scale < float("inf") or float(values.min()) < -1e-6 * scale:
        raise ValueError("a positive semi-definite, finite, non-zero spectrum is expected.")
    share = values.clamp(min=0).double()
    share = share / share.sum()
    return float(torch.exp(torch.special.entr(share).sum()))
