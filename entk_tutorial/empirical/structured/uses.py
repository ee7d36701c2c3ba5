"""Watches what a model does with its bare parameters, and taps the operations that have a rule.

Modules can be hooked; a parameter that a model multiplies by hand can only be seen in the operation. The watcher sees
every torch operation of a forward pass. One that makes a view of a parameter (a transpose, a slice, a reshape, a
multiple by a number) is followed by doing the same to the positions of its entries. One that has a rule is tapped. Any
other sends the parameter the general way, and so does a combination of taps whose cross terms no rule gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor
from torch.overrides import TorchFunctionMode

from entk_tutorial.empirical.structured import operations
from entk_tutorial.empirical.structured.operations import ParameterTap, View
from entk_tutorial.empirical.structured.taps import Tap

_VIEWS = {
    getattr(home, name)
    for name in (
        "transpose", "t", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "reshape", "flatten", "unflatten",
        "unsqueeze", "squeeze", "narrow", "select", "unbind", "chunk", "split", "clone", "view", "contiguous", "expand",
        "view_as", "reshape_as", "expand_as",
    )
    for home in (torch, torch.Tensor)
    if hasattr(home, name)
} | {getattr(torch.Tensor, name).__get__ for name in ("T", "mT")}  # fmt: skip
_GETITEM = torch.Tensor.__getitem__
_EMBEDDING = F.embedding
_SELECT = {torch.index_select, torch.Tensor.index_select}
_MATMUL = {torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.Tensor.mm}
_MATMUL_REVERSED = {torch.Tensor.__rmatmul__}
_ADD = {torch.add, torch.Tensor.add, torch.Tensor.__add__, torch.Tensor.__radd__}
_SUB = {torch.sub, torch.Tensor.sub, torch.Tensor.__sub__}
_RSUB = {torch.Tensor.__rsub__, torch.rsub}
_MUL = {torch.mul, torch.Tensor.mul, torch.Tensor.__mul__, torch.Tensor.__rmul__}
_DIV = {torch.div, torch.Tensor.div, torch.Tensor.__truediv__}
_NEG = {torch.neg, torch.Tensor.neg, torch.Tensor.__neg__}
_CONSTANT = {
    torch.zeros_like, torch.ones_like, torch.empty_like, torch.Tensor.new_zeros, torch.Tensor.new_ones,
    torch.Tensor.new_tensor, torch.Tensor.new_empty, torch.Tensor.new_full,
}  # fmt: skip


def _tensors(value: Any) -> Iterable[Tensor]:
    """Tensors anywhere in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


