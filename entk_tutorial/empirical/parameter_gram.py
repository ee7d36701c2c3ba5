r"""Eigenpairs of a kernel where parameters are fewer than rows, without the kernel.

With the rows :math:`J_{nc}` of the Jacobian stacked to an (N C, P) matrix, the flat kernel is
:math:`K = J J^\top`, (N C, N C). Its non-zero eigenvalues are those of the (P, P) Gram matrix
:math:`G = J^\top J`: if :math:`G v = \lambda v`, then :math:`u = J v / \sqrt\lambda` is a unit vector with
:math:`K u = \lambda u`. For 500 inputs of 50 outputs, K would have 25,000 rows (5 GB in float64), and G has as many as
the network has parameters. For the other reductions J stands for the Jacobian of the projected outputs; for the trace,
which sums over outputs, the Jacobians of all outputs stand side by side, (N, C P), and G is (C P, C P).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from entk_tutorial.empirical.errors import MemoryPlanError, ModelError, users_line
from entk_tutorial.empirical.functional import (
    Inputs,
    ModelFunction,
    RawInputs,
    as_function,
    check_outputs,
    in_own_context,
)
from entk_tutorial.empirical.jacobian import projected_jacobian
from entk_tutorial.empirical.pairs import GramEigenpairs, fix_signs
from entk_tutorial.empirical.planning import memory_limit, readable

_CHUNK_BYTES = 1 << 27
"""Working memory of one chunk of examples, if the limit leaves a choice: larger ones are not faster."""
_PANEL = 512
"""Columns of one panel: only the upper triangle of the Gram is multiplied, panel by panel."""


@in_own_context
def parameter_gram_eigenpairs(
    model: nn.Module | ModelFunction,
    x: RawInputs,
    k: int | None = None,
    *,
    by_names: Sequence[str] | None = None,
    row_weights: Tensor | None = None,
    max_bytes: int | None = None,
    dtype: torch.dtype = torch.float64,
) -> GramEigenpairs:
    r"""The k leading eigenpairs of the flat kernel by way of the Gram matrix of the parameters.

    .. math:: K = W J J^\top W, \qquad G = J^\top W^2 J, \qquad u_i = W J v_i / \sqrt{\lambda_i}

    with :math:`W` the diagonal of the row weights, 1 if not given. The same pairs as
    ``top_eigenpairs(empirical_ntk(model, x, reduce="flat"), k)``, worth it where the parameters are fewer than the
    N C rows. Eigenvectors are orthonormal to about :math:`10^{-16} \lambda_1 / \lambda_k`.

    Args:
        model: module or :func:`functional` with outputs (N, C).
        x: the N examples; see :func:`empirical_ntk`.
        k: how many, at most the numerical rank; None for all up to it.
        by_names: parameters that the kernel is summed over; None for all.
        row_weights: (N, C), or (C,) for the same in every example: non-negative factors of the rows of the Jacobian.
            Row and column (n, c) of the kernel are multiplied by them.
        max_bytes: peak extra memory allowed; by default half of what is free. The Jacobian is kept if it fits, and
            formed again for each of three passes if not.
        dtype: in which rows are multiplied. The Gram is added up in float64 whatever it is; float32 is twice as fast,
            and good for eigenvalues above 1e-5 of the largest.

    Returns:
        GramEigenpairs: ``values`` (k,), ``vectors`` (N C, k) with row n C + c as in ``reduce="flat"``, ``residuals``
        (k,) measured on the Jacobian, :math:`\lVert W J (J^\top W u) - \lambda u \rVert`, and ``spectrum`` (r,).

    Raises:
        ValueError: k outside [1, rank]; unknown, repeated or no parameter names; weights of another shape, negative or
            not finite; a dtype other than float32 and float64; a kernel that is zero.
        MemoryPlanError: if it cannot fit, before anything large is allocated.
        ModelError: as :func:`empirical_ntk`, and if a derivative is not finite.
        InputError: as :func:`empirical_ntk`.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 3, bias=False).double()      # K is x x^T for each output, apart
        >>> x = torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
        >>> pairs = parameter_gram_eigenpairs(layer, x)
        >>> pairs.values
        tensor([4., 4., 4., 1., 1., 1.], dtype=torch.float64)
        >>> parameter_gram_eigenpairs(layer, x, 1, row_weights=torch.tensor([0.0, 3.0, 1.0])).values
        tensor([36.], dtype=torch.float64)

    Source: the flattened kernel and its eigenvectors, [Lin 2025].
    Chapter: book/microscope/superposition.
    """
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"dtype={dtype}; torch.float64 or torch.float32 is expected.")
    fn, inputs = as_function(model), Inputs(x)
    names = _chosen(fn, by_names)
    n_outputs = check_outputs(fn, inputs)
    weights = _checked_weights(row_weights, inputs.n, n_outputs, fn.device)
    projection = torch.eye(n_outputs, dtype=fn.dtype, device=fn.device)
    rows = JacobianRows(fn, inputs, names, projection, joined=False, weights=weights)
    return gram_pairs(rows, k, max_bytes=max_bytes, dtype=dtype)


def gram_pairs(rows: JacobianRows, k: int | None, *, max_bytes: int | None, dtype: torch.dtype) -> GramEigenpairs:
    """Eigenpairs of the product of these rows with themselves; errors as :func:`parameter_gram_eigenpairs`."""
    p = rows.width
    most = min(rows.count, p)
    if k is not None and not 1 <= k <= most:
        raise ValueError(
            f"k={k}; between 1 and {most} eigenpairs can be non-zero, with {rows.count} rows (N C) and {p} parameters."
        )
    chunk, keep = _fit(rows, most if k is None else k, max_bytes)
    tiles = rows.tiles(chunk, dtype, keep=keep)

    gram = torch.zeros((p, p), dtype=torch.float64, device=rows.fn.device)
    for _, j in tiles():
        _add_upper_gram(gram, j)
    if not bool(torch.isfinite(gram.diagonal()).all()):
        raise ModelError(
            "the Jacobian holds a NaN or an infinity: a derivative is not finite on some examples (log or sqrt of 0?)."
        )
    gram = gram.triu() + gram.triu(1).T
    values, right = torch.linalg.eigh(gram)
    del gram
    values, right = values.flip(0), right.flip(1)
    rank = _numerical_rank(values[:most], max(rows.count, p), rows.fn.dtype, dtype)
    if rank == 0:
        raise ValueError("the kernel is zero: no output depends on these parameters at these inputs and weights.")
    if k is not None and k > rank:
        raise ValueError(
            f"k={k}; the kernel has numerical rank {rank}, and eigenvectors beyond it are arbitrary. "
            f"Ask for k <= {rank}, or k=None for all of them."
        )
    k = rank if k is None else k
    right = right[:, :k].contiguous()
    return _left_vectors(tiles, values[:rank].clone(), right, rows.count)


def _chosen(fn: ModelFunction, by_names: Sequence[str] | None) -> tuple[str, ...]:
    """The names asked for, in the model's order."""
    if by_names is None:
        return tuple(fn.params)
    if isinstance(by_names, str):
        raise ValueError(f"by_names={by_names!r} is one string; give a list of parameter names: [{by_names!r}].")
    asked = list(by_names)
    if not asked or len(set(asked)) < len(asked):
        raise ValueError(f"by_names={asked!r}; at least one parameter name is expected, each of them once.")
    for name in asked:
        if name not in fn.params:
            near = difflib.get_close_matches(str(name), fn.params, n=3, cutoff=0.0)
            raise ValueError(f"by_names: no parameter is called {name!r}; the nearest names are {', '.join(near)}.")
    return tuple(name for name in fn.params if name in asked)


