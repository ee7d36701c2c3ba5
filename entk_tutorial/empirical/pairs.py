r"""What a search for eigenpairs returns, and what all ways of searching share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

PANEL_BYTES = 1 << 25
"""Memory of one float64 panel: longer sums are taken panel by panel, so that no float64 copy of a basis exists."""


@dataclass(frozen=True)
class Eigenpairs:
    """Leading eigenpairs of a symmetric kernel.

    Attributes:
        values: (k,) float64, descending.
        vectors: (N, k) float64, orthonormal columns; the largest entry of each is positive. Inside a degenerate group
            they are defined only up to a rotation: compare projectors, never vectors.
        residuals: (k,) norms of K v - value * v. An eigenvalue of the kernel lies within that distance of the value.
        method: how they were found.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    method: str


@dataclass(frozen=True)
class GramEigenpairs(Eigenpairs):
    """Eigenpairs of a kernel by way of the Gram matrix of its parameters, with the whole non-zero spectrum.

    Attributes:
        spectrum: (r,) float64, all eigenvalues above the numerical rank tolerance, descending; ``values`` are its
            first k. The other eigenvalues are zero to rounding.
    """

    spectrum: Tensor


@dataclass(frozen=True)
class SketchEigenpairs(Eigenpairs):
    """Eigenpairs from a randomised sketch.

    Attributes:
        norm_error: bound of the spectral norm of K less its sketch, which holds with a probability of at least
            1 - 1e-5 over the draw of the probes. Each value is at most this much below the eigenvalue it stands for,
            and above none but for rounding. Without the Rayleigh-Ritz step it is also what ``residuals`` hold.
    """

    norm_error: float


def rounding(n: int, dtype: torch.dtype) -> float:
    """Eigenvalues below this share of the largest are rounding: of the kernel's entries, and of the arithmetic."""
    return 4 * torch.finfo(dtype).eps + 8 * n**0.5 * torch.finfo(torch.float64).eps


def numerical_rank(values: Tensor, n: int, dtype: torch.dtype) -> int:
    """How many of these eigenvalues differ from zero by more than rounding.

    Example:
        >>> numerical_rank(torch.tensor([2.0, 1.0, 1e-9, 0.0]), 4, torch.float32)
        2
    """
    if not len(values):
        return 0
    return int((values.abs() > rounding(n, dtype) * float(values.abs().max())).sum())


def fix_signs(vectors: Tensor) -> Tensor:
    """Make the largest entry of each column positive, in place."""
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors *= torch.where(largest < 0, -1.0, 1.0)
    return vectors


def panels(n: int, width: int) -> Iterator[slice]:
    """Pieces of range(n) such that a float64 panel of that many rows and ``width`` columns stays small."""
    step = max(1, PANEL_BYTES // (8 * max(1, width)))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def residual_norms(times: Callable[[Tensor], Tensor], values: Tensor, vectors: Tensor, dtype: torch.dtype) -> Tensor:
    """(k,) norms of K v - value * v, by one product with K in its own precision."""
    image = times(vectors.to(dtype))
    total = torch.zeros_like(values)
    for rows in panels(len(vectors), len(values)):
        total += (image[rows].double() - vectors[rows] * values).square().sum(0)
    return total.sqrt()
