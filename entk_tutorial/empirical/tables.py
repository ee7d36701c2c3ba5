r"""Kernels that lie in memory as tables: checked and decomposed without a second copy where none is needed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse.linalg import eigsh
from torch import Tensor

from entk_tutorial.empirical.errors import MemoryPlanError
from entk_tutorial.empirical.planning import memory_limit, readable

_TILE = 1024
"""Rows and columns of a tile that is looked through or symmetrised."""


def checked_table(kernel: Tensor) -> Tensor:
    """The kernel, detached, on a device with float64; looked through tile by tile for what makes eigenpairs undefined.

    Raises:
        ValueError: not square, not floating, not finite, or not symmetric to rounding.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError(
            f"kernel has shape {tuple(kernel.shape)}; a square matrix (N, N) is expected (reduce='flat'?)."
        )
    if not kernel.is_floating_point():
        raise ValueError(f"the kernel has dtype {kernel.dtype}; a real floating-point one is expected.")
    kernel = kernel.detach().cpu() if kernel.device.type == "mps" else kernel.detach()
    largest, skew = 0.0, 0.0
    for rows, columns in _pairs_of_tiles(len(kernel)):
        upper, lower = kernel[rows, columns], kernel[columns, rows]
        size = float(torch.maximum(upper.abs().max(), lower.abs().max()))
        if not size < float("inf"):
            raise ValueError("the kernel holds a NaN or an infinity; check the parameters and inputs it came from.")
        largest = max(largest, size)
        skew = max(skew, float((upper.double() - lower.T.double()).abs().max()))
    bound = 1e2 * torch.finfo(kernel.dtype).eps * largest
    if skew > bound:
        raise ValueError(
            f"the kernel is not symmetric (largest K - K^T entry {skew:.2g}, rounding allows {bound:.2g}); eigenpairs "
            "are defined for the kernel of a set of inputs with itself."
        )
    return kernel


def dense_pairs(kernel: Tensor, k: int, max_bytes: int | None) -> tuple[Tensor, Tensor]:
    """The k largest eigenvalues and their vectors by a full decomposition of a symmetrised float64 copy.

    Raises:
        MemoryPlanError: if copy, vectors and workspace do not fit.
    """
    n = len(kernel)
    need, limit = 4 * 8 * n * n, memory_limit(max_bytes, kernel.device)
    if need > limit:
        raise MemoryPlanError(
            f"a dense eigendecomposition of {n} rows needs about {readable(need)}, and {readable(limit)} are allowed. "
            "Take method='krylov' with a smaller k, or raise max_bytes."
        )
    double = kernel.to(torch.float64, copy=True)
    for rows, columns in _pairs_of_tiles(n):
        mean = (double[rows, columns] + double[columns, rows].T) / 2
        double[rows, columns] = mean
        double[columns, rows] = mean.T
    values, vectors = torch.linalg.eigh(double)
    order = torch.argsort(values, descending=True)[:k]
    return values[order], vectors[:, order]


def lanczos_pairs(kernel: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The same by ARPACK, on a float64 copy if the kernel is not float64 itself."""
    n = len(kernel)
    start = np.ones(n) / np.sqrt(n) + np.random.default_rng(0).standard_normal(n) * 1e-2
    values, vectors = eigsh(kernel.to("cpu", torch.float64).numpy(), k=k, which="LA", v0=start)
    order = np.argsort(values)[::-1].copy()
    return torch.from_numpy(values[order]).to(kernel.device), torch.from_numpy(vectors[:, order]).to(kernel.device)


def table_residuals(kernel: Tensor, values: Tensor, vectors: Tensor) -> Tensor:
    """(k,) norms of K v - value * v in float64, rows by rows: the kernel is never copied as a whole."""
    total = torch.zeros_like(values)
    for start in range(0, len(kernel), _TILE // 2):
        rows = slice(start, start + _TILE // 2)
        total += (kernel[rows].double() @ vectors - vectors[rows] * values).square().sum(0)
    return total.sqrt()


def _pairs_of_tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Tiles on and above the diagonal."""
    for i in range(0, n, _TILE):
        for j in range(i, n, _TILE):
            yield slice(i, i + _TILE), slice(j, j + _TILE)
