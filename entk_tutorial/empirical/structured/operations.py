r"""What one operation does with a bare parameter: taps for einsum, matmul, indexing, sums and products.

All of these are linear in the parameter, so its gradient follows from the cotangent of the result and the other
operand. A contraction splits the parameter's axes: those that the result has (O), those that are summed against the
other operand (I), and those that both have (H, one block each). The gradient of a block is then
:math:`\sum_t g_t x_t^\top` of size (O, I), as for a linear layer. Indexing with a batch of ids is an embedding; adding,
or multiplying element by element, gives the gradient at once, summed over the axes that were broadcast.

The first axis of the other operand must be the batch. Where it is not, there is no rule, or the certificate refuses.
"""

from __future__ import annotations

import math
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from entk_tutorial.empirical.structured.taps import Tap

_MOST_BLOCKS = 64
"""More blocks than this (H above) cost more by rule than they save."""


@dataclass(frozen=True)
class View:
    """A parameter, or a view of it times a constant.

    Attributes:
        name: of the parameter.
        positions: shape of the view; where each of its entries lies in the flattened parameter.
        scale: what the entries are multiplied by.
    """

    name: str
    positions: Tensor
    scale: float = 1.0


@dataclass
class ParameterTap(Tap):
    """One operation with a bare parameter on a batch; ``source`` and ``leaf`` as in :class:`Tap`.

    Attributes:
        kind: ``"linear"``, ``"embedding"``, or ``"bias"`` where the cotangent is the gradient itself.
        positions: where the gradient's entries lie in the flattened parameter: (O, I), (ids, O), or (P,) for a bias.
        arrange: leaf's gradient -> (N, T, O), the view's scale included.
        rule: the operation in words, the same for every batch: what was certified must be what is used.
    """

    positions: Tensor = field(kw_only=True)
    arrange: Callable[[Tensor], Tensor] = field(kw_only=True)
    rule: str = field(kw_only=True)

    def cotangent(self, g: Tensor | None) -> Tensor:
        """Gradient of the leaf as (N, T, O)."""
        return self.arrange(torch.zeros_like(self.leaf) if g is None else g)

    def whole(self, gradient: Tensor, size: int) -> Tensor:
        """Gradient of the view (..., entries of ``positions``) in its place in the flattened parameter (..., P)."""
        out = gradient.new_zeros((*gradient.shape[:-1], size))
        return out.index_add_(gradient.ndim - 1, self.positions.reshape(-1), gradient)


def contraction(view: View, x: Tensor, w: str, x_axes: str, y: str, leaf: Tensor, n: int) -> list[ParameterTap] | None:
    """Taps of ``einsum("w,x->y", view, x)``, a letter an axis; None if there is no rule."""
    batch = x_axes[:1]
    repeated = any(len(set(term)) < len(term) for term in (w, x_axes, y))
    if not batch or batch in w or batch not in y or x.shape[0] != n or repeated:
        return None
    if (set(w) | set(x_axes)) != set(w) & set(x_axes) | set(y):
        return None  # an axis of one operand that is summed away
    sizes = dict(zip(w, view.positions.shape, strict=True))
    if any(sizes.get(a, size) != size for a, size in zip(x_axes, x.shape, strict=True)):
        return None  # einsum broadcasts axes of size 1
    sizes |= dict(zip(x_axes, x.shape, strict=True))
    tokens = [a for a in x_axes[1:] if a not in w]
    inner = [a for a in w if a in x_axes and a not in y]
    blocks = [a for a in w if a in x_axes and a in y]
    outer = [a for a in w if a not in x_axes]
    t, i, h, o = (math.prod(sizes[a] for a in axes) for axes in (tokens, inner, blocks, outer))
    if h > _MOST_BLOCKS:
        return None
    source = x.detach().permute([x_axes.index(a) for a in [batch, *tokens, *blocks, *inner]]).reshape(n, t, h, i)
    positions = view.positions.permute([w.index(a) for a in [*blocks, *outer, *inner]]).reshape(h, o, i)
    order = [y.index(a) for a in [batch, *tokens, *blocks, *outer]]

    def tap(block: int) -> ParameterTap:
        def arrange(g: Tensor) -> Tensor:
            return g.permute(order).reshape(n, t, h, o)[:, :, block] * view.scale

        kept = source[:, :, block].clone()  # the model may overwrite its operand before we use it
        return ParameterTap(
            "linear", kept, leaf, positions=positions[block], arrange=arrange, rule=f"einsum {w},{x_axes}->{y}"
        )

    return [tap(block) for block in range(h)]


