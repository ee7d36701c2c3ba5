"""Watches what a model does with its parameters, and taps the operations that have a rule.

The watcher sees every torch operation of a forward pass, in layers of ``torch.nn`` and outside. One that makes a view
of a parameter (a transpose, a slice, a reshape, a multiple by a number) is followed by doing the same to the positions
of its entries. One that has a rule is tapped. Any other sends the parameter the general way. A run on two examples and
one on three tell which axis of each operation's result is the batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor
from torch.overrides import TorchFunctionMode

from entk_tutorial.empirical.structured import convolution, lookup, normalisation, operations
from entk_tutorial.empirical.structured.batch import BatchAxis, UnclearBatchError, batch_axis
from entk_tutorial.empirical.structured.composite import COMPOSITE, opened
from entk_tutorial.empirical.structured.taps import ParameterTap, Tap, View


def _named(*names: str) -> frozenset[Any]:
    """Functions of torch and methods of tensors with these names."""
    return frozenset(getattr(home, name) for name in names for home in (torch, torch.Tensor) if hasattr(home, name))


_COPIES = _named("expand", "expand_as", "repeat", "tile", "broadcast_to", "repeat_interleave")
_VIEWS = _COPIES | _named(
    "transpose", "t", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "reshape", "flatten", "unflatten",
    "unsqueeze", "squeeze", "narrow", "select", "unbind", "chunk", "split", "tensor_split", "clone", "view",
    "contiguous", "view_as", "reshape_as", "ravel", "diagonal", "flip", "roll",
) | {getattr(torch.Tensor, name).__get__ for name in ("T", "mT", "H", "mH")}  # fmt: skip
_GETITEM = torch.Tensor.__getitem__
_SELECT = _named("index_select")
_MATMUL = _named("matmul", "mm", "__matmul__", "mv")
_MATMUL_REVERSED = _named("__rmatmul__")
_ADDMM = _named("addmm")
_NEG = _named("neg", "negative", "__neg__")
_MUL = _named("mul", "multiply", "__mul__", "__rmul__")
_DIV = _named("div", "divide", "true_divide", "__truediv__")
_ELEMENTWISE = _MUL | _DIV | _named(
    "add", "__add__", "__radd__", "sub", "subtract", "__sub__", "__rsub__", "rsub", "__rtruediv__", "__rdiv__",
    "pow", "__pow__", "__rpow__", "float_power", "maximum", "minimum", "fmax", "fmin", "where", "lerp", "addcmul",
    "addcdiv", "atan2", "hypot", "logaddexp", "xlogy", "fmod", "remainder",
)  # fmt: skip
_IN_PLACE = _named(
    "add_", "__iadd__", "sub_", "__isub__", "mul_", "__imul__", "div_", "__itruediv__", "pow_", "__ipow__", "lerp_",
)  # fmt: skip
_CONSTANT = _named(
    "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "full_like", "new_zeros", "new_ones",
    "new_tensor", "new_empty", "new_full",
)  # fmt: skip
_ROUTING = _named(
    "sort", "argsort", "topk", "nonzero", "unique", "unique_consecutive", "masked_select", "item", "tolist", "__bool__",
    "__int__", "__float__", "__index__", "numpy", "gather", "take", "take_along_dim", "index_select", "index_add",
    "index_add_", "scatter", "scatter_", "scatter_add", "scatter_add_", "index_put", "index_put_", "equal", "allclose",
)  # fmt: skip


def tensors_in(value: Any) -> Iterable[Tensor]:
    """Tensors anywhere in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))


