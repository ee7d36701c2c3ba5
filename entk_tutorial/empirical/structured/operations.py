r"""What one operation does with a parameter: taps for contractions, lookups, and element by element.

All of these are linear in the parameter, so its gradient follows from the cotangent of the result and the other
operand. A contraction splits the parameter's axes: those that the result has (O), those that are summed against the
other operand (I), and those that both have (H, one block each). The gradient of a block is then
:math:`\sum_t g_t x_t^\top` of size (O, I), as for a linear layer. Indexing with a batch of ids is an embedding; adding,
or combining element by element, gives the gradient at once, summed over the axes that were broadcast.
"""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from entk_tutorial.empirical.structured.batch import BatchAxis
from entk_tutorial.empirical.structured.taps import ParameterTap, View, direct

_MOST_BLOCKS = 64
"""More blocks than this (H above) cost more by rule than they save."""


def contraction(
    view: View, x: Tensor, w: str, x_axes: str, y: str, leaf: Tensor, n: int, at: BatchAxis, rule: str | None = None
) -> list[ParameterTap] | None:
    """Taps of ``einsum("w,x->y", view, x)``, a letter an axis; None if there is no rule.

    ``at`` is the batch axis of x; ``leaf`` has the shape of the result.
    """
    batch = x_axes[at.axis]
    repeated = any(len(set(term)) < len(term) for term in (w, x_axes, y))
    if repeated or batch in w or batch not in y or x.shape[at.axis] != n * at.times:
        return None
    if (set(w) | set(x_axes)) != set(w) & set(x_axes) | set(y):
        return None  # an axis of one operand that is summed away
    sizes = dict(zip(w, view.positions.shape, strict=True))
    if any(sizes.get(a, size) != size for a, size in zip(x_axes, x.shape, strict=True)):
        return None  # einsum broadcasts axes of size 1
    words = f"{rule or f'einsum {w},{x_axes}->{y}'}{at}"
    at_y = BatchAxis(y.index(batch), at.times, at.minor)
    sizes |= dict(zip(x_axes, x.shape, strict=True))
    x_rest, y_rest = x_axes.replace(batch, ""), y.replace(batch, "")
    tokens = [a for a in x_rest if a not in w]
    inner = [a for a in w if a in x_rest and a not in y]
    blocks = [a for a in w if a in x_rest and a in y]
    outer = [a for a in w if a not in x_rest]
    t, i, h, o = (math.prod(sizes[a] for a in axes) for axes in (tokens, inner, blocks, outer))
    t *= at.times
    if h > _MOST_BLOCKS:
        return None
    order_x = [0, 1, *(2 + x_rest.index(a) for a in [*tokens, *blocks, *inner])]
    source = at.front(x.detach(), n).permute(order_x).reshape(n, t, h, i)
    positions = view.positions.permute([w.index(a) for a in [*blocks, *outer, *inner]]).reshape(h, o, i)
    order = [0, 1, *(2 + y_rest.index(a) for a in [*tokens, *blocks, *outer])]

    def tap(block: int) -> ParameterTap:
        def arrange(g: Tensor) -> Tensor:
            return view.scaled(at_y.front(g, n).permute(order).reshape(n, t, h, o)[:, :, block])

        kept = source[:, :, block].clone()  # the model may overwrite its operand before we use it
        return ParameterTap("linear", kept, leaf, positions=positions[block], arrange=arrange, rule=words)

    return [tap(block) for block in range(h)]


def einsum(
    view: View, args: Sequence[Any], held: int, leaf: Tensor, n: int, at: BatchAxis
) -> list[ParameterTap] | None:
    """Taps of ``torch.einsum(equation, a, b)``, where operand ``held`` (1 or 2) is the parameter."""
    if len(args) != 3 or not isinstance(args[0], str) or not isinstance(args[3 - held], Tensor):
        return None
    x = args[3 - held]
    left, arrow, y = args[0].replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != 2:
        return None
    w, x_axes = terms[held - 1], terms[2 - held]
    if "..." in x_axes and "..." not in w:
        free = [a for a in string.ascii_letters if a not in args[0]]
        dots = "".join(free[: x.ndim - len(x_axes) + 3])
        x_axes, y = x_axes.replace("...", dots), y.replace("...", dots) if arrow else y
    if not arrow:
        return None  # the implicit order of axes: rare, and easily misread
    if not all(set(term) <= set(string.ascii_letters) for term in (w, x_axes, y)):
        return None
    return contraction(view, x, w, x_axes, y, leaf, n, at)