def einsum(view: View, args: Sequence[Any], held: int, leaf: Tensor, n: int) -> list[ParameterTap] | None:
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
    return contraction(view, x, w, x_axes, y, leaf, n)


def matmul(view: View, x: Tensor, leaf: Tensor, n: int, *, view_first: bool) -> list[ParameterTap] | None:
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
    positions, operand = view.positions, x
    for axis in lead:
        if axis not in w_size or axis not in x_size:
            continue
        if w_size[axis] == 1:
            positions = positions.squeeze(w_axes.index(axis))
            w_axes.remove(axis)
        elif x_size[axis] == 1:
            operand = operand.squeeze(x_axes.index(axis))
            x_axes.remove(axis)
    squeezed = View(view.name, positions, view.scale)
    return contraction(squeezed, operand, "".join(w_axes), "".join(x_axes), y, leaf, n)


def linear(view: View, x: Tensor, leaf: Tensor, n: int) -> list[ParameterTap] | None:
    """Taps of the weight in ``F.linear(x, view)``."""
    if view.positions.ndim != 2 or x.ndim < 2:
        return None
    free = string.ascii_letters[2 : x.ndim + 1]
    return contraction(view, x, "ba", free + "a", free + "b", leaf, n)


def elementwise(
    view: View, x: Tensor | None, leaf: Tensor, n: int, *, sign: float = 1.0, rule: str
) -> list[ParameterTap] | None:
    """Taps of ``view * x``, or of ``sign * view`` added to something (x None); leaf has the result's shape."""
    shape = (1,) * (leaf.ndim - view.positions.ndim) + tuple(view.positions.shape)
    if leaf.ndim < 2 or len(shape) != leaf.ndim or leaf.shape[0] != n or shape[0] != 1:
        return None
    if x is not None and (x.ndim != leaf.ndim or x.shape[0] != n):
        return None
    other = None if x is None else x.detach().clone()
    summed = [axis for axis in range(1, leaf.ndim) if shape[axis] == 1 and leaf.shape[axis] != 1]

    def arrange(g: Tensor) -> Tensor:
        g = g if other is None else g * other
        g = g.sum(summed) if summed else g
        return g.reshape(n, 1, -1) * (view.scale * sign)

    source = leaf.new_empty((n, 0, 0)) if other is None else other
    positions = view.positions.reshape(-1)
    words = f"{rule}, {view.positions.ndim} axes of {leaf.ndim}"
    return [ParameterTap("bias", source, leaf, positions=positions, arrange=arrange, rule=words)]


def index(view: View, axis: int, ids: Tensor, leaf: Tensor, n: int) -> list[ParameterTap] | None:
    """Taps of ``view[:, ids]`` with as many full slices as ``axis`` says, and ids (N, ...)."""
    rows = view.positions.shape[axis]
    kept = ids.detach().long().reshape(n, -1)
    kept = torch.where(kept < 0, kept + rows, kept)
    positions = view.positions.movedim(axis, 0).reshape(rows, -1)
    of_ids = list(range(axis, axis + ids.ndim))
    order = of_ids + [a for a in range(leaf.ndim) if a not in of_ids]

    def arrange(g: Tensor) -> Tensor:
        return g.permute(order).reshape(n, kept.shape[1], -1) * view.scale

    rule = f"index along axis {axis} of {view.positions.ndim}"
    return [ParameterTap("embedding", kept, leaf, positions=positions, arrange=arrange, rule=rule)]