def _replaced(value: Any, new: dict[int, Tensor]) -> Any:
    """``value`` with tensors exchanged by identity, in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        return new.get(id(value), value)
    if isinstance(value, tuple | list):
        return type(value)(_replaced(part, new) for part in value)
    if isinstance(value, dict):
        return {key: _replaced(part, new) for key, part in value.items()}
    return value


def _by_tensor_key(key: Any) -> bool:
    return any(True for _ in tensors_in(key))


@dataclass(frozen=True)
class Seen:
    """One operation with a parameter in a run on few examples: the function, its operands, its results."""

    func: Callable[..., Any]
    operands: tuple[Tensor, ...]
    results: tuple[Tensor, ...]


Runs = tuple[dict[int, Seen], dict[int, Seen]]
"""What was seen with two and with three examples, by the number of the operation."""


class ParameterUses(TorchFunctionMode):
    """Context in which a model runs once: taps for the parameters in ``params``, ``broken`` for those without rule.

    Args:
        params: name -> the tensor that the model uses.
        n: examples in the batch.
        runs: what :meth:`seen` was on two and on three examples. Without it nothing is tapped, only seen.

    Attributes:
        taps: by parameter name.
        broken: names whose use has no rule.
        seen: operations with parameters, by number.
        routes: whether values decided where data go (sorting, branches, gathering): then one batch says nothing about
            the next.
    """

    def __init__(self, params: dict[str, Tensor], n: int, runs: Runs | None = None) -> None:
        super().__init__()
        self.n, self._runs = n, runs
        self.taps: dict[str, list[Tap]] = {}
        self.broken: set[str] = set()
        self.seen: dict[int, Seen] = {}
        self.routes = False
        self._numbers = itertools.count()
        self._views = {
            id(p): View(name, torch.arange(p.numel(), device=p.device).reshape(p.shape)) for name, p in params.items()
        }
        self._alive: list[Tensor] = list(params.values())  # an address is only a name while its tensor lives

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the operation; follow, tap or give up the parameters among its operands."""
        kwargs = kwargs or {}
        number = next(self._numbers)
        if func in COMPOSITE:
            with self:
                return opened(func)(*args, **kwargs)
        operands = tuple(tensors_in((args, kwargs)))
        held = [t for t in operands if id(t) in self._views]
        if not held:
            self.routes |= func in _ROUTING or (func == _GETITEM and _by_tensor_key(args[1]))
            return func(*args, **kwargs)
        if func in _CONSTANT:
            return func(*args, **kwargs)
        if self._runs is None:
            return self._look(number, func, args, kwargs, operands)
        return _Operation(self, number, func, args, kwargs, operands, held).run()

    def _look(
        self, number: int, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], operands: Any
    ) -> Any:
        """Run, remember what went in and came out, follow views."""
        out = func(*args, **kwargs)
        results = tuple(tensors_in(out))
        if results:
            self.seen[number] = Seen(func, operands, results)
            held = [t for t in operands if id(t) in self._views]
            self.follow(func, args, kwargs, held, out)
        return out

    def view(self, tensor: Any) -> View | None:
        """Which parameter a tensor shows; None for any other tensor."""
        return self._views.get(id(tensor))

    def keep(self, tensor: Tensor, view: View) -> None:
        """Remember what a new tensor shows."""
        self._views[id(tensor)] = view
        self._alive.append(tensor)

    def batch_axes(self, number: int, func: Callable[..., Any], operands: Sequence[Tensor]) -> list[BatchAxis | None]:
        """Batch axes of the operands, then of the results, of an operation."""
        assert self._runs is not None
        two, three = (run.get(number) for run in self._runs)
        if two is None or three is None or not two.func == three.func == func:
            raise UnclearBatchError("another operation than with fewer examples")
        if not len(two.operands) == len(three.operands) == len(operands) or len(two.results) != len(three.results):
            raise UnclearBatchError("other operands than with fewer examples")
        pairs = zip((*two.operands, *two.results), (*three.operands, *three.results), strict=True)
        axes = [batch_axis(a, b) for a, b in pairs]
        for a, axis, t in zip(two.operands, axes, operands, strict=False):
            shape = list(a.shape)
            if axis is not None:
                shape[axis.axis] = self.n * axis.times
            if tuple(shape) != tuple(t.shape):
                raise UnclearBatchError("other shapes than with fewer examples")
        return axes

    def follow(
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
            self.keep(out, View(view.name, view.positions, view.scale * factor))
            return True
        if func == F.embedding:
            given = lookup.arguments(func, args, kwargs)
            if given is None or given["weight"] is not held[0] or given.get("padding_idx") is not None:
                return False
            self.keep(out, View(view.name, view.positions[given["input"]], view.scale))
            return True
        if args[0] is not held[0] or not (func in _VIEWS or func == _GETITEM or func in _SELECT):
            return False
        moved = self.moved(func, args, kwargs, view)
        results = list(tensors_in(out))
        if moved is None or [t.shape for t in results] != [p.shape for p in moved]:
            return False
        if any(t.dtype != held[0].dtype for t in results):
            return False  # for example view(dtype)
        for tensor, where in zip(results, moved, strict=True):
            self.keep(tensor, View(view.name, where, view.scale))
        return True

    @staticmethod
    def moved(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], view: View) -> list[Tensor] | None:
        """The positions after the operation; None if it cannot be done to positions."""
        try:
            return list(tensors_in(func(view.positions, *args[1:], **kwargs)))
        except (RuntimeError, TypeError, IndexError):
            return None


class _Operation:
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
        except UnclearBatchError:
            out = self.func(*self.args, **self.kwargs)
            if any(True for _ in tensors_in(out)):
                self._give_up()
            return out
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
        elif self.func in _ELEMENTWISE or (self.func in _IN_PLACE and self.uses.view(self.args[0]) is None):
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
        if not results:
            return out  # a size or a flag
        batched = any(axis is not None for axis in self.axes[len(self.operands) :])
        if not batched:
            if not self.uses.follow(self.func, self.args, self.kwargs, self.held, out):
                self._give_up()
            return out
        if isinstance(out, Tensor) and out.is_floating_point():
            leaf = torch.zeros_like(out, requires_grad=True)
            at = self.axes[-1]
            found = None if at is None else self._rule(leaf, at)
            if found:
                self.found = found
                return out + leaf
        self._give_up()
        return out

    def _rule(self, leaf: Tensor, at: BatchAxis) -> list[tuple[str, ParameterTap]] | None:
        """Taps of an operation whose result, of leaf's shape, has the batch at ``at``."""
        if self.func == F.linear or self.func in _ADDMM or self.func == F.bilinear:
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
        names = ("bias", "input", "weight") if self.func in _ADDMM else names
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
            elif self.func in _ADDMM:
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
        if func in _COPIES and args[0] is held:
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
        if func == _GETITEM and args[0] is held:
            return self._index(view, args[1], leaf)
        if func in _SELECT and len(args) == 3 and args[0] is held:
            return self._index(view, (*[slice(None)] * (args[1] % view.positions.ndim), args[2]), leaf)
        if func in _MATMUL | _MATMUL_REVERSED and len(args) == 2:
            first = args[0] is held
            other = args[1] if first else args[0]
            at_x = self._at(other)
            if at_x is not None:
                return operations.matmul(view, other, leaf, n, at_x, view_first=first is (func in _MATMUL))
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


def described(taps: Iterable[Tap]) -> str:
    """The rules of a parameter's taps in words, in the order of its uses; ``"unused"`` if there are none."""
    return " + ".join(tap.rule for tap in taps if isinstance(tap, ParameterTap)) or "unused"
