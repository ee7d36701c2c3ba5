r"""Leading eigenpairs of a kernel, given as a table or as an operator, with residuals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from entk_tutorial.empirical.errors import RankWarning, ResidualWarning, users_line
from entk_tutorial.empirical.krylov import block_krylov
from entk_tutorial.empirical.operator import NTKOperator
from entk_tutorial.empirical.pairs import Eigenpairs, fix_signs, numerical_rank, residual_norms
from entk_tutorial.empirical.parameter_gram import JacobianRows, gram_pairs
from entk_tutorial.empirical.planning import memory_limit
from entk_tutorial.empirical.sketch import sketched_eigenpairs
from entk_tutorial.empirical.tables import checked_table, dense_pairs, lanczos_pairs, table_residuals

_DENSE_LIMIT = 3000
"""Up to this size a dense eigendecomposition takes a second or so, and asks for nothing else."""
_GRAM_LIMIT = 8192
"""Largest Gram of the parameters that ``"auto"`` decomposes."""
TABLE_METHODS = ("auto", "dense", "lanczos", "krylov", "sketch")
PRODUCT_METHODS = ("auto", "krylov", "sketch")
OPERATOR_METHODS = ("auto", "gram", "dense", "krylov", "sketch")
TOLERANCE = {torch.float32: 1e-6, torch.float64: 1e-10}
"""Residuals that block Krylov goes down to, as a share of the largest eigenvalue, by the dtype of the products."""


class Products(Protocol):
    """A matrix that can only be multiplied, such as the blocks of a kernel on a cluster."""

    @property
    def shape(self) -> tuple[int, int]:
        """(N, N)."""

    @property
    def dtype(self) -> torch.dtype:
        """Of its entries."""

    @property
    def device(self) -> torch.device:
        """Where products come out."""

    @property
    def symmetric(self) -> bool:
        """Whether it is its own transpose."""

    def __matmul__(self, q: Tensor, /) -> Tensor:
        """Times (N, k)."""


@dataclass(frozen=True)
class _Options:
    tolerance: float | None
    block: int
    rayleigh_ritz: bool
    max_bytes: int | None
    seed: int
    progress: bool


def top_eigenpairs(
    kernel: Tensor | NTKOperator | Products,
    k: int | None = None,
    *,
    method: str = "auto",
    tolerance: float | None = None,
    block: int = 128,
    rayleigh_ritz: bool = True,
    max_bytes: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Eigenpairs:
    r"""The k largest eigenvalues of a symmetric kernel and their eigenvectors, with residuals.

    ==============  =============================================================================  =====================
    ``method``      how                                                                            memory beside a table
    ==============  =============================================================================  =====================
    ``"dense"``     a full eigendecomposition in float64; an operator is formed first              4 x 8 N^2 bytes
    ``"lanczos"``   ARPACK in float64, one vector at a time; tables only                           8 N^2 bytes
    ``"krylov"``    block Krylov with full re-orthogonalisation, products in the kernel's dtype    about 3 k N numbers
    ``"sketch"``    one product with 2 k + 20 random vectors, then an exact Rayleigh-Ritz step     about 8 k N numbers
    ``"gram"``      operators only: the smaller of J^T J and the kernel itself, densely            P^2 or N^2 numbers
    ``"auto"``      tables: dense up to N = 3,000 or for k > N / 10, else krylov; operators: gram  as the one chosen
                    if J^T J is smaller; else the kernel formed if it fits and by count needs
                    fewer multiplications than products with it; else krylov
    ==============  =============================================================================  =====================

    Values and projectors are the same whatever the method and the tiling, to the residuals; single vectors inside a
    group of equal eigenvalues are not.

    Args:
        kernel: a symmetric (N, N) table of any floating dtype, or a symmetric :class:`NTKOperator`. It is not copied
            except for ``"dense"`` and ``"lanczos"``. Also whatever else has a shape, a dtype and products, such as
            :class:`entk_tutorial.distributed.BlockKernel`: for ``"krylov"`` (which is its ``"auto"``) and ``"sketch"``.
        k: how many. For a table at most N, None for all; more than the numerical rank are flagged by a
            :class:`RankWarning`, since the last ones are arbitrary vectors of the null space. For an operator more
            than the numerical rank are refused, and None stands for all up to it (``"gram"`` or ``"dense"``).
        method: see above.
        tolerance: residual to reach with ``"krylov"``, as a share of the largest eigenvalue; 1e-10 for float64
            kernels, 1e-6 for float32, where rounding of the products alone makes nearly that.
        block: vectors that ``"krylov"`` multiplies at once.
        rayleigh_ritz: False leaves the second product of ``"sketch"`` out; residuals are then bounds, see
            :class:`SketchEigenpairs`.
        max_bytes: memory for ``"dense"`` and for what an operator is turned into; by default half of what is free.
        seed: of the random vectors of ``"krylov"`` and ``"sketch"``.
        progress: show a bar on stderr.

    Returns:
        Eigenpairs: see there; ``method`` says which was used, ``residuals`` are measured by a product of their own.

    Raises:
        ValueError: a kernel that is not square, not symmetric to rounding, or not finite; k outside [1, N], or, for an
            operator, above the rank, which the message names; an unknown method; a negative eigenvalue for
            ``"sketch"``.
        MemoryPlanError: if ``"dense"`` or the Gram do not fit.

    Warns:
        RankWarning: for a table of lower rank than k.
        ResidualWarning: if block Krylov gave up with residuals above ten times the tolerance.

    Example:
        >>> top_eigenpairs(torch.diag(torch.tensor([1.0, 3.0, 2.0])), 2).values
        tensor([3., 2.], dtype=torch.float64)
        >>> layer = torch.nn.Linear(2, 50, bias=False).double()     # K is x x^T = diag(4, 1) for each output
        >>> kernel = NTKOperator(layer, torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64)), reduce="flat")
        >>> top_eigenpairs(kernel, 51).values[[0, 49, 50]]
        tensor([4., 4., 1.], dtype=torch.float64)

    Source: the sketch's bound, [Halko 2011]; its formula for matrices of low rank, [Tropp 2017].
    Chapter: book/microscope/computing-entk.
    """
    methods = (
        TABLE_METHODS if isinstance(kernel, Tensor)
        else OPERATOR_METHODS if isinstance(kernel, NTKOperator)
        else PRODUCT_METHODS
    )  # fmt: skip
    if method not in methods:
        raise ValueError(f"method={method!r} is unknown; expected one of {', '.join(map(repr, methods))}.")
    options = _Options(tolerance, block, rayleigh_ritz, max_bytes, seed, progress)
    if isinstance(kernel, NTKOperator):
        return _of_operator(kernel, k, method, options)
    if not isinstance(kernel, Tensor):
        return _of_products(kernel, k, method, options)
    asked = k
    kernel = checked_table(kernel)
    n = len(kernel)
    k = n if k is None else k
    if not 1 <= k <= n:
        raise ValueError(f"k={k}; between 1 and N={n} eigenpairs can be asked for.")
    pairs = _of_table(kernel, k, method, options)
    rank = numerical_rank(pairs.values, n, kernel.dtype)
    if asked is not None and rank < k:
        warnings.warn(
            f"k={k}, and the kernel has numerical rank {rank}: vectors {rank + 1} to {k} are arbitrary directions of "
            f"its null space, and their values are rounding. Ask for k={max(rank, 1)}.",
            RankWarning,
            stacklevel=users_line(),
        )
    return pairs


def _of_table(kernel: Tensor, k: int, method: str, options: _Options) -> Eigenpairs:
    n = len(kernel)
    if method == "auto":
        method = "dense" if n <= _DENSE_LIMIT or k > n // 10 else "krylov"
    if method == "lanczos" and (k == n or not bool(kernel.any())):  # neither is a start for ARPACK
        method = "dense"
    if method in ("dense", "lanczos"):
        values, vectors = dense_pairs(kernel, k, options.max_bytes) if method == "dense" else lanczos_pairs(kernel, k)
    else:
        own = kernel if kernel.dtype in TOLERANCE else kernel.float()  # half precision cannot add up a product
        found = _by_products(own, k, method, options)
        if method == "sketch":
            return found
        values, vectors = found.values, found.vectors
    return Eigenpairs(values, fix_signs(vectors), table_residuals(kernel, values, vectors), method)


def _of_products(kernel: Products, k: int | None, method: str, options: _Options) -> Eigenpairs:
    n = kernel.shape[0]
    if not kernel.symmetric or kernel.shape[1] != n:
        raise ValueError(f"a kernel of shape {kernel.shape} that is not symmetric has no eigenpairs of this kind.")
    if k is None or not 1 <= k <= n:
        raise ValueError(f"k={k}; products alone give between 1 and N={n} eigenpairs, and k must be named.")
    return _by_products(kernel, k, "krylov" if method == "auto" else method, options)


def _by_products(kernel: Tensor | NTKOperator | Products, k: int, method: str, options: _Options) -> Eigenpairs:
    """Block Krylov or sketch: whatever can be multiplied by a block of vectors."""
    n, dtype, device = kernel.shape[0], kernel.dtype, kernel.device

    def times(v: Tensor) -> Tensor:
        return (kernel @ v).to(dtype)

    if method == "sketch":
        return sketched_eigenpairs(
            times, n, k, dtype=dtype, device=device, rayleigh_ritz=options.rayleigh_ritz, seed=options.seed
        )
    tolerance = TOLERANCE.get(dtype, 1e-6) if options.tolerance is None else options.tolerance
    if not 0 < tolerance < 1 or options.block < 1:
        raise ValueError(f"tolerance={tolerance}, block={options.block}: expected a share below 1, and at least 1.")
    found = block_krylov(
        times, n, k, dtype=dtype, device=device, tolerance=tolerance, block=options.block, seed=options.seed,
        progress=options.progress,
    )  # fmt: skip
    vectors = fix_signs(found.vectors)
    if isinstance(kernel, Tensor):  # measured by the caller, in float64
        residuals = torch.full_like(found.values, torch.nan)
    else:
        residuals = residual_norms(times, found.values, vectors, dtype)
    _say_if_far(found.converged, found.products, residuals, found.values, tolerance)
    return Eigenpairs(found.values, vectors, residuals, "krylov")


def _say_if_far(converged: bool, products: int, residuals: Tensor, values: Tensor, tolerance: float) -> None:
    bound = 10 * tolerance * float(values.abs().max())
    far = int((residuals > bound).sum())
    if not converged or far:
        worst = f"; the largest residual is {float(residuals.max()):.2g}" if far else ""
        warnings.warn(
            f"block Krylov stopped after {products} products before all pairs had a residual of {tolerance:g} of the "
            f"largest eigenvalue{worst}. Ask for another k (one that does not cut a group of close eigenvalues), "
            "raise tolerance, or take method='dense'.",
            ResidualWarning,
            stacklevel=users_line(),
        )


def _of_operator(kernel: NTKOperator, k: int | None, method: str, options: _Options) -> Eigenpairs:
    if not kernel.symmetric:
        raise ValueError(
            f"reduce={kernel.reduction.name!r}: the entry for two different classes is not symmetric; eigenpairs are "
            "defined for 'flat', 'trace', 'mean_logit' and (c, c)."
        )
    n = kernel.shape[0]
    joined = kernel.reduction.paired and len(kernel.reduction.left) > 1
    rows = JacobianRows(kernel.fn, kernel.inputs, kernel.names, kernel.reduction.left, joined=joined)
    most = min(n, rows.width)
    if k is not None and not 1 <= k <= most:
        raise ValueError(f"k={k}; a kernel of {n} rows and {rows.width:,} derivatives has at most rank {most}.")
    if k is None and method in ("krylov", "sketch"):
        raise ValueError(f"method={method!r} needs k, the number of pairs; all {most} are a matter for method='gram'.")
    method = _chosen(kernel, rows, k, options) if method == "auto" else method
    if method == "gram" and rows.width < n:
        return gram_pairs(rows, k, max_bytes=options.max_bytes, dtype=torch.float64)
    if method in ("gram", "dense", "form"):
        table = checked_table(kernel.to_dense())
        pairs = _of_table(table, most if k is None else k, "auto" if method == "form" else "dense", options)
        pairs = Eigenpairs(pairs.values, pairs.vectors, pairs.residuals, f"formed, {pairs.method}")
    else:
        assert k is not None
        pairs = _by_products(kernel, k, method, options)
    rank = numerical_rank(pairs.values, n, kernel.dtype)
    if k is not None and rank < k:
        raise ValueError(
            f"k={k}; the kernel has numerical rank {rank} in {kernel.dtype}, and eigenvectors beyond it are arbitrary. "
            f"Ask for k <= {rank}" + ("." if kernel.dtype == torch.float64 else ", or compute in float64.")
        )
    if k is None:
        return Eigenpairs(pairs.values[:rank], pairs.vectors[:, :rank], pairs.residuals[:rank], pairs.method)
    return pairs


def _chosen(kernel: NTKOperator, rows: JacobianRows, k: int | None, options: _Options) -> str:
    """The parameters' Gram if it is the smaller one; else the kernel, if it fits and is cheaper; else products."""
    n = kernel.shape[0]
    if rows.width < n and rows.width <= _GRAM_LIMIT:
        return "gram"
    if k is None:
        return "dense"
    size = torch.finfo(kernel.dtype).bits // 8
    fits = 2 * n * n * size + 8 * n * n * (4 if n <= _DENSE_LIMIT else 0) <= memory_limit(
        options.max_bytes, kernel.device
    )
    vectors = 3 * k + 4 * options.block  # about what block Krylov multiplies until it has k pairs
    return "form" if fits and kernel.forming_cost() <= vectors * kernel.product_cost() else "krylov"
