r"""Leading eigenpairs of a kernel, with residuals; cliffs in a spectrum; effective rank."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

_DENSE_LIMIT = 3000
"""Up to this size a dense eigendecomposition takes a second or so, and asks for nothing else."""


@dataclass(frozen=True)
class Eigenpairs:
    """Leading eigenpairs of a symmetric kernel.

    Attributes:
        values: (k,) float64, descending.
        vectors: (N, k) float64, orthonormal columns; the largest entry of each is positive. Inside a degenerate group
            they are defined only up to a rotation: compare projectors, never vectors.
        residuals: (k,) norms of K v - value * v.
        method: how they were found.
    """

    values: Tensor
    vectors: Tensor
    residuals: Tensor
    method: str


def top_eigenpairs(kernel: Tensor, k: int | None = None, *, method: str = "auto") -> Eigenpairs:
    r"""The k largest eigenvalues of a symmetric kernel and their eigenvectors, with residuals.

    Args:
        kernel: (N, N) symmetric, any floating dtype; the arithmetic is float64.
        k: how many, at most N; None for all.
        method: ``"dense"``, ``"lanczos"`` (ARPACK, for k much smaller than N), or ``"auto"``.

    Returns:
        Eigenpairs: see there; ``method`` says which was used.

    Raises:
        ValueError: a kernel that is not square, not symmetric to rounding, or not finite; k outside [1, N];
            an unknown method.

    Example:
        >>> import torch
        >>> top_eigenpairs(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 2).values
        tensor([3., 2.], dtype=torch.float64)

    Chapter: book/microscope/computing-entk.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError(
            f"kernel has shape {tuple(kernel.shape)}; a square matrix (N, N) is expected (reduce='flat'?)."
        )
    if not kernel.is_floating_point():
        raise ValueError(f"the kernel has dtype {kernel.dtype}; a real floating-point one is expected.")
    if not bool(torch.isfinite(kernel).all()):
        raise ValueError("the kernel holds a NaN or an infinity; check the parameters and inputs it came from.")
    n = kernel.shape[0]
    k = n if k is None else k
    if not 1 <= k <= n:
        raise ValueError(f"k={k}; between 1 and N={n} eigenpairs can be asked for.")
    if method not in ("auto", "dense", "lanczos"):
        raise ValueError(f"method={method!r} is unknown; expected 'auto', 'dense' or 'lanczos'.")
    double = kernel.detach().to("cpu" if kernel.device.type == "mps" else kernel.device, torch.float64)
    skew = float((double - double.T).abs().max())
    bound = 1e2 * torch.finfo(kernel.dtype).eps * float(double.abs().max())
    if skew > bound:
        raise ValueError(
            f"the kernel is not symmetric (largest K - K^T entry {skew:.2g}, rounding allows {bound:.2g}); eigenpairs "
            "are defined for the kernel of a set of inputs with itself."
        )
    double = (double + double.T) / 2
    if method == "auto":
        method = "dense" if n <= _DENSE_LIMIT or k > n // 10 else "lanczos"
    if method == "lanczos" and k < n and bool(double.any()):  # ARPACK cannot start on a zero matrix
        start = np.ones(n) / np.sqrt(n) + np.random.default_rng(0).standard_normal(n) * 1e-2
        found, basis = eigsh(double.cpu().numpy(), k=k, which="LA", v0=start)
        values, vectors = torch.from_numpy(found).to(double.device), torch.from_numpy(basis).to(double.device)
    else:
        method = "dense"
        values, vectors = torch.linalg.eigh(double)
    order = torch.argsort(values, descending=True)[:k]
    values, vectors = values[order], vectors[:, order]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = vectors * torch.where(largest < 0, -1.0, 1.0)
    residuals = torch.linalg.vector_norm(double @ vectors - vectors * values, dim=0)
    return Eigenpairs(values, vectors, residuals, method)


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
