r"""Convolutions: patches are tokens.

The output at position :math:`l` is the weight times the patch of the padded input below it, so the weight's gradient is
:math:`\sum_l g_l\, \mathrm{patch}_l^\top`, as for a linear layer. Groups are blocks with a weight of their own; where
there are many (depthwise), their small gradients are written down at once. A transposed convolution swaps the parts:
the cotangent has patches, and the input is what they are multiplied by. Patches take as much memory as the kernel has
positions, times the input; they are counted in the plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor

from entk_tutorial.empirical.structured.batch import BatchAxis
from entk_tutorial.empirical.structured.operations import along
from entk_tutorial.empirical.structured.taps import ParameterTap, View, direct

PLAIN = {F.conv1d: 1, F.conv2d: 2, F.conv3d: 3}
TRANSPOSED = {F.conv_transpose1d: 1, F.conv_transpose2d: 2, F.conv_transpose3d: 3}
_PLAIN_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED_ARGUMENTS = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
_MOST_TAPS = 8
"""Groups up to this number are taps of their own; more are written down together."""


def _each(value: Any, n: int) -> list[int]:
    """One number an axis."""
    values = [value] if isinstance(value, int) else list(value)
    return [int(v) for v in (values * n if len(values) == 1 else values)]


def patches(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """Windows of x (B, C, *sizes) as (B, C, *positions, *kernel), a view.

    Example:
        >>> patches(torch.arange(4.0).reshape(1, 1, 4), [2], [1], [2])[0, 0]
        tensor([[0., 2.],
                [1., 3.]])
    """
    for d, (k, s, r) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + d, r * (k - 1) + 1, s)[..., ::r]
    return x


def _paddings(padding: Any, kernel: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Amounts before and after each axis, in the order that F.pad wants (last axis first)."""
    amounts: list[int] = []
    for d in reversed(range(len(kernel))):
        if padding == "same":
            total = dilation[d] * (kernel[d] - 1)
            amounts += [total // 2, total - total // 2]
        else:
            amounts += [0, 0] if padding == "valid" else [_each(padding, len(kernel))[d]] * 2
    return amounts


def taps(
    func: Any,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    views: dict[str, View],
    leaf: Tensor,
    n: int,
    at: BatchAxis | None,
) -> list[tuple[str, ParameterTap]] | None:
    """Taps of a convolution whose ``"weight"`` or ``"bias"`` (keys of ``views``) are parameters."""
    transposed = func in TRANSPOSED
    dims = TRANSPOSED[func] if transposed else PLAIN[func]
    names = _TRANSPOSED_ARGUMENTS if transposed else _PLAIN_ARGUMENTS
    given = dict(zip(names, args, strict=False)) | kwargs
    x, weight, groups = given["input"], given["weight"], given.get("groups", 1)
    if "input" in views or at is None or at.axis != 0 or x.ndim != dims + 2:
        return None
    found: list[tuple[str, ParameterTap]] = []
    if "bias" in views:
        found.append((views["bias"].name, along(views["bias"], leaf, n, at, 1, "convolution, bias")))
    if "weight" not in views:
        return found
    stride, dilation = _each(given.get("stride", 1), dims), _each(given.get("dilation", 1), dims)
    kernel = tuple(weight.shape[2:])
    padding = given.get("padding", 0)
    words = f"{'transposed ' * transposed}convolution, {dims} axes, {groups} groups{at}"

    def rows(t: Tensor) -> Tensor:
        """(B, G, C, *sizes) with the axes of the sizes as given -> (N, G, T, C), B = N times."""
        return at.front(t.flatten(3), n).permute(0, 2, 1, 4, 3).flatten(2, 3)

    def windows(t: Tensor) -> Tensor:
        """(B, C, *sizes) -> (N, G, T, C per group and kernel)."""
        padded = F.pad(t, [*_paddings(padding, kernel, dilation)])
        if transposed:  # trailing zeros, as far as the stride did not reach
            padded = F.pad(padded, [a for d in reversed(range(dims)) for a in (0, max(0, _missing(padded, d)))])
        cut = patches(padded, kernel, stride, dilation)
        if transposed:  # output_padding may leave room for more windows than there are inputs
            cut = cut[(slice(None), slice(None), *(slice(0, s) for s in x.shape[2:]))]
        positions = cut.shape[2 : 2 + dims]
        b, length, inner = t.shape[0], math.prod(positions), math.prod(kernel)
        cut = cut.reshape(b, groups, -1, length, inner).transpose(3, 4).reshape(b, groups, -1, length)
        return rows(cut)

    def _missing(padded: Tensor, d: int) -> int:
        return (x.shape[2 + d] - 1) * stride[d] + dilation[d] * (kernel[d] - 1) + 1 - padded.shape[2 + d]

    def whole(t: Tensor) -> Tensor:
        """(B, C, *sizes) -> (N, G, T, C per group)."""
        return rows(t.reshape(t.shape[0], groups, -1, *t.shape[2:]))

    view = views["weight"]
    source = (whole if transposed else windows)(x.detach()).clone()
    arranged = windows if transposed else whole
    # (groups, O, I): what the cotangent has, what the source has
    positions = view.positions.reshape(groups, view.positions.shape[0] // groups, -1)
    if transposed:
        positions = positions.transpose(1, 2)
    if groups > _MOST_TAPS:

        def written(g: Tensor) -> Tensor:
            return torch.einsum("ngto,ngti->ngoi", arranged(g), source).reshape(n, 1, -1)

        return [*found, (view.name, direct(View(view.name, positions, view.scale), leaf, written, words, source))]

    def tap(group: int) -> ParameterTap:
        def arrange(g: Tensor) -> Tensor:
            return view.scaled(arranged(g)[:, group])

        where = positions[group]
        return ParameterTap("linear", source[:, group], leaf, positions=where, arrange=arrange, rule=words)

    return [*found, *((view.name, tap(group)) for group in range(groups))]