class ParameterUses(TorchFunctionMode):
    """Context in which a model runs once: taps for the parameters in ``params``, ``broken`` for those without rule.

    Args:
        params: name -> the tensor that the model uses.
        n: examples in the batch.
        taps: filled with taps by parameter name.
        broken: filled with names whose use has no rule.
        by_ids: parameters that are indexed by a batch of ids; None if not known yet. A batch of one example and a row
            of positions look the same.
    """

    def __init__(
        self,
        params: dict[str, Tensor],
        n: int,
        taps: dict[str, list[Tap]],
        broken: set[str],
        by_ids: frozenset[str] | None = None,
    ) -> None:
        super().__init__()
        self.n, self.taps, self.broken, self.by_ids = n, taps, broken, by_ids
        self._views = {
            id(p): View(name, torch.arange(p.numel(), device=p.device).reshape(p.shape)) for name, p in params.items()
        }
        self._alive: list[Tensor] = list(params.values())  # an address is only a name while its tensor lives

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation; follow, tap or give up the parameters among its operands."""
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        held = [t for t in _tensors((args, kwargs)) if id(t) in self._views]
        if not held or not any(True for _ in _tensors(out)) or func in _CONSTANT:
            return out
        followed = self._follow(func, args, kwargs, held, out)
        if followed:
            return out
        tapped = self._tap(func, args, kwargs, held, out)
        if tapped is not None:
            return tapped
        self.broken.update(self._views[id(t)].name for t in held)
        return out

    def _keep(self, tensor: Tensor, view: View) -> None:
        self._views[id(tensor)] = view
        self._alive.append(tensor)

    def _follow(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], held: list[Tensor], out: Any
    ) -> bool:
        """Whether the result is a view of one parameter (or a multiple of it) that can be followed."""
        if len(held) != 1 or not args:
            return False
        view = self._views[id(held[0])]
        if func in _NEG or (func in _MUL | _DIV and len(args) == 2 and not kwargs):
            number = -1.0 if func in _NEG else args[1] if args[0] is held[0] else args[0]
            if not isinstance(number, Real) or (func in _DIV and args[0] is not held[0]):
                return False
            factor = 1 / float(number) if func in _DIV else float(number)
            self._keep(out, View(view.name, view.positions, view.scale * factor))
            return True
        is_index = (func == _GETITEM and self._batch_index(view, args[1]) is None) or (
            func in _SELECT and len(args) == 3 and self._batch_index(view, (..., args[2])) is None
        )
        if args[0] is not held[0] or not (func in _VIEWS or is_index):
            return False
        try:
            moved = func(view.positions, *args[1:], **kwargs)
        except (RuntimeError, TypeError, IndexError):
            return False
        tensors, positions = list(_tensors(out)), list(_tensors(moved))
        if [t.shape for t in tensors] != [p.shape for p in positions] or any(t.dtype != held[0].dtype for t in tensors):
            return False  # for example view(dtype)
        for tensor, where in zip(tensors, positions, strict=True):
            self._keep(tensor, View(view.name, where, view.scale))
        return True

    def _batch_index(self, view: View, key: Any) -> tuple[int, Tensor] | None:
        """Axis and ids of ``view[key]`` if it is one batch of ids with full slices around; None for anything else."""
        keys = key if isinstance(key, tuple) else (key,)
        ids = [k for k in keys if isinstance(k, Tensor)]
        if len(ids) != 1 or ids[0].is_floating_point() or ids[0].dtype == torch.bool or ids[0].ndim == 0:
            return None
        if ids[0].shape[0] != self.n or (self.by_ids is not None and view.name not in self.by_ids):
            return None
        where = next(i for i, k in enumerate(keys) if k is ids[0])
        others = [k for k in keys if k is not ids[0]]
        if any(k is not Ellipsis and k != slice(None) for k in others):
            return None
        if Ellipsis in others and where > others.index(Ellipsis):
            where += view.positions.ndim - len(keys)
        return where, ids[0]

    def _tap(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], held: list[Tensor], out: Any
    ) -> Tensor | None:
        """The result with a leaf added, if the operation has a rule; the taps are then recorded."""
        if not isinstance(out, Tensor) or not out.is_floating_point():
            return None
        leaf = torch.zeros_like(out, requires_grad=True)
        if func == F.linear:
            found = self._linear(args, kwargs, leaf)
        elif len(held) != 1:
            return None
        else:
            found = self._one(func, args, kwargs, held[0], leaf)
        if not found:
            return None
        for name, tap in found:
            self.taps.setdefault(name, []).append(tap)
        return out + leaf

    def _linear(self, args: Sequence[Any], kwargs: dict[str, Any], leaf: Tensor) -> list[tuple[str, ParameterTap]]:
        """Taps of F.linear: weight, bias, or both."""
        given = dict(zip(("input", "weight", "bias"), args, strict=False)) | kwargs
        x, found = given["input"], []
        if id(x) in self._views:
            return []
        for part in ("weight", "bias"):
            view = self._views.get(id(given.get(part)))
            if view is None:
                continue
            if part == "weight":
                taps = operations.linear(view, x, leaf, self.n)
            else:
                taps = operations.elementwise(view, None, leaf, self.n, rule="bias")
            if taps is None:
                return []
            found += [(view.name, tap) for tap in taps]
        return found

    def _one(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], held: Tensor, leaf: Tensor
    ) -> list[tuple[str, ParameterTap]]:
        """Taps of an operation with one parameter among its operands."""
        view, n = self._views[id(held)], self.n
        taps: list[ParameterTap] | None = None
        if func == torch.einsum and not kwargs and any(a is held for a in args):
            taps = operations.einsum(view, args, next(i for i, a in enumerate(args) if a is held), leaf, n)
        elif func == _GETITEM:
            found = self._batch_index(view, args[1])
            taps = found and operations.index(view, *found, leaf, n)
        elif func in (_EMBEDDING, *_SELECT):
            taps = self._lookup(func, args, kwargs, held, leaf)
        elif len(args) == 2 and not kwargs:
            first = args[0] is held
            other = args[1] if first else args[0]
            if func in _MATMUL | _MATMUL_REVERSED and isinstance(other, Tensor):
                taps = operations.matmul(view, other, leaf, n, view_first=first is (func in _MATMUL))
            elif func in _MUL and isinstance(other, Tensor):
                taps = operations.elementwise(view, other, leaf, n, rule="mul")
            elif func in _ADD:
                taps = operations.elementwise(view, None, leaf, n, rule="add")
            elif func in _SUB | _RSUB:
                sign = 1.0 if first is (func in _SUB) else -1.0
                taps = operations.elementwise(view, None, leaf, n, sign=sign, rule="sub")
        return [(view.name, tap) for tap in taps or ()]

    def _lookup(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], held: Tensor, leaf: Tensor
    ) -> list[ParameterTap] | None:
        """Taps of F.embedding and index_select with a batch of ids."""
        view = self._views[id(held)]
        if func == _EMBEDDING:
            names = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
            given = dict(zip(names, args, strict=False)) | kwargs
            ids, axis = given["input"], 0
            special = given.get("padding_idx") is not None or given.get("max_norm") is not None
            if special or given.get("scale_grad_by_freq") or given["weight"] is not held:
                return None
        else:
            if len(args) != 3 or kwargs or args[0] is not held:
                return None
            axis, ids = args[1] % view.positions.ndim, args[2]
        key = (*[slice(None)] * axis, ids)
        found = self._batch_index(view, key)
        return found and operations.index(view, *found, leaf, self.n)


def described(taps: Iterable[Tap]) -> str:
    """The rules of a parameter's taps in words, in the order of its uses."""
    return " + ".join(tap.rule for tap in taps if isinstance(tap, ParameterTap))


def joint_groups(taps: Sequence[ParameterTap], size: int) -> list[list[int]] | None:
    """Which taps share their tokens; None where cross terms between taps would be lost.

    Taps of one kind on the same entries of the parameter are one group: their tokens are put side by side, and cross
    terms come by themselves. Taps on different entries have none. Anything else would need the gradients written down.
    """
    groups: list[list[int]] = []
    for i, tap in enumerate(taps):
        for group in groups:
            first = taps[group[0]]
            same = first.positions.shape == tap.positions.shape and torch.equal(first.positions, tap.positions)
            if first.kind == tap.kind and (tap.kind == "bias" or same):
                group.append(i)
                break
        else:
            groups.append([i])
    count = torch.zeros(size, dtype=torch.long, device=taps[0].positions.device if taps else None)
    for group in groups:
        of_group = [taps[group[0]].positions] if taps[group[0]].kind != "bias" else [taps[i].positions for i in group]
        where = torch.cat([p.reshape(-1) for p in of_group])
        count += torch.bincount(where.unique() if taps[group[0]].kind == "bias" else where, minlength=size)
    return groups if size == 0 or int(count.max()) <= 1 else None
