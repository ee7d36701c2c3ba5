r"""The empirical tangent kernel as a linear operator: products with vectors, without the kernel.

With :math:`J` the derivatives of all outputs by all parameters, the flat kernel is :math:`K = J J^\top`. A reverse pass
gives :math:`J^\top v`, a forward derivative gives :math:`J (J^\top v)`: :math:`K v` costs a few passes over the data,
where the kernel has as many entries as there are pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator
from torch import Tensor, nn
from tqdm import tqdm

from entk_tutorial.empirical.errors import InputError, MemoryPlanError, ModelError
from entk_tutorial.empirical.functional import (
    Inputs,
    ModelFunction,
    RawInputs,
    as_function,
    check_outputs,
    in_own_context,
)
from entk_tutorial.empirical.kernel import empirical_ntk, plan
from entk_tutorial.empirical.passes import Directions, Passes, saved_bytes
from entk_tutorial.empirical.planning import memory_limit, readable
from entk_tutorial.empirical.reductions import Reduce, parse_reduction

_BATCH_BYTES = 1 << 27
"""Working memory of one batch of vectors, if the limit leaves a choice: larger ones are not faster on a processor."""
_NAMED = 5
"""Examples that an error names one by one."""


@dataclass(frozen=True)
class ProductPlan:
    """How one product is cut up.

    Attributes:
        tile: examples of one pass.
        vectors: how many go through at once.
        bytes_each: memory that one more vector takes: its direction among the parameters, twice, and its tile.
        bytes_tile: memory of one pass.
        limit: bytes allowed.
    """

    tile: int
    vectors: int
    bytes_each: int
    bytes_tile: int
    limit: int


class NTKOperator:
    r"""Products :math:`K v` with the kernel of the inputs with themselves; the kernel is never formed.

    .. math:: K v = \sum_a J_a J_a^\top v

    by one reverse pass and one forward derivative for each :math:`a`: a single one for ``"flat"``, ``"mean_logit"`` and
    ``(c, d)``, and C of them, one an output, for ``"trace"``. So a product costs about :math:`6 N P` multiplications
    (C times that for the trace) for a layer that sees one token, where the entries of the kernel grow as
    :math:`N^2`. Meant for kernels that do not fit, and for few vectors; where the kernel fits and many products are
    needed, :func:`empirical_ntk` is usually cheaper: :func:`top_eigenpairs` counts both.

    Args:
        model: an ``nn.Module`` with outputs (N, C), or :func:`functional`; as for :func:`empirical_ntk`.
        x: the N examples.
        reduce: ``"flat"`` for an (N C, N C) operator, row n C + c; ``"trace"``, ``"mean_logit"`` or ``(c, d)`` for an
            (N, N) one. Sums and means as in :func:`empirical_ntk`.
        by: ``"layer"`` or ``"parameter"`` fills ``parts`` with one operator a layer or parameter; they add up to this.
        max_bytes: peak extra memory allowed; by default half of what is free. Examples and vectors are tiled to fit.
        progress: show a bar over the passes on stderr.

    Attributes:
        shape: (M, M), M = N C for ``"flat"`` and N otherwise.
        dtype: of the parameters; vectors must have it, and results do.
        device: of the parameters.
        symmetric: False for ``(c, d)`` with c other than d; ``T`` is the transposed operator.
        parts: dict of operators, keyed as :func:`empirical_ntk` keys its kernels; empty for ``by=None``.
        plan: :class:`ProductPlan`, how a product is cut up.

    Raises:
        ModelError: as :func:`empirical_ntk`; in a product, if an output or a derivative is not finite (the examples are
            named), or if the model has neither forward derivatives nor second reverse passes.
        InputError: as :func:`empirical_ntk`; in a product, a vector of another shape, dtype or device, or not finite.
        MemoryPlanError: if one example and one vector do not fit.
        ValueError: an unknown ``reduce`` or ``by``.

    Example:
        >>> layer = torch.nn.Linear(2, 3, bias=False).double()
        >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
        >>> kernel = NTKOperator(layer, x, reduce="trace")           # 3 x x^T = 3 [[5, 11], [11, 25]]
        >>> kernel @ torch.tensor([1.0, 0.0], dtype=torch.float64)
        tensor([15., 33.], dtype=torch.float64)
        >>> kernel.shape
        (2, 2)

    Chapter: book/microscope/computing-entk.
    """

    @in_own_context
    def __init__(
        self,
        model: nn.Module | ModelFunction,
        x: RawInputs,
        *,
        reduce: Reduce = "trace",
        by: str | None = None,
        max_bytes: int | None = None,
        progress: bool = False,
    ) -> None:
        """Check model and inputs, and count the memory of a product."""
        if by not in (None, "layer", "parameter"):
            raise ValueError(f"by={by!r} is unknown; expected None, 'layer' or 'parameter'.")
        if reduce == "full":
            raise ValueError("reduce='full' has four axes and is no matrix; reduce='flat' holds the same entries.")
        self.fn, self.inputs = as_function(model), Inputs(x)
        self.outputs = check_outputs(self.fn, self.inputs)
        self.reduction = parse_reduction(reduce, self.outputs, dtype=self.fn.dtype, device=self.fn.device)
        self.progress = progress
        self.max_bytes = max_bytes
        self._prepare(tuple(self.fn.params))
        groups: dict[str, list[str]] = {}
        for name in self.names if by is not None else ():
            groups.setdefault(self.fn.layer_of(name) if by == "layer" else name, []).append(name)
        self.parts = {group: self._restricted(tuple(names)) for group, names in groups.items()}

    def _prepare(self, names: tuple[str, ...]) -> None:
        self.names = names
        self.passes = Passes(self.fn, names)
        side = self.inputs.n if self.reduction.paired else self.inputs.n * len(self.reduction.left)
        self.shape = (side, side)
        self.plan = _product_plan(self.fn, self.inputs, names, side, self.max_bytes)

    def _restricted(self, names: tuple[str, ...]) -> NTKOperator:
        """The same kernel, summed over the parameters ``names`` only."""
        part = object.__new__(NTKOperator)
        part.__dict__.update(self.__dict__, parts={})
        part._prepare(names)
        return part

    @property
    def dtype(self) -> torch.dtype:
        """Widest dtype among the parameters."""
        return self.fn.dtype

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.fn.device

    @property
    def symmetric(self) -> bool:
        """Whether the operator equals its transpose."""
        return self.reduction.symmetric

    @property
    def n_parameters(self) -> int:
        """P, counted over the parameters of this operator."""
        return sum(self.fn.params[name].numel() for name in self.names)

    @property
    def T(self) -> NTKOperator:  # the matrix's transpose, under the name that tensors have for it
        """The transposed operator."""
        other = object.__new__(NTKOperator)
        name = self.reduction.name
        swapped = (name[1], name[0]) if isinstance(name, tuple) else name
        reduction = parse_reduction(swapped, self.outputs, dtype=self.dtype, device=self.device)
        other.__dict__.update(self.__dict__, reduction=reduction, parts={k: p.T for k, p in self.parts.items()})
        return other

    def __repr__(self) -> str:
        """Shape, reduction and size."""
        return (
            f"NTKOperator({self.shape[0]} x {self.shape[1]}, reduce={self.reduction.name!r}, {self.n_parameters:,} "
            f"parameters, {self.dtype}, {self.device})"
        )

    def product_cost(self) -> float:
        """Multiplications of K v for one vector, counted for layers that see one token an example."""
        passes = len(self.reduction.left) if self.reduction.paired else 1
        return 6.0 * self.inputs.n * self.n_parameters * passes

    def forming_cost(self) -> float:
        """Multiplications of all entries, counted likewise: by rule where :func:`plan` finds one, else by Jacobians."""
        few = self.inputs.rows(torch.linspace(0, self.inputs.n - 1, 8).long().unique().to(self.inputs.device))
        by_rule = plan(self.fn, few.copy(), reduce=self.reduction.name).structured
        outputs = len(self.reduction.left)
        blocks = outputs if self.reduction.paired else outputs**2
        total = 0.0
        for name in self.names:
            p = self.fn.params[name]
            # By rule: one product of inputs and one of cotangents for each block, so the sum of the sides.
            total += sum(p.shape) * blocks if name in by_rule else p.numel() * blocks
        return total * self.inputs.n**2

    def to_dense(self) -> Tensor:
        """The kernel itself, (M, M), by :func:`empirical_ntk`."""
        everything = self.names == tuple(self.fn.params)
        kernel = empirical_ntk(
            self.fn,
            self.inputs.copy(),
            reduce=self.reduction.name,
            by=None if everything else "parameter",
            max_bytes=self.max_bytes,
            progress=self.progress,
        )
        return kernel if isinstance(kernel, Tensor) else torch.stack([kernel[name] for name in self.names]).sum(0)

    def as_scipy(self) -> LinearOperator:
        """The same as a ``scipy.sparse.linalg.LinearOperator``, for NumPy arrays on the processor.

        Example:
            >>> from scipy.sparse.linalg import eigsh
            >>> kernel = NTKOperator(torch.nn.Linear(1, 1, bias=False), torch.tensor([[1.0], [2.0], [3.0]]))
            >>> eigsh(kernel.as_scipy(), k=1, return_eigenvectors=False).round(3)       # 1 + 4 + 9
            array([14.], dtype=float32)
        """
        transposed = self if self.symmetric else self.T

        def times(operator: NTKOperator) -> Any:
            def apply(v: NDArray[Any]) -> NDArray[Any]:
                found = operator @ torch.from_numpy(np.array(v)).to(self.device, self.dtype)
                return found.cpu().numpy()

            return apply

        return LinearOperator(
            shape=self.shape,
            matvec=times(self),
            matmat=times(self),
            rmatvec=times(transposed),
            rmatmat=times(transposed),
            dtype=torch.empty(0, dtype=self.dtype).numpy().dtype,
        )

    def __matmul__(self, v: Tensor) -> Tensor:
        """K v for v of shape (M,) or (M, k)."""
        if not isinstance(v, Tensor) or v.ndim not in (1, 2) or v.shape[0] != self.shape[1]:
            found = tuple(v.shape) if isinstance(v, Tensor) else type(v).__name__
            raise InputError(f"the kernel is {self.shape[0]} x {self.shape[1]}; a tensor ({self.shape[1]},) or "
                             f"({self.shape[1]}, k) can be multiplied, found {found}.")  # fmt: skip
        if v.device != self.device or v.dtype != self.dtype:
            raise InputError(
                f"the vector is {v.dtype} on {v.device}, the kernel {self.dtype} on {self.device}; convert one of them."
            )
        if not bool(torch.isfinite(v).all()):
            raise InputError("the vector holds a NaN or an infinity.")
        return self._product(v.detach().reshape(self.shape[1], -1)).reshape(v.shape)

    @in_own_context
    def _product(self, v: Tensor) -> Tensor:
        """(M, k): batches of seeds, each through all tiles in reverse and then forward."""
        n, left, right = self.inputs.n, self.reduction.left, self.reduction.right
        classes = len(left) if self.reduction.paired else 1
        table = v.reshape(n, -1, v.shape[1])  # (N, 1 or C, k)
        out = torch.zeros_like(table)
        columns = [(a, j) for a in range(classes) for j in range(v.shape[1])]
        step = self.plan.vectors
        batches = [columns[i : i + step] for i in range(0, len(columns), step)]
        tiles = [slice(i, min(i + self.plan.tile, n)) for i in range(0, n, self.plan.tile)]
        held: tuple[slice, Any] | None = None
        with tqdm(total=2 * len(batches) * len(tiles), desc="kernel products", disable=not self.progress,
                  leave=False) as bar:  # fmt: skip
            for batch in batches:
                total: Directions = {}
                for rows in tiles:
                    if held is None or held[0] != rows:  # a single tile keeps its graph from batch to batch
                        held = (rows, self.passes.outputs(self.inputs.rows(rows)))
                    y, live = held[1]
                    found = self.passes.pull(y, live, self._seeds(table[rows], right, batch))
                    self._refuse_non_finite(rows, found.values())
                    total = {name: total[name] + g for name, g in found.items()} if total else found
                    bar.update()
                if len(tiles) > 1:
                    held = None
                for rows in tiles:
                    moved = self.passes.push(self.inputs.rows(rows), total)  # (q, n, C)
                    self._refuse_non_finite(rows, [moved])
                    for (a, j), change in zip(batch, moved.to(out.dtype), strict=True):
                        if self.reduction.paired:
                            out[rows, 0, j] += change @ left[a]
                        else:
                            out[rows, :, j] += change @ left.T
                    bar.update()
        return out.reshape(v.shape)

    def _seeds(self, table: Tensor, right: Tensor, batch: list[tuple[int, int]]) -> Tensor:
        """(q, n, C) cotangents: a vector's numbers at the outputs that the reduction looks at."""
        if self.reduction.paired:
            return torch.stack([table[:, 0, j, None] * right[a] for a, j in batch])
        return torch.stack([table[:, :, j] @ right for _, j in batch])

    def _refuse_non_finite(self, rows: slice, found: Iterable[Tensor]) -> None:
        """Name the examples of a tile whose outputs or derivatives are not finite."""
        if all(bool(torch.isfinite(t.sum())) or bool(torch.isfinite(t).all()) for t in found):
            return  # a sum may overflow where no entry does
        bad = list(_bad_examples(self.passes, self.inputs, rows))
        listed = ", ".join(map(str, bad[:_NAMED])) + (f" and {len(bad) - _NAMED} more" if len(bad) > _NAMED else "")
        where = (
            f"example{'s' if len(bad) != 1 else ''} {listed}" if bad else f"examples {rows.start} to {rows.stop - 1}"
        )
        raise ModelError(
            f"an output or a derivative is NaN or infinite at {where} (log or sqrt of 0?), or a product overflows "
            f"{self.dtype}; take these examples out, or compute in float64."
        )


