"""One operation with parameters among its operands: which rule it has, and its result with leaves added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor

from entk_tutorial.empirical.structured import convolution, functions, lookup, normalisation, operations
from entk_tutorial.empirical.structured.batch import BatchAxis, UnclearBatchError, UnseenError, tensors_in
from entk_tutorial.empirical.structured.taps import ParameterTap, View

if TYPE_CHECKING:
    from entk_tutorial.empirical.structured.uses import ParameterUses


def _replaced(value: Any, new: dict[int, Tensor]) -> Any:
    """``value`` with tensors exchanged by identity, in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return new.get(id(value), value)
    if isinstance(value, tuple | list):
        return type(value)(_replaced(part, new) for part in value)
    if isinstance(value, dict):
        return {key: _replaced(part, new) for key, part in value.items()}
    return value


class Operation:
    """One operation with parameters among its operands, in a run that taps."""

    def __init__(
        self,
        uses: ParameterUses,
        number: int,
        func: Callable[..., Any],
        args: Sequence[Any],
        kwargs: dict[str, Any],
        operands: tuple[Tensor, ...],
        held: list[Tensor],
    ) -> None:
        self.uses, self.number, self.func, self.args, self.kwargs = uses, number, func, args, kwargs
        self.operands, self.held, self.n = operands, held, uses.n
        self.axes: list[BatchAxis | None] = []
        self.found: list[tuple[str, ParameterTap]] = []

    def run(self) -> Any:
        """The operation's result; with leaves where there is a rule, else as it is and the parameters given up."""
        try:
            self.axes = self.uses.batch_axes(self.number, self.func, self.operands)
        except UnseenError:
            return self._tapped(self.func(*self.args, **self.kwargs))
        except UnclearBatchError:
            self._give_up()
            return self.func(*self.args, **self.kwargs)
        out = self._with_copies() if "out" not in self.kwargs else None
        if out is None:
            out = self._tapped(self.func(*self.args, **self.kwargs))
        for name, tap in self.found:
            self.uses.taps.setdefault(name, []).append(tap)
        return out

    def _give_up(self) -> None:
        self.uses.broken.update(v.name for v in map(self.uses.view, self.held) if v is not None)

    def _at(self, tensor: Tensor) -> BatchAxis | None:
        return next(axis for t, axis in zip(self.operands, self.axes, strict=False) if t is tensor)

    def _with_copies(self) -> Tensor | None:
        """The result with a copy of each parameter for each example; None if that is not how the operation works."""
        results = self.axes[len(self.operands) :]
        if len(results) != 1 or results[0] is None:
            return None
        at, out = results[0], None
        if self.func in normalisation.ARGUMENTS:
            x = self.args[0] if self.args else self.kwargs["input"]
            parts = dict(zip(normalisation.ARGUMENTS[self.func], self.args, strict=False)) | self.kwargs
            if self.uses.view(x) is None and self._at(x) == at:

                def copy(part: str, shaped: Tensor) -> Tensor | None:
                    view = self.uses.view(parts[part])
                    if view is None:
                        return shaped
                    view = View(view.name, view.positions.reshape(shaped.shape), view.scale)
                    return self._copy(view, shaped, x.shape, at, self.func.__name__)

                out = normalisation.affine(self.func, self.args, self.kwargs, copy)
        elif self.func in functions.ELEMENTWISE or (
            self.func in functions.IN_PLACE and self.uses.view(self.args[0]) is None
        ):
            shape = torch.broadcast_shapes(*(t.shape for t in self.operands))
            new: dict[int, Tensor] = {}
            for t in self.held:
                view = self.uses.view(t)
                assert view is not None
                copied = self._copy(view, t, shape, at, self.func.__name__.strip("_"))
                if copied is None:
                    break
                new[id(t)] = copied
            else:
                out = self.func(*_replaced(tuple(self.args), new), **_replaced(self.kwargs, new))
        if out is None:
            self.found = []
        return out

    def _copy(self, view: View, t: Tensor, shape: Sequence[int], at: BatchAxis, rule: str) -> Tensor | None:
        tap = operations.broadcast(view, shape, self.n, at, t, rule)
        if tap is None:
            return None
        self.found.append((view.name, tap))
        return t + tap.leaf

    def _tapped(self, out: Any) -> Any:
        """The result, followed, or with a leaf added, or given up."""
        results = list(tensors_in(out))
        if functions.overwrites(self.func) and self.uses.view(self.args[0]) is not None:
            self._give_up()  # a view is overwritten: what it shows is no longer the parameter
            return out
        if not any(t.is_floating_point() or t.is_complex() for t in results):
            return out  # a size, a flag, a comparison
        if not self.axes:
            self._give_up()
            return out
        batched = any(axis is not None for axis in self.axes[len(self.operands) :])
        if not batched:
            if not self.uses.follow(self.func, self.args, self.kwargs, self.held, out):
                self._give_up()
            return out
        if isinstance(out, Tensor) and out.is_floating_point():
            # One zero, seen as many: no memory. (A tensor that requires a gradient by a keyword may be made anywhere.)
            zero = torch.zeros((), dtype=out.dtype, device=out.device, requires_grad=True)
            leaf = zero.expand(out.shape)
            at = self.axes[-1]
            found = None if at is None else self._rule(leaf, at)
            if found:
                self.found = found
                return out + leaf
        self._give_up()
        return out

    def _rule(self, leaf: Tensor, at: BatchAxis) -> list[tuple[str, ParameterTap]] | None:
        """Taps of an operation whose result, of leaf's shape, has the batch at ``at``."""
        if self.func == F.linear or self.func in functions.ADDMM or self.func == F.bilinear:
            return self._affine(leaf, at)
        if self.func in convolution.PLAIN or self.func in convolution.TRANSPOSED:
            given = dict(zip(("input", "weight", "bias"), self.args, strict=False)) | self.kwargs
            views = {k: v for k in ("input", "weight", "bias") if (v := self.uses.view(given.get(k))) is not None}
            return convolution.taps(self.func, self.args, self.kwargs, views, leaf, self.n, at)
        if len(self.held) != 1:
            return None
        view = self.uses.view(self.held[0])
        assert view is not None
        taps = self._one(view, self.held[0], leaf, at)
        return [(view.name, tap) for tap in taps or ()]

    def _affine(self, leaf: Tensor, at: BatchAxis) -> list[tuple[str, ParameterTap]] | None:
        """Taps of F.linear, addmm and F.bilinear: weight, bias, or both."""
        names = ("input1", "input2", "weight", "bias") if self.func == F.bilinear else ("input", "weight", "bias")
        names = ("bias", "input", "weight") if self.func in functions.ADDMM else names
        given = dict(zip(names, self.args, strict=False)) | self.kwargs
        if set(given) - set(names):
            return None  # multiples (alpha, beta) in addmm
        inputs = [given[name] for name in names if name.startswith("input")]
        if any(self.uses.view(x) is not None or self._at(x) is None for x in inputs):
            return None
        x, at_x = inputs[0], self._at(inputs[0])
        assert at_x is not None
        found: list[tuple[str, ParameterTap]] = []
        view = self.uses.view(given["weight"])
        if view is not None:
            if self.func == F.bilinear:
                x = (inputs[0].unsqueeze(-1) * inputs[1].unsqueeze(-2)).flatten(-2)
                view = View(view.name, view.positions.flatten(1), view.scale)
            elif self.func in functions.ADDMM:
                view = View(view.name, view.positions.T, view.scale)
            taps = operations.linear(view, x, leaf, self.n, at_x)
            if taps is None:
                return None
            found += [(view.name, tap) for tap in taps]
        view = self.uses.view(given.get("bias"))
        if view is not None:
            if view.positions.ndim != 1 or view.positions.shape[0] != leaf.shape[-1] or at.axis == leaf.ndim - 1:
                return None
            found.append((view.name, operations.along(view, leaf, self.n, at, leaf.ndim - 1, "bias")))
        return found

    def _one(self, view: View, held: Tensor, leaf: Tensor, at: BatchAxis) -> list[ParameterTap] | None:
        """Taps of an operation with one parameter among its operands."""
        func, args, n = self.func, self.args, self.n
        if func in functions.COPIES and args[0] is held:
            moved = self.uses.moved(func, args, self.kwargs, view)
            tap = operations.copies(view, moved[0], leaf, n, at, func.__name__) if moved else None
            return None if tap is None else [tap]
        if func in (F.embedding, F.embedding_bag):
            given = lookup.arguments(func, args, self.kwargs)
            if given is None or given["weight"] is not held or view.positions.ndim != 2:
                return None
            at_ids = self._at(given["input"])
            if at_ids is None:
                return None
            tap = (lookup.embedding if func == F.embedding else lookup.bag)(view, given, leaf, n, at_ids)
            return None if tap is None else [tap]
        if self.kwargs:
            return None
        if func == torch.einsum and any(a is held for a in args):
            where = next(i for i, a in enumerate(args) if a is held)
            at_x = self._at(args[3 - where]) if len(args) == 3 and isinstance(args[3 - where], Tensor) else None
            return None if at_x is None else operations.einsum(view, args, where, leaf, n, at_x)
        if func == functions.GETITEM and args[0] is held:
            return self._index(view, args[1], leaf)
        if func in functions.SELECT and len(args) == 3 and args[0] is held:
            return self._index(view, (*[slice(None)] * (args[1] % view.positions.ndim), args[2]), leaf)
        if func in functions.MATMUL | functions.MATMUL_REVERSED and len(args) == 2:
            first = args[0] is held
            other = args[1] if first else args[0]
            at_x = self._at(other)
            if at_x is not None:
                return operations.matmul(view, other, leaf, n, at_x, view_first=first is (func in functions.MATMUL))
        return None

    def _index(self, view: View, key: Any, leaf: Tensor) -> list[ParameterTap] | None:
        """Taps of ``view[key]`` if the key is one batch of ids with full slices around."""
        keys = key if isinstance(key, tuple) else (key,)
        ids = [k for k in keys if isinstance(k, Tensor)]
        if len(ids) != 1 or ids[0].is_floating_point() or ids[0].dtype == torch.bool:
            return None
        where = next(i for i, k in enumerate(keys) if k is ids[0])
        others = [k for k in keys if k is not ids[0]]
        at = self._at(ids[0])
        if at is None or any(k is not Ellipsis and k != slice(None) for k in others):
            return None
        if Ellipsis in others and where > others.index(Ellipsis):
            where += view.positions.ndim - len(keys)
        return operations.index(view, where, ids[0], leaf, self.n, at)
