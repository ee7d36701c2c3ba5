"""From tiles of examples and classes to the kernel: what is worked out when, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor
from tqdm import tqdm

from entk_tutorial.empirical.functional import Inputs, ModelFunction
from entk_tutorial.empirical.jacobian import projected_jacobian
from entk_tutorial.empirical.planning import Plan
from entk_tutorial.empirical.reductions import Reduction, contract
from entk_tutorial.empirical.structured import JointFactors, Recording, record
from entk_tutorial.empirical.structured.rules import Buffers, Factors, Part, panels
from entk_tutorial.empirical.structured.shared import SharedFactors, all_parts, cotangents

Tile = dict[str, JointFactors | Tensor]
_MIRROR = 64
"""Rows that are copied from above the diagonal to below it at once."""


class BrokenTapsError(Exception):
    """A layer with a certified rule saw another batch than the one it was given."""

    def __init__(self, names: set[str]) -> None:
        """Keep the parameters' names."""
        super().__init__(names)
        self.names = names


def tile_of(
    fn: ModelFunction,
    x: Inputs,
    the_plan: Plan,
    reduction: Reduction,
    side: int,
    classes: slice,
    shared: SharedFactors | None,
    work: torch.dtype,
) -> Tile:
    """Factors, or Jacobians (n, A, P), of every parameter for some examples and some projected outputs.

    What a shared factor covers holds all classes at once, and comes with the first of them.
    """
    tile: Tile = {}
    projection = reduction.project(side, classes)
    if the_plan.structured:
        made = record(fn, x, the_plan.structured)
        if made.broken & set(the_plan.structured):
            raise BrokenTapsError(made.broken & set(the_plan.structured))
        if made.y.requires_grad:
            parts = all_parts(fn, the_plan.structured, made.taps)
            found: dict[str, dict[str, Factors]] = {}
            if shared is not None and not classes.start:
                for name, key, factors in _shared_factors(x, made, parts, shared, work):
                    found.setdefault(name, {})[key] = factors
            made.grads = None
            for name, key, factors in _class_factors(made.y, parts, projection, shared, work):
                found.setdefault(name, {})[key] = factors
            tile.update({name: JointFactors(of_parts) for name, of_parts in found.items()})
    if the_plan.general:
        jacobians = projected_jacobian(fn, x, projection, the_plan.general, stacklevel=7)
        tile.update({name: j.reshape(*j.shape[:2], -1).to(work) for name, j in jacobians.items()})
    return tile


def _shared_factors(
    x: Inputs, made: Recording, parts: list[Part], shared: SharedFactors, work: torch.dtype
) -> Iterator[tuple[str, str, Factors]]:
    """Parameter, part and factors, of all whose class axis a shared factor takes away."""
    compressed = shared.compress(x, made, parts)
    for part in parts:
        if part.key in compressed:
            factors = part.factors(compressed.pop(part.key).unsqueeze(1), work)
            if factors is not None:
                yield part.name, f"{part.key} shared", factors


def _class_factors(
    y: Tensor, parts: list[Part], projection: Tensor, shared: SharedFactors | None, work: torch.dtype
) -> Iterator[tuple[str, str, Factors]]:
    """Parameter, part and factors with their class axis, of what no shared factor covers."""
    units: dict[str, Tensor | None] = {}
    for part in parts:
        if shared is None or not shared.covers(part):
            units[part.key] = None
        elif len(shared.bad(part)):
            units[part.key] = shared.bad(part)
    wanted = [part for part in parts if part.key in units]
    stacks: dict[str, Tensor] = {}
    for a, row in enumerate(projection if wanted else ()):
        seed = row.to(y.dtype).expand_as(y)  # not a projected y: under no_grad that would have no graph
        for key, g in cotangents(y, wanted, seed).items():
            some = units[key]
            g = g if some is None else g[..., some]
            if a == 0:
                stacks[key] = g.new_empty((g.shape[0], len(projection), *g.shape[1:]))
            stacks[key][:, a] = g
    for part in wanted:
        factors = part.factors(stacks.pop(part.key), work) if part.key in stacks else None
        if factors is not None:
            yield part.name, part.key, factors


