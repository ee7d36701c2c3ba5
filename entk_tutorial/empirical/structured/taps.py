r"""Taps: what goes into an operation with a parameter, and the cotangents of what comes out.

The gradient of a linear layer's weight at one example is a sum over tokens of outer products
:math:`\sum_t g_t x_t^\top` of the cotangent :math:`g_t` of its output and its input :math:`x_t`. Two gradients can then
be multiplied without ever being written down. A tap records :math:`x`, and adds a zero leaf to the output whose
gradient *is* :math:`g`; being added, it survives in-place operations on the output further on.

A tap proves nothing about what the model does with a parameter elsewhere. So every parameter's taps are certified
against autograd before they are used.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass
class Tap:
    """One operation on a batch.

    Attributes:
        kind: ``"linear"``, ``"embedding"``, or ``"bias"`` where the cotangent is the gradient itself.
        source: (N, T, I) inputs of a linear operation, or (N, T) token ids of a lookup.
        leaf: zeros; their gradient is the cotangent of what the operation returned.
    """

    kind: str
    source: Tensor
    leaf: Tensor

    def cotangent(self, g: Tensor | None) -> Tensor:
        """Gradient of the leaf as (N, T, O), zero where autograd found no path."""
        value = torch.zeros_like(self.leaf) if g is None else g
        return value.reshape(value.shape[0], -1, value.shape[-1])


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

    def scaled(self, gradient: Tensor) -> Tensor:
        """The parameter's gradient from that of the view; the same tensor where there is nothing to multiply."""
        return gradient if self.scale == 1.0 else gradient * self.scale


@dataclass
class ParameterTap(Tap):
    """One operation with a parameter on a batch; ``kind``, ``source`` and ``leaf`` as in :class:`Tap`.

    Attributes:
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

    @cached_property
    def in_order(self) -> bool:
        """Whether ``positions`` counts 0, 1, 2 ...: a parameter as it is."""
        where = self.positions.reshape(-1)
        return torch.equal(where, torch.arange(len(where), device=where.device))

    def whole(self, gradient: Tensor, size: int) -> Tensor:
        """Gradient of the view (..., entries of ``positions``) in its place in the flattened parameter (..., P)."""
        where = self.positions.reshape(-1)
        if len(where) == size and self.in_order:
            return gradient
        out = gradient.new_zeros((*gradient.shape[:-1], size))
        return out.index_add_(gradient.ndim - 1, where, gradient)


def direct(
    view: View, leaf: Tensor, arrange: Callable[[Tensor], Tensor], rule: str, source: Tensor | None = None
) -> ParameterTap:
    """Tap of an operation whose gradient needs no product: ``arrange`` gives (N, 1, entries of the view), unscaled.

    ``source`` is what ``arrange`` keeps in memory, so that it is counted.
    """
    kept = leaf.new_empty((1, 0, 0)) if source is None else source
    positions = view.positions.reshape(-1)
    return ParameterTap("bias", kept, leaf, positions=positions, arrange=lambda g: view.scaled(arrange(g)), rule=rule)