def _bad_examples(passes: Passes, x: Inputs, rows: slice) -> Iterator[int]:
    """Examples whose own outputs or derivatives are not finite."""
    for n in range(rows.start, rows.stop):
        y, live = passes.outputs(x.rows(slice(n, n + 1)))
        seeds = torch.eye(y.shape[1], dtype=y.dtype, device=y.device).unsqueeze(1)
        grads = passes.pull(y, live, seeds)
        if not all(bool(torch.isfinite(t).all()) for t in (y, *grads.values())):
            yield n


def _product_plan(
    fn: ModelFunction, x: Inputs, names: tuple[str, ...], side: int, max_bytes: int | None
) -> ProductPlan:
    """Examples of a tile and vectors of a batch that fit.

    A pass holds what one example saves for the reverse pass, once as values and once for each vector, and each vector
    has a direction among the parameters, found and added up.
    """
    limit = memory_limit(max_bytes, fn.device)
    example = 3 * saved_bytes(fn, x, names)
    direction = 2 * sum(fn.params[name].numel() * fn.params[name].element_size() for name in names)
    fixed = side * torch.finfo(fn.dtype).bits // 8
    least = fixed + 2 * example + direction
    if least > limit:
        raise MemoryPlanError(
            f"a product of one vector with one example needs at least {readable(least)}, and {readable(limit)} are "
            "allowed. Raise max_bytes, or freeze parameters that you do not need."
        )
    free = limit - fixed - direction
    tile = max(1, min(x.n, free // (2 * example), max(1, _BATCH_BYTES // (2 * example))))
    each = direction + tile * example
    spare = min(limit - fixed, max(_BATCH_BYTES, tile * example + each)) - tile * example
    return ProductPlan(tile, max(1, spare // each), each, tile * example, limit)