def assemble(
    fn: ModelFunction,
    a: Inputs,
    b: Inputs | None,
    reduction: Reduction,
    groups: Mapping[str, str],
    the_plan: Plan,
    shared: SharedFactors | None,
    work: torch.dtype,
    *,
    progress: bool,
) -> dict[str, Tensor]:
    """Add up the products of all pairs of tiles, group by group.

    Raises:
        BrokenTapsError: a parameter needs the general way after all.
        RejectedError: some units have no shared factor after all.
    """
    symmetric = b is None and reduction.symmetric
    second = a if b is None else b
    axes = (a.n, second.n) if reduction.paired else (a.n, reduction.count, second.n, reduction.count)
    out = {group: torch.zeros(axes, dtype=work, device=fn.device) for group in groups.values()}
    buffers = Buffers()
    kept = _Kept(fn, a, second, the_plan, reduction, shared, work, one_side=b is None and reduction.symmetric)
    steps = list(_steps(a.n, second.n, the_plan, reduction, symmetric=symmetric))
    for rows, row_classes, columns, column_classes in tqdm(
        steps, desc="kernel tiles", disable=not progress, leave=False
    ):
        left = kept.tile(0, rows, row_classes)
        right = kept.tile(1, columns, column_classes)
        for name, group in groups.items():
            if name not in left or name not in right:
                continue  # a parameter that the outputs do not depend on
            if reduction.paired:
                _add_paired(left[name], right[name], out[group][rows, columns], buffers)
                continue
            block = _products(left[name], right[name])
            if block is None:
                continue  # none of these outputs depends on it
            out[group][rows, row_classes, columns, column_classes] += block
    if symmetric:
        for k in out.values():
            _mirror(k.view(a.n * (1 if reduction.paired else reduction.count), -1))
    return out


def _add_paired(left: JointFactors | Tensor, right: JointFactors | Tensor, target: Tensor, buffers: Buffers) -> None:
    if isinstance(left, JointFactors) and isinstance(right, JointFactors):
        left.add_products(right, target, buffers)
        return
    assert isinstance(left, Tensor) and isinstance(right, Tensor)
    for rows, columns in panels(len(left), same=left is right):
        target[rows, columns].addmm_(left[rows].flatten(1), right[columns].flatten(1).T)


def _products(left: JointFactors | Tensor, right: JointFactors | Tensor) -> Tensor | None:
    if isinstance(left, JointFactors) and isinstance(right, JointFactors):
        return left.products(right)
    assert isinstance(left, Tensor) and isinstance(right, Tensor)
    return contract(left, right, paired=False)


def _mirror(k: Tensor) -> None:
    """Copy what lies above the diagonal to below it: the result is symmetric exactly, not to rounding."""
    n = len(k)
    for i in range(0, n, _MIRROR):
        rows = slice(i, min(i + _MIRROR, n))
        square = k[rows, rows]
        square.copy_(square.triu() + square.triu(1).T)
        k[rows.stop :, rows] = k[rows, rows.stop :].T


def _slices(n: int, step: int) -> list[slice]:
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _steps(
    n1: int, n2: int, the_plan: Plan, reduction: Reduction, *, symmetric: bool
) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Rows, their classes, columns, their classes: all products, in an order that uses each tile while it is there."""
    chunks = _slices(reduction.count, the_plan.classes)
    if reduction.paired:
        for classes in chunks:
            for i, rows in enumerate(_slices(n1, the_plan.tile)):
                for columns in _slices(n2, the_plan.tile)[i if symmetric else 0 :]:
                    yield rows, classes, columns, classes
        return
    for i, rows in enumerate(_slices(n1, the_plan.tile)):
        for classes in chunks:
            for columns in _slices(n2, the_plan.tile)[i if symmetric else 0 :]:
                for others in chunks:
                    yield rows, classes, columns, others


class _Kept:
    """Tiles, each worked out when it is first asked for: all of one chunk of classes kept, or those last used."""

    def __init__(
        self,
        fn: ModelFunction,
        a: Inputs,
        second: Inputs,
        the_plan: Plan,
        reduction: Reduction,
        shared: SharedFactors | None,
        work: torch.dtype,
        *,
        one_side: bool,
    ) -> None:
        self.fn, self.inputs, self.plan, self.reduction = fn, (a, second), the_plan, reduction
        self.shared, self.work, self.one_side = shared, work, one_side
        self.tiles: dict[tuple[int, int, int], Tile] = {}
        self.current: dict[int, tuple[int, int, int]] = {}

    def tile(self, side: int, rows: slice, classes: slice) -> Tile:
        """The tile, from memory if it is there."""
        key = (0 if self.one_side else side, rows.start, classes.start)
        self.current[side] = key
        if key not in self.tiles:
            for old in list(self.tiles):
                over = self.reduction.paired and old[2] != classes.start  # a sum over classes is done with the others
                if over if self.plan.hold else old not in self.current.values():
                    del self.tiles[old]
            self.tiles[key] = tile_of(
                self.fn, self.inputs[side].rows(rows), self.plan, self.reduction, side, classes, self.shared, self.work
            )
        return self.tiles[key]
