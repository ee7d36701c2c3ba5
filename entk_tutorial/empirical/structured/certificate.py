"""One recorded run of a model, and the certificate that its taps reproduce autograd's gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor

from entk_tutorial.empirical.functional import Inputs, ModelFunction
from entk_tutorial.empirical.structured.operations import ParameterTap
from entk_tutorial.empirical.structured.taps import Tap, hooks, ruled_parameters
from entk_tutorial.empirical.structured.uses import ParameterUses, described, joint_groups

LAYER_KINDS = ("linear", "embedding", "bias")
"""Kinds of parameters of layers; a bare parameter's kind is its operations in words."""


def record(
    fn: ModelFunction, x: Inputs, kinds: Mapping[str, str] | None = None
) -> tuple[Tensor, dict[str, list[Tap]], set[str]]:
    """Run the model once. Returns the outputs (with graph), taps by parameter name, and the names whose taps broke.

    ``kinds`` is what was certified. A bare parameter that is used otherwise now counts as broken, and others are not
    watched.
    """
    layers = ruled_parameters(fn)
    taps: dict[str, list[Tap]] = {}
    broken: set[str] = set()
    bare = {name: p for name, p in fn.params.items() if name not in layers and (kinds is None or name in kinds)}
    by_ids = None if kinds is None else frozenset(name for name in bare if "index along" in kinds[name])
    found: dict[str, list[Tap]] = {}
    with torch.enable_grad(), hooks(fn, x.n, taps, broken) if fn.module is not None else nullcontext():
        with ParameterUses(bare, x.n, found, broken, by_ids) if bare else nullcontext():
            y = fn(fn.params, x)
    taps = {name: ts for name, ts in taps.items() if name not in bare} | found
    if kinds is not None:
        broken |= {name for name in bare if described(taps.get(name, [])) != kinds[name]}
    return y, taps, broken


def certified_parameters(fn: ModelFunction, x: Inputs) -> dict[str, str]:
    """Parameters whose taps reproduce autograd's gradient on up to eight examples, one by one.

    The cotangent is random on one example and zero on the others, for each of them in turn. A layer whose batch axis is
    not the first, or that sees the examples in another order, then shows a cotangent where none should be; a parameter
    that is also used outside its layer shows a gradient that the taps do not add up to. Either sends the parameter the
    general way.
    """
    few = x.rows(torch.linspace(0, x.n - 1, min(x.n, 8)).long().unique().to(x.device))
    # The taps are taken as the kernel takes them, the truth from a pass of its own: what differs between the two (a
    # layer recomputed during the backward pass, for instance) then shows in the comparison.
    y, taps, broken = record(fn, few)
    layers = ruled_parameters(fn)
    kinds = {name: layers[name] if name in layers else described(taps.get(name, [])) for name in fn.params}
    accepted = {name: kind for name, kind in kinds.items() if kind and name not in broken}
    if not accepted:
        return {}
    live = {name: p.clone().requires_grad_() for name, p in fn.params.items()}
    with torch.enable_grad():
        y_live = fn(live, few)
    if not y_live.requires_grad:
        return accepted  # no output depends on any of them
    generator = torch.Generator().manual_seed(0)  # private, so that the caller's random state is not touched
    cotangent = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)
    leaves = {id(t.leaf): t.leaf for ts in taps.values() for t in ts}
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
    kind: str,
    taps: Sequence[Tap],
    by_leaf: Mapping[int, Tensor | None],
    truth: Tensor | None,
    weight: Tensor,
    n: int,
) -> bool:
    """Whether the taps give example n's gradient as autograd does, and keep to example n."""
    bare = [tap for tap in taps if isinstance(tap, ParameterTap)]
    if kind not in LAYER_KINDS and joint_groups(bare, weight.numel()) is None:
        return False
    total = torch.zeros_like(weight)
    for tap in taps:
        g = tap.cotangent(by_leaf[id(tap.leaf)])
        if bool(g[:n].any()) or bool(g[n + 1 :].any()):
            return False
        total = total + _weight_gradient(kind, tap, g, total)
    expected = torch.zeros_like(weight) if truth is None else truth.to_dense() if truth.is_sparse else truth
    tolerance = 1e3 * torch.finfo(total.dtype).eps * (expected.norm() + total.norm())
    return bool((expected - total).norm() <= tolerance)


def _weight_gradient(kind: str, tap: Tap, g: Tensor, like: Tensor) -> Tensor:
    """Gradient summed over the examples, from a tap: what autograd must agree with."""
    if isinstance(tap, ParameterTap):
        size = tuple(tap.positions.shape) if tap.kind != "bias" else tuple(g.shape[-1:])
        part = _weight_gradient_of(tap.kind, tap.source, g, g.new_zeros(size))
        return tap.whole(part.reshape(-1), like.numel()).reshape(like.shape).to(like.dtype)
    return _weight_gradient_of(kind, tap.source, g, like).to(like.dtype)


def _weight_gradient_of(kind: str, source: Tensor, g: Tensor, like: Tensor) -> Tensor:
    if kind == "bias":
        return g.sum((0, 1))
    if kind == "linear":
        return torch.einsum("nto,nti->oi", g, source.to(g.dtype))
    out = torch.zeros_like(like, requires_grad=False)
    return out.index_add(0, source.reshape(-1), g.reshape(-1, g.shape[-1]).to(like.dtype))