def matmul(
    view: View, x: Tensor, leaf: Tensor, n: int, at: BatchAxis, *, view_first: bool
) -> list[ParameterTap] | None:
    """Taps of ``view @ x`` or ``x @ view``, broadcast axes included."""
    shapes = (tuple(view.positions.shape), tuple(x.shape))
    first, second = shapes if view_first else shapes[::-1]
    if x.ndim < 2 or not first or not second or (len(second) == 1 and view_first):
        return None
    letters = iter(string.ascii_letters)
    row, inner, column = next(letters), next(letters), next(letters)
    tail_first = inner if len(first) == 1 else row + inner
    tail_second = inner if len(second) == 1 else inner + column
    lead = [next(letters) for _ in range(max(len(first), len(second), 2) - 2)]
    axes_first = [*lead[len(lead) - max(len(first) - 2, 0) :], *tail_first]
    axes_second = [*lead[len(lead) - max(len(second) - 2, 0) :], *tail_second]
    y = "".join([*lead, *(row if len(first) > 1 else ""), *(column if len(second) > 1 else "")])
    w_axes, x_axes = (axes_first, axes_second) if view_first else (axes_second, axes_first)
    # A leading axis of size 1 is broadcast: it belongs to the other operand alone.
    w_size, x_size = dict(zip(w_axes, shapes[0], strict=True)), dict(zip(x_axes, shapes[1], strict=True))
    batch = x_axes[at.axis]
    positions, operand = view.positions, x
    for axis in lead:
        if axis not in w_size or axis not in x_size:
            continue
        if w_size[axis] == 1:
            positions = positions.squeeze(w_axes.index(axis))
            w_axes.remove(axis)
        elif x_size[axis] == 1 and axis != batch:
            operand = operand.squeeze(x_axes.index(axis))
            x_axes.remove(axis)
    moved = BatchAxis(x_axes.index(batch), at.times, at.minor)
    squeezed = View(view.name, positions, view.scale)
    return contraction(squeezed, operand, "".join(w_axes), "".join(x_axes), y, leaf, n, moved)


def linear(view: View, x: Tensor, leaf: Tensor, n: int, at: BatchAxis) -> list[ParameterTap] | None:
    """Taps of the weight in ``F.linear(x, view)``."""
    if view.positions.ndim != 2 or x.ndim < 2 or at.axis == x.ndim - 1:
        return None
    free = string.ascii_letters[2 : x.ndim + 1]
    return contraction(view, x, "ba", free + "a", free + "b", leaf, n, at, rule="linear")


def along(view: View, leaf: Tensor, n: int, at: BatchAxis, axis: int, rule: str) -> ParameterTap:
    """Tap of a vector added along ``axis`` of a result of leaf's shape: the bias of a layer."""
    others = [2 + a - (a > at.axis) for a in range(leaf.ndim) if a not in (at.axis, axis)]

    def arrange(g: Tensor) -> Tensor:
        return at.front(g, n).sum([1, *others]).unsqueeze(1)

    return direct(view, leaf, arrange, f"{rule}{at}")


def broadcast(view: View, shape: Sequence[int], n: int, at: BatchAxis, like: Tensor, rule: str) -> ParameterTap | None:
    """Tap of a view that is combined element by element with something, the result having ``shape``.

    Its leaf is the view's copy for each example: it is added to the *operand*, so that autograd multiplies and sums.
    """
    missing = len(shape) - view.positions.ndim
    own = [1] * missing + list(view.positions.shape)
    if missing < 0 or shape[at.axis] != n * at.times or own[at.axis] != 1:
        return None
    own[at.axis] = n * at.times
    leaf = like.new_zeros(own).requires_grad_()

    def arrange(g: Tensor) -> Tensor:
        return at.front(g, n).sum(1).reshape(n, 1, -1)

    return direct(view, leaf, arrange, f"{rule}, {view.positions.ndim} axes of {len(shape)}{at}")


def copies(view: View, moved: Tensor, leaf: Tensor, n: int, at: BatchAxis, rule: str) -> ParameterTap | None:
    """Tap of a view that was expanded or repeated along the batch; ``moved`` are the positions of the copies."""
    rows = at.front(moved, n)
    if not torch.equal(rows, rows[:1].expand_as(rows)):
        return None  # each example has other entries

    def arrange(g: Tensor) -> Tensor:
        return at.front(g, n).reshape(n, 1, -1)

    return direct(View(view.name, rows[0], view.scale), leaf, arrange, f"{rule}{at}")


def index(
    view: View, axis: int, ids: Tensor, leaf: Tensor, n: int, at: BatchAxis, rule: str | None = None
) -> list[ParameterTap]:
    """Taps of ``view[:, ids]`` with as many full slices as ``axis`` says; ``at`` is the batch axis of ids."""
    rows = view.positions.shape[axis]
    kept = at.front(ids.detach().long(), n).reshape(n, -1)
    kept = torch.where(kept < 0, kept + rows, kept)
    positions = view.positions.movedim(axis, 0).reshape(rows, -1)
    of_ids = list(range(axis, axis + ids.ndim))
    order = of_ids + [a for a in range(leaf.ndim) if a not in of_ids]

    def arrange(g: Tensor) -> Tensor:
        return view.scaled(at.front(g.permute(order), n).reshape(n, kept.shape[1], -1))

    words = rule or f"index along axis {axis} of {view.positions.ndim}"
    return [ParameterTap("embedding", kept, leaf, positions=positions, arrange=arrange, rule=f"{words}{at}")]
