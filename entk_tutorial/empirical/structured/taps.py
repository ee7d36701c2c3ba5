r"""Taps: what goes into a layer, and the cotangents of what comes out.

The gradient of a linear layer's weight at one example is a sum over tokens of outer products
:math:`\sum_t g_t x_t^\top` of the cotangent :math:`g_t` of its output and its input :math:`x_t`. Two gradients can then
be multiplied without ever being written down. A tap records :math:`x`, and adds a zero leaf to the output whose
gradient *is* :math:`g`; being added, it survives in-place operations on the output further on.

A tap proves nothing about what the model does with a parameter elsewhere (a tied weight used by hand, a batch axis that
is not the first). So every parameter's taps are certified against autograd before they are used. This file taps the
layers of ``torch.nn``; parameters that a model multiplies by hand are watched one operation at a time (``uses.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from entk_tutorial.empirical.functional import ModelFunction


@dataclass
class Tap:
    """One call of one layer on a batch.

    Attributes:
        kind: ``"linear"`` or ``"embedding"``.
        source: (N, T, I) inputs of a linear layer, or (N, T) token ids of an embedding.
        leaf: zeros of the shape of the output; its gradient is the output's cotangent.
        rows: (N, T) boolean, False where an embedding ignores the token (padding); None if there is no such token.
    """

    kind: str
    source: Tensor
    leaf: Tensor
    rows: Tensor | None = None

    def cotangent(self, g: Tensor | None) -> Tensor:
        """Gradient of the leaf as (N, T, O), zero where autograd found no path."""
        value = torch.zeros_like(self.leaf) if g is None else g
        value = value.reshape(value.shape[0], -1, value.shape[-1])
        return value if self.rows is None else value * self.rows.unsqueeze(-1)


def _has_plain_forward(module: nn.Module) -> bool:
    forward = type(module).forward
    if isinstance(module, nn.Linear):
        return forward is nn.Linear.forward
    if isinstance(module, nn.Embedding):
        return forward is nn.Embedding.forward and module.max_norm is None and not module.scale_grad_by_freq
    return False


def ruled_parameters(fn: ModelFunction) -> dict[str, str]:
    """Parameters that a rule may cover: public name -> ``"linear"``, ``"embedding"`` or ``"bias"``.

    A weight shared by layers of different kinds has no rule.
    """
    if fn.module is None:
        return {}
    names = {id(p): name for name, p in fn.module.named_parameters()}
    found: dict[str, set[str]] = {}
    for module in fn.module.modules():
        for attribute, p in module.named_parameters(recurse=False):
            name = names[id(p)]
            kind = "none"
            if _has_plain_forward(module):
                kind = {"bias": "bias", "weight": type(module).__name__.lower()}.get(attribute, "none")
            found.setdefault(name, set()).add(kind if kind in ("linear", "embedding", "bias") else "none")
    return {n: k.pop() for n, k in found.items() if n in fn.params and len(k) == 1 and "none" not in k}


@contextmanager
def hooks(fn: ModelFunction, n: int, taps: dict[str, list[Tap]], broken: set[str]) -> Iterator[None]:
    """Attach a recording hook to each layer that has a rule; remove it afterwards, whatever happens."""
    assert fn.module is not None
    names = {id(p): name for name, p in fn.module.named_parameters()}
    with ExitStack() as stack:
        for module in fn.module.modules():
            if not _has_plain_forward(module):
                continue
            own = [names[id(p)] for _, p in module.named_parameters(recurse=False)]

            def hook(layer: nn.Module, args: tuple[Any, ...], out: Tensor, own: list[str] = own) -> Tensor | None:
                source = args[0] if args and isinstance(args[0], Tensor) else None
                axes = 1 if isinstance(layer, nn.Embedding) else 2
                if source is None or source.ndim < axes or source.shape[0] != n:
                    broken.update(own)
                    return None
                leaf = torch.zeros_like(out, requires_grad=True)
                # A copy: the model may overwrite the input in place before we use it.
                kept = source.detach().clone().long() if axes == 1 else source.detach().clone()
                rows = None
                if isinstance(layer, nn.Embedding):
                    kept = kept.reshape(n, -1)
                    rows = None if layer.padding_idx is None else kept != layer.padding_idx
                    tap = Tap("embedding", kept, leaf, rows)
                else:
                    tap = Tap("linear", kept.reshape(n, -1, kept.shape[-1]), leaf)
                for name in own:
                    taps.setdefault(name, []).append(tap)
                return out + leaf

            handle = module.register_forward_hook(hook)
            stack.callback(handle.remove)
        yield
