r"""Taps: what goes into a layer, and the cotangents of what comes out.

The gradient of a linear layer's weight at one example is a sum over tokens of outer products
:math:`\sum_t g_t x_t^\top` of the cotangent :math:`g_t` of its output and its input :math:`x_t`. Two gradients can then
be multiplied without ever being written down. A tap records :math:`x`, and adds a zero leaf to the output whose
gradient *is* :math:`g`; being added, it survives in-place operations on the output further on.

A tap proves nothing about what the model does with a parameter elsewhere (a tied weight used by hand, a batch axis that
is not the first). So every parameter's taps are certified against autograd before they are used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from entk_tutorial.empirical.functional import Inputs, ModelFunction


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
def _hooks(fn: ModelFunction, n: int, taps: dict[str, list[Tap]], broken: set[str]) -> Iterator[None]:
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


def record(fn: ModelFunction, x: Inputs) -> tuple[Tensor, dict[str, list[Tap]], set[str]]:
    """Run the model once. Returns the outputs (with graph), taps by parameter name, and the names whose taps broke."""
    taps: dict[str, list[Tap]] = {}
    broken: set[str] = set()
    with torch.enable_grad(), _hooks(fn, x.n, taps, broken):
        y = fn(fn.params, x)
    return y, taps, broken


def certified_parameters(fn: ModelFunction, x: Inputs) -> dict[str, str]:
    """Parameters whose taps reproduce autograd's gradient on up to eight examples, one by one.

    The cotangent is random on one example and zero on the others, for each of them in turn. A layer whose batch axis is
    not the first, or that sees the examples in another order, then shows a cotangent where none should be; a parameter
    that is also used outside its layer shows a gradient that the taps do not add up to. Either sends the parameter the
    general way.
    """
    kinds = ruled_parameters(fn)
    if not kinds:
        return {}
    few = x.rows(torch.linspace(0, x.n - 1, min(x.n, 8)).long().unique().to(x.device))
    # The taps are taken as the kernel takes them, the truth from a pass of its own: what differs between the two (a
    # layer recomputed during the backward pass, for instance) then shows in the comparison.
    y, taps, broken = record(fn, few)
    live = {name: p.clone().requires_grad_() for name, p in fn.params.items()}
    with torch.enable_grad():
        y_live = fn(live, few)
    accepted = {name: kind for name, kind in kinds.items() if name not in broken}
    if not y_live.requires_grad:
        return accepted  # no output depends on any of them
    generator = torch.Generator().manual_seed(0)  # private, so that the caller's random state is not touched
    cotangent = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)
    leaves = {id(t): t.leaf for ts in taps.values() for t in ts}
    for n in range(few.n):
        if not accepted:
            break
        only = torch.zeros_like(y)
        only[n] = cotangent[n]
        wanted = [live[name] for name in accepted]
        truths = torch.autograd.grad(y_live, wanted, only, retain_graph=True, allow_unused=True)
        by_leaf: dict[int, Tensor | None] = dict.fromkeys(leaves)
        if leaves and y.requires_grad:
            try:
                grads = torch.autograd.grad(y, list(leaves.values()), only, retain_graph=True, allow_unused=True)
            except RuntimeError:
                return {}  # a recomputation that does not match its first run: no tap can be trusted
            by_leaf = dict(zip(leaves, grads, strict=True))
        accepted = {
            name: kind
            for (name, kind), truth in zip(accepted.items(), truths, strict=True)
            if _agrees(kind, taps.get(name, []), by_leaf, truth, live[name].detach(), n)
        }
    return accepted


def _agrees(
    kind: str, taps: list[Tap], by_leaf: Mapping[int, Tensor | None], truth: Tensor | None, weight: Tensor, n: int
) -> bool:
    """Whether the taps give example n's gradient as autograd does, and keep to example n."""
    total = torch.zeros_like(weight)
    for tap in taps:
        g = tap.cotangent(by_leaf[id(tap)])
        if bool(g[:n].any()) or bool(g[n + 1 :].any()):
            return False
        total = total + _weight_gradient(kind, tap, g, total)
    expected = torch.zeros_like(weight) if truth is None else truth.to_dense() if truth.is_sparse else truth
    tolerance = 1e3 * torch.finfo(total.dtype).eps * (expected.norm() + total.norm())
    return bool((expected - total).norm() <= tolerance)


def _weight_gradient(kind: str, tap: Tap, g: Tensor, like: Tensor) -> Tensor:
    """Gradient summed over the examples, from a tap: what autograd must agree with."""
    if kind == "bias":
        return g.sum((0, 1)).to(like.dtype)
    if kind == "linear":
        return torch.einsum("nto,nti->oi", g, tap.source.to(g.dtype)).to(like.dtype)
    out = torch.zeros_like(like, requires_grad=False)
    return out.index_add(0, tap.source.reshape(-1), g.reshape(-1, g.shape[-1]).to(like.dtype))
