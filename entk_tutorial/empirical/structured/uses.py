r"""What has a rule: products of layer inputs and output cotangents in place of per-example Jacobians.

A watcher sees every torch operation of a forward pass, in layers of ``torch.nn`` and outside. An operation that makes a
view of a parameter (a transpose, a slice, a reshape, a multiple by a number) is followed by doing the same to the
positions of its entries. One that has a rule is tapped. Any other sends the parameter the general way, alone. A run on
two examples and one on three tell which axis of each operation's result is the batch.

==============================================  ==================================================================
by rule                                         how
==============================================  ==================================================================
Linear, ``F.linear``, ``@``, ``matmul``,        tokens: inputs times cotangents; the batch on any axis, or folded
``einsum`` of two operands, ``addmm``,          with another
Bilinear
Embedding, EmbeddingBag (sum, mean),            tokens: equality of ids; padding rows get no gradient
indexing and ``index_select`` by ids
Conv1d to Conv3d, transposed too: stride,       patches are tokens; each group its own block, many groups
padding and its modes, dilation, groups         (depthwise) written down
LayerNorm, GroupNorm, RMSNorm, InstanceNorm,    a copy of the parameter for each example
BatchNorm in eval mode, PReLU
sums, products, quotients, powers, ``where``,   likewise, also in place; broadcast over any axes
``lerp``, ``maximum`` ... with a batch
``expand``, ``repeat`` to the batch             likewise (class tokens, learned queries)
MultiheadAttention, TransformerEncoderLayer     step by step: packed or separate projections, ``bias_k``, ``bias_v``,
and the like                                    masks, ``batch_first`` or not; ``scaled_dot_product_attention`` has no
                                                parameters
a weight used twice, tied, transposed, sliced   tokens side by side, or gradients written down where they overlap;
                                                cross terms included
==============================================  ==================================================================

The general way takes what is a function of a parameter alone (weight norm, spectral norm, ``softmax(w)``, products and
concatenations of weights), recurrent layers (RNN, GRU, LSTM and their cells), EmbeddingBag by maximum, complex and cast
parameters, operands without a batch (learned queries that are not expanded), and code that torch operations do not show
(``torch.jit``, an own ``autograd.Function``).

Nothing is taken on trust. Up to eight examples are compared with autograd one by one before a rule is used, and each
tile once as a whole; what does not agree goes the general way with a warning.
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

from entk_tutorial.empirical.structured import functions, lookup
from entk_tutorial.empirical.structured.batch import (
    BatchAxis,
    UnclearBatchError,
    UnseenError,
    batch_axis,
    tensors_in,
)
from entk_tutorial.empirical.structured.composite import COMPOSITE, opened
from entk_tutorial.empirical.structured.joint import joint_groups as joint_groups
from entk_tutorial.empirical.structured.tapping import Operation
from entk_tutorial.empirical.structured.taps import ParameterTap, Tap, View


@dataclass(frozen=True)
class Seen:
    """One operation with a parameter in a run on few examples: the function, its operands, its results."""

    func: Callable[..., Any]
    operands: tuple[Tensor, ...]
    results: tuple[Tensor, ...]


@dataclass(frozen=True)
class Layout:
    """Where an operation has its batch axes.

    Attributes:
        func: the function.
        shapes: of the operands on two examples.
        axes: of the operands, then of the results.
        unclear: why there are none.
    """

    func: Callable[..., Any] | None = None
    shapes: tuple[tuple[int, ...], ...] = ()
    axes: tuple[BatchAxis | None, ...] = ()
    unclear: str = ""


Layouts = dict[int, Layout]
"""By the number of the operation; what gave no tensor with few examples is missing."""


def views_of(params: dict[str, Tensor]) -> dict[str, View]:
    """Each parameter as a view of itself."""
    return {n: View(n, torch.arange(p.numel(), device=p.device).reshape(p.shape)) for n, p in params.items()}


def layouts(two: dict[int, Seen], three: dict[int, Seen]) -> Layouts:
    """What a run on two examples and one on three tell. No tensor is kept."""
    return {number: _layout(two.get(number), three.get(number)) for number in sorted({*two, *three})}


def _layout(two: Seen | None, three: Seen | None) -> Layout:
    if two is None or three is None or two.func != three.func:
        return Layout(unclear="another operation than with fewer examples")
    if len(two.operands) != len(three.operands) or len(two.results) != len(three.results):
        return Layout(unclear="other operands than with fewer examples")
    pairs = zip((*two.operands, *two.results), (*three.operands, *three.results), strict=True)
    try:
        axes = tuple(batch_axis(a, b) for a, b in pairs)
    except UnclearBatchError as error:
        return Layout(unclear=str(error))
    return Layout(two.func, tuple(tuple(t.shape) for t in two.operands), axes)


class ParameterUses(TorchFunctionMode):
    """Context in which a model runs once: taps for the parameters in ``params``, ``broken`` for those without rule.

    Args:
        params: name -> the tensor that the model uses.
        n: examples in the batch.
        known: what two and three examples told. Without it nothing is tapped, only seen.
        views: of all of ``params``, where they were made before.

    Attributes:
        taps: by parameter name.
        broken: names whose use has no rule.
        seen: operations with parameters, by number.
    """

    def __init__(
        self, params: dict[str, Tensor], n: int, known: Layouts | None = None, views: dict[str, View] | None = None
    ) -> None:
        super().__init__()
        self.n, self._known = n, known
        self.taps: dict[str, list[Tap]] = {}
        self.broken: set[str] = set()
        self.seen: dict[int, Seen] = {}
        self._numbers = itertools.count()
        whole = views_of(params) if views is None else views
        self._views = {id(p): whole[name] for name, p in params.items()}
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
        if not held or func in functions.CONSTANT or not torch.is_grad_enabled():
            return func(*args, **kwargs)  # nothing to differentiate
        if func in functions.CASTS and not any(args[0] is t for t in held):
            return func(*args, **kwargs)  # only the dtype of the parameter is used
        if self._known is None:
            return self._look(number, func, args, kwargs, operands)
        return Operation(self, number, func, args, kwargs, operands, held).run()

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
        assert self._known is not None
        layout = self._known.get(number)
        if layout is None:
            raise UnseenError("no tensor came out with fewer examples")
        if layout.unclear:
            raise UnclearBatchError(layout.unclear)
        if layout.func != func:
            raise UnclearBatchError("another operation than with fewer examples")
        if len(layout.shapes) != len(operands):
            raise UnclearBatchError("other operands than with fewer examples")
        for few, axis, t in zip(layout.shapes, layout.axes, operands, strict=False):
            shape = list(few)
            if axis is not None:
                shape[axis.axis] = self.n * axis.times
            if tuple(shape) != tuple(t.shape):
                raise UnclearBatchError("other shapes than with fewer examples")
        return list(layout.axes)

    def follow(
        self, func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], held: list[Tensor], out: Any
    ) -> bool:
        """Whether the result is a view of one parameter (or a multiple of it) that can be followed."""
        if len(held) != 1 or not args:
            return False
        view = self._views[id(held[0])]
        if func in functions.NEG or (func in functions.MUL | functions.DIV and len(args) == 2 and not kwargs):
            number = -1.0 if func in functions.NEG else args[1] if args[0] is held[0] else args[0]
            if not isinstance(number, Real) or (func in functions.DIV and args[0] is not held[0]):
                return False
            factor = 1 / float(number) if func in functions.DIV else float(number)
            self.keep(out, View(view.name, view.positions, view.scale * factor))
            return True
        if func == F.embedding:
            given = lookup.arguments(func, args, kwargs)
            if given is None or given["weight"] is not held[0] or given.get("padding_idx") is not None:
                return False
            self.keep(out, View(view.name, view.positions[given["input"]], view.scale))
            return True
        if args[0] is not held[0] or not (
            func in functions.VIEWS or func == functions.GETITEM or func in functions.SELECT
        ):
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


def described(taps: Iterable[Tap]) -> str:
    """The rules of a parameter's taps in words, in the order of its uses; ``"unused"`` if there are none."""
    return " + ".join(tap.rule for tap in taps if isinstance(tap, ParameterTap)) or "unused"