def _checked_weights(weights: Tensor | None, n: int, n_outputs: int, device: torch.device) -> Tensor | None:
    """Row weights as (N, C) float64."""
    if weights is None:
        return None
    if not isinstance(weights, Tensor) or tuple(weights.shape) not in ((n, n_outputs), (n_outputs,)):
        found = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
        raise ValueError(f"row_weights: {found}; a tensor (N, C) = ({n}, {n_outputs}) or (C,) is expected.")
    if weights.is_complex() or not bool(torch.isfinite(weights).all()) or bool((weights < 0).any()):
        raise ValueError("row_weights must be real, finite and not negative; they scale the rows of the Jacobian.")
    return weights.detach().to(device, torch.float64).expand(n, n_outputs)


def _fit(rows: JacobianRows, k: int, max_bytes: int | None) -> tuple[int, bool]:
    """Examples a chunk, and whether the Jacobian is kept from one pass to the next."""
    limit = memory_limit(max_bytes, rows.fn.device)
    size = torch.finfo(rows.fn.dtype).bits // 8
    p = rows.width
    fixed = 8 * (5 * p * p + 2 * p * k + rows.count * k)  # Gram, its eigenvectors and their workspace; left vectors
    an_example = rows.each * (p * (3 * size + 2 * 8) + 2 * k * 8)
    if fixed + an_example > limit:
        raise MemoryPlanError(
            f"the Gram of {p} parameters with {k} eigenvectors of {rows.count} rows needs at least "
            f"{readable(fixed + an_example)}, and {readable(limit)} are allowed. Take a smaller k, fewer parameters "
            "(by_names), fewer examples, or raise max_bytes; with many more parameters than rows, take "
            "top_eigenpairs(empirical_ntk(..., reduce='flat'), k)."
        )
    jacobian_bytes = rows.count * p * size
    chunk = max(1, min(rows.x.n, _CHUNK_BYTES // an_example))
    keep = fixed + jacobian_bytes + chunk * an_example <= limit
    if not keep:
        chunk = max(1, min(chunk, (limit - fixed) // an_example))
    return chunk, keep


Tiles = Callable[[], Iterator[tuple[Tensor, Tensor]]]


@dataclass(frozen=True)
class JacobianRows:
    """The matrix whose product with its transpose is the kernel.

    Attributes:
        projection: (A, C) of the outputs.
        joined: the A derivatives of an example side by side in one row (the trace), not in A rows.
        weights: (N, A) factors of the rows, or None; not with ``joined``.
    """

    fn: ModelFunction
    x: Inputs
    names: Sequence[str]
    projection: Tensor
    joined: bool
    weights: Tensor | None = None

    @property
    def each(self) -> int:
        """Rows an example."""
        return 1 if self.joined else len(self.projection)

    @property
    def count(self) -> int:
        """All rows."""
        return self.x.n * self.each

    @property
    def width(self) -> int:
        """Columns: parameters, as often as derivatives stand side by side."""
        p = sum(self.fn.params[name].numel() for name in self.names)
        return p * len(self.projection) if self.joined else p

    def tiles(self, chunk: int, dtype: torch.dtype, *, keep: bool) -> Tiles:
        """A function that runs through the weighted rows: their numbers, and their (rows, width) tile.

        Rows that are zero, as behind a ReLU that is off, are left out: they add nothing, and eigenvectors are zero
        there.
        """
        kept: dict[int, tuple[Tensor, Tensor]] = {}

        def one(start: int) -> tuple[Tensor, Tensor]:
            if start in kept:
                return kept[start]
            x = self.x.rows(slice(start, start + chunk))
            parts = projected_jacobian(self.fn, x, self.projection, self.names, stacklevel=users_line() + 1)
            j = torch.cat([part.flatten(2) if part.ndim > 2 else part.unsqueeze(2) for part in parts.values()], dim=2)
            j = j.reshape(-1, self.width)
            alive = (j != 0).any(1).nonzero().squeeze(1)
            found = (start * self.each + alive, j if len(alive) == len(j) else j[alive])
            if keep:
                kept[start] = found
            return found

        def run() -> Iterator[tuple[Tensor, Tensor]]:
            for start in range(0, self.x.n, chunk):
                index, j = one(start)
                j = j.to(dtype)
                if self.weights is not None:
                    j = j * self.weights.reshape(-1)[index].unsqueeze(1).to(dtype)
                yield index, j

        return run


def _add_upper_gram(gram: Tensor, j: Tensor) -> None:
    """Add the upper triangle of j^T j, in place; below the diagonal blocks nothing is written."""
    for start in range(0, gram.shape[0], _PANEL):
        columns = slice(start, start + _PANEL)
        if j.dtype == torch.float64:
            gram[columns, start:].addmm_(j[:, columns].T, j[:, start:])
        else:
            gram[columns, start:] += j[:, columns].T @ j[:, start:]


def _numerical_rank(values: Tensor, longest: int, jacobian: torch.dtype, products: torch.dtype) -> int:
    """Eigenvalues that are more than rounding: of the Jacobian's entries (squared), and of the Gram."""
    of_rows = longest * torch.finfo(jacobian).eps ** 2
    of_gram = longest**0.5 * torch.finfo(products).eps * 4
    return int((values > max(of_rows, of_gram) * float(values[0].clamp(min=0))).sum())


def _left_vectors(tiles: Tiles, spectrum: Tensor, right: Tensor, rows: int) -> GramEigenpairs:
    """U = J v / sqrt(lam), and residuals from two more products with the Jacobian."""
    k = right.shape[1]
    values = spectrum[:k]
    vectors = right.new_zeros((rows, k))
    back = torch.zeros_like(right)
    scaled = right / values.sqrt()
    for index, j in tiles():
        double = j.double()
        part = double @ scaled
        vectors[index] = part
        back.addmm_(double.T, part)
    squares = torch.zeros_like(values)
    for index, j in tiles():
        squares += (j.double() @ back - vectors[index] * values).square().sum(0)
    return GramEigenpairs(values, fix_signs(vectors), squares.sqrt(), "parameter_gram", spectrum)
