r"""Leading eigenpairs from one product with a block of random vectors, with a bound of the error.

For a positive semi-definite K and a random :math:`\Omega` (N, s), the Nystroem approximation

.. math:: \hat K = (K\Omega)\,(\Omega^\top K \Omega)^{-1}\,(K\Omega)^\top

needs K once. It lies below K: every eigenvalue of :math:`\hat K` is at most the one of K that it stands for. How far
below is told by a few more random vectors in the same product: with r of them, independent of :math:`\Omega`,

.. math:: \lVert K - \hat K\rVert_2 \le 2\sqrt{2/\pi}\,\max_j \lVert (K - \hat K)\, z_j\rVert

with a probability of at least :math:`1 - 2^{-r}`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from entk_tutorial.empirical.pairs import SketchEigenpairs, fix_signs, rounding

_PROBES = 17
"""Random vectors of the error bound: it fails with a probability of at most two to minus this, below 1e-5."""


def sketched_eigenpairs(
    times: Callable[[Tensor], Tensor],
    n: int,
    k: int,
    *,
    dtype: torch.dtype,
    device: torch.device,
    rayleigh_ritz: bool = True,
    size: int | None = None,
    seed: int = 0,
) -> SketchEigenpairs:
    r"""Nystroem eigenpairs of a positive semi-definite K; with ``rayleigh_ritz``, exact on the space that they span.

    Args:
        times: (N, b) -> (N, b), the product with K.
        n: N.
        k: how many pairs.
        dtype: of the products.
        device: of the products.
        rayleigh_ritz: multiply the sketch's s vectors by K as well, and take the eigenpairs of K on their span: values
            and residuals are then K's own, at twice the cost.
        size: s, the number of random vectors; 2 k + 20 if not given.
        seed: of them, through a private generator.

    Raises:
        ValueError: a K that is not positive semi-definite beyond rounding.

    Example:
        >>> k = torch.diag(torch.tensor([4.0, 2.0, 1.0] + [0.0] * 97, dtype=torch.float64))
        >>> found = sketched_eigenpairs(lambda v: k @ v, 100, 2, dtype=k.dtype, device=k.device)
        >>> found.values.round(decimals=6), bool(found.norm_error < 1e-10)
        (tensor([4., 2.], dtype=torch.float64), True)
    """
    count = min(n, max(k, size or 2 * k + 20))
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn((n, count + _PROBES), generator=generator, dtype=torch.float64).to(device)
    # Both sides of every equation below must hold the numbers that K was multiplied by: those of its own precision.
    omega = torch.linalg.qr(drawn[:, :count])[0].to(dtype)
    probes = drawn[:, count:].to(dtype)
    image = times(torch.cat([omega, probes], 1)).double()
    omega = omega.double()
    values, vectors = _nystroem(image[:, :count], omega, rounding(n, dtype))
    probed = image[:, count:] - vectors @ (values[:, None] * (vectors.T @ probes.double()))
    worst = float(torch.linalg.vector_norm(probed, dim=0).max())
    norm_error = 2 * math.sqrt(2 / math.pi) * worst
    if not rayleigh_ritz:
        values, vectors = values[:k], vectors[:, :k]
        bound = torch.full_like(values, norm_error)  # K u - value u = (K - sketch) u
        return SketchEigenpairs(values, fix_signs(vectors.contiguous()), bound, "sketch, one pass", norm_error)
    moved = times(vectors.to(dtype)).double()
    inner = vectors.T @ moved
    values, small = torch.linalg.eigh((inner + inner.T) / 2)
    values, small = values.flip(0)[:k], small.flip(1)[:, :k]
    vectors = vectors @ small
    residuals = torch.linalg.vector_norm(moved @ small - vectors * values, dim=0)
    return SketchEigenpairs(values, fix_signs(vectors), residuals, "sketch", norm_error)


def _nystroem(image: Tensor, omega: Tensor, floor: float) -> tuple[Tensor, Tensor]:
    """All eigenpairs of the approximation: (s,) and (N, s), descending.

    A small multiple of the identity is added to K and taken off again, so that a K of lower rank has a factor.
    """
    scale = float(torch.linalg.matrix_norm(image, 2))
    shift = floor * max(scale, torch.finfo(torch.float64).tiny)
    shifted = image + shift * omega
    inner = omega.T @ shifted
    lower, info = torch.linalg.cholesky_ex((inner + inner.T) / 2)
    if int(info) != 0:
        raise ValueError(
            "method='sketch' needs a positive semi-definite kernel, and this one has a negative eigenvalue beyond "
            "rounding; take method='krylov' or 'dense'."
        )
    factor = torch.linalg.solve_triangular(lower, shifted.T, upper=False).T
    vectors, roots, _ = torch.linalg.svd(factor, full_matrices=False)
    return (roots.square() - shift).clamp(min=0), vectors
