r"""Leading eigenpairs from products alone: block Krylov with full re-orthogonalisation.

Each step multiplies a block of b vectors by K, and adds what is new in the result to an orthonormal basis Q. On the
space that Q spans, K is the small matrix :math:`H = Q^\top K Q`, whose eigenpairs approach those of K from the top.
What the next block would add is known when a step ends, so the distance :math:`\lVert K u - \theta u\rVert` of every
pair is, too, without another product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from tqdm import tqdm

from entk_tutorial.empirical.pairs import panels

_CONFIRMING_STEPS = 2
"""Steps with new random vectors that a result must outlast."""
_LEAST_BLOCK = 8
"""Fewer vectors would leave the result to chance where eigenvalues are equal."""


@dataclass(frozen=True)
class Krylov:
    """What a run left.

    Attributes:
        values: (k,) float64, descending.
        vectors: (N, k) float64, orthonormal columns.
        products: vectors that K was applied to.
        converged: whether all k distances fell below the tolerance, and stayed there.
    """

    values: Tensor
    vectors: Tensor
    products: int
    converged: bool


def block_krylov(
    times: Callable[[Tensor], Tensor],
    n: int,
    k: int,
    *,
    dtype: torch.dtype,
    device: torch.device,
    tolerance: float,
    block: int = 128,
    max_basis: int | None = None,
    max_products: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Krylov:
    r"""The k largest eigenvalues of a symmetric K and their eigenvectors.

    A Krylov space of one starting block holds at most b directions of each eigenspace, and nothing in it shows that
    others exist. Once converged, random vectors therefore join, and the result counts only if it outlasts them.

    Args:
        times: (N, b) -> (N, b), the product with K.
        n: N.
        k: how many.
        dtype: of the products and of the basis. Projections and small matrices are accumulated in float64.
        device: of both.
        tolerance: distance :math:`\lVert K u - \theta u\rVert` to reach, as a share of the largest eigenvalue.
        block: b, at least 8. Larger blocks use the processor better; smaller ones need fewer vectors in all.
        max_basis: vectors to hold, at least k + 6 b, before the basis is compressed to its best k + b; 3 k + 4 b if not
            given. Memory is N numbers each.
        max_products: vectors to multiply before giving up.
        seed: of the starting block and of the vectors that join, through a private generator.
        progress: show a bar over the converged pairs on stderr.

    Example:
        >>> k = torch.diag(torch.arange(1.0, 301.0))
        >>> found = block_krylov(lambda v: k @ v, 300, 2, dtype=torch.float32, device=torch.device("cpu"),
        ...                      tolerance=1e-5, block=8)
        >>> found.values.round(decimals=3), found.converged
        (tensor([300., 299.], dtype=torch.float64), True)
    """
    block = min(max(block, _LEAST_BLOCK), n)
    largest = min(n, max(max_basis or 3 * k + 4 * block, k + 6 * block))
    budget = max_products or 60 * (k + block)
    space = _Space(n, largest, dtype, device, seed)
    fresh = space.orthonormal(space.random(block))
    products, check_at = 0, min(n, k + block)
    settled: Tensor | None = None  # the values that vectors that have joined since must confirm
    with tqdm(total=k, desc="eigenpairs", disable=not progress, leave=False) as bar:
        while True:
            image = times(fresh.T.contiguous()).T
            products += len(fresh)
            space.extend(fresh, image)
            candidates = remainder = space.remainder(image)  # (b, N): what K takes out of the space
            if space.size >= check_at or space.size == n or products >= budget:
                values, small = space.ritz(k)
                # K Q = Q H + remainder^T (last block): the distance of each pair, without another product
                last = small[space.size - len(fresh) :]
                square = remainder.double() @ remainder.double().T
                distance = (last * (square @ last)).sum(0).clamp(min=0).sqrt()
                unit = tolerance * max(float(values.abs().max()), torch.finfo(dtype).tiny)
                done = bool((distance <= unit).all())
                bar.update(int((distance <= unit).sum()) - bar.n)
                confirmed = done and settled is not None and float((values - settled).abs().max()) <= 2 * unit
                if confirmed or space.size == n or products >= budget:
                    return Krylov(values, space.vectors(small), products, confirmed or space.size == n)
                check_at = space.size + max(block, space.size // 4)
                if done:
                    joining = min(max(_LEAST_BLOCK, block // 4), 4 * block - len(remainder))
                    candidates = torch.cat([remainder, space.random(joining)])
                    settled, check_at = values, space.size + _CONFIRMING_STEPS * len(candidates)
            if space.size + len(candidates) > largest and space.size > k + block:
                space.compress(k + block)
                check_at = space.size + block
            fresh = space.orthonormal(candidates[: largest - space.size])


class _Space:
    """An orthonormal basis in the rows of a buffer, with its Gram matrix and K on it, both in float64."""

    def __init__(self, n: int, largest: int, dtype: torch.dtype, device: torch.device, seed: int) -> None:
        self.basis = torch.zeros((largest, n), dtype=dtype, device=device)
        self.gram = torch.zeros((largest, largest), dtype=torch.float64, device=device)
        self.small = torch.zeros((largest, largest), dtype=torch.float64, device=device)
        self.size = 0
        self.generator = torch.Generator().manual_seed(seed)

    def random(self, count: int) -> Tensor:
        drawn = torch.randn((count, self.basis.shape[1]), generator=self.generator, dtype=torch.float64)
        return drawn.to(self.basis)

    def remainder(self, rows: Tensor) -> Tensor:
        """Rows less their part in the space: twice, since once leaves rounding of the large part."""
        return self._less_space(self._less_space(rows))

    def _less_space(self, rows: Tensor) -> Tensor:
        q = self.basis[: self.size]
        return rows - (rows @ q.T) @ q

    def orthonormal(self, rows: Tensor) -> Tensor:
        """Orthonormal rows, orthogonal to the space, that span what is new in ``rows``; random where nothing is."""
        scale = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        floor = torch.finfo(rows.dtype).eps * float(scale.max())
        rows = torch.where(scale > floor, rows / scale.clamp(min=torch.finfo(rows.dtype).tiny), 0.0)
        for attempt in range(4):
            # What comes in lies outside of the space already, except for random rows, which the second attempt clears.
            q, r = torch.linalg.qr((self._less_space(rows) if attempt else rows).T)
            share = r.diagonal().abs()
            lost = share < 1e-3 * torch.finfo(rows.dtype).eps ** 0.5
            rows = q.T.contiguous()
            if bool(lost.any()):
                noise = self.random(int(lost.sum()))
                rows[lost] = noise / torch.linalg.vector_norm(noise, dim=1, keepdim=True)
            elif attempt and bool((share > 0.5).all()):
                break  # little was taken off, so that rounding of it is little, too
        return rows

    def extend(self, rows: Tensor, image: Tensor) -> None:
        """Add a block and K times it."""
        old, new = self.size, self.size + len(rows)
        self.basis[old:new] = rows
        self.size = new
        for matrix, block in ((self.gram, rows), (self.small, image)):
            column = self._inner(block)
            matrix[:new, old:new] = column
            matrix[old:new, :old] = column[:old].T
            square = matrix[old:new, old:new]
            square.copy_((square + square.T) / 2)

    def _inner(self, block: Tensor) -> Tensor:
        """(m, b): the basis times a block, accumulated in float64."""
        out = torch.zeros((self.size, len(block)), dtype=torch.float64, device=block.device)
        for part in panels(block.shape[1], self.size):
            out.addmm_(self.basis[: self.size, part].double(), block[:, part].double().T)
        return out

    def ritz(self, k: int) -> tuple[Tensor, Tensor]:
        """The k largest eigenpairs of K on the space: values, and coefficients (m, k) in the basis.

        The Gram matrix takes out what rounding left of a basis that is not quite orthonormal.
        """
        m = self.size
        lower = torch.linalg.cholesky(self.gram[:m, :m])
        half = torch.linalg.solve_triangular(lower, self.small[:m, :m], upper=False)
        inner = torch.linalg.solve_triangular(lower, half.T, upper=False)
        values, vectors = torch.linalg.eigh((inner + inner.T) / 2)
        count = min(k, m)
        values, vectors = values.flip(0)[:count], vectors.flip(1)[:, :count]
        return values, torch.linalg.solve_triangular(lower.T, vectors, upper=True)

    def vectors(self, small: Tensor) -> Tensor:
        """(N, k) float64: coefficients turned into vectors."""
        n = self.basis.shape[1]
        out = torch.empty((n, small.shape[1]), dtype=torch.float64, device=small.device)
        for part in panels(n, self.size):
            out[part] = self.basis[: self.size, part].double().T @ small
        return out

    def compress(self, keep: int) -> None:
        """Keep the best ``keep`` directions only. What K takes out of the space stays what it was."""
        values, small = self.ritz(keep)
        for part in panels(self.basis.shape[1], self.size):
            self.basis[:keep, part] = (small.T @ self.basis[: self.size, part].double()).to(self.basis.dtype)
        self.size = keep
        self.small[:keep, :keep] = torch.diag(values)
        self.gram[:keep, :keep] = self._inner(self.basis[:keep])
