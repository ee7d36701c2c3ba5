"""One recorded run of a model, and the certificate that its taps reproduce autograd's gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from entk_tutorial.empirical.functional import Inputs, ModelFunction
from entk_tutorial.empirical.structured.joint import without_overlap
from entk_tutorial.empirical.structured.taps import ParameterTap, Tap
from entk_tutorial.empirical.structured.uses import ParameterUses, Runs, described

LAYER_KINDS = ("linear", "embedding", "bias")
"""Kinds of taps."""
PROBES = 8
"""Examples on which taps are compared with autograd one by one."""


def record(
    fn: ModelFunction, x: Inputs, kinds: Mapping[str, str] | None = None
) -> tuple[Tensor, dict[str, list[Tap]], set[str]]:
    """Run the model once. Returns the outputs (with graph), taps by parameter name, and the names whose taps broke.

    ``kinds`` is what was certified. Others are not watched, and a parameter that is used otherwise now counts as
    broken. If the model sends examples different ways according to their values, nothing certified on other examples
    counts, and these taps are certified themselves.
    """
    params = {name: p for name, p in fn.params.items() if kinds is None or name in kinds}
    uses = ParameterUses(params, x.n, _runs(fn, x, params))
    with torch.enable_grad(), uses:
        y = fn(fn.params, x)
    taps: dict[str, list[Tap]] = {
        name: list(without_overlap([t for t in ts if isinstance(t, ParameterTap)], fn.params[name].numel()))
        for name, ts in uses.taps.items()
    }
    broken = uses.broken
    if kinds is not None:
        broken = broken | {name for name in params if described(taps.get(name, [])) != kinds[name]}
        if uses.routes and x.n > 1:
            generator = torch.Generator().manual_seed(1)
            some = torch.rand(x.n, generator=generator) < 0.5
            some[int(torch.randint(x.n, (), generator=generator))] = True
            names = [name for name in params if name not in broken]
            broken = broken | (set(names) - set(_confirmed(fn, x, y, taps, names, [some])))
    return y, taps, broken


def _runs(fn: ModelFunction, x: Inputs, params: dict[str, Tensor]) -> Runs:
    """What a run on two examples and one on three do with the parameters; an only example is taken several times."""

    def run(n: int) -> ParameterUses:
        uses = ParameterUses(params, n)
        few = x.rows((torch.arange(n) % x.n).to(x.device))
        with torch.enable_grad(), uses:
            fn(fn.params, few)
        return uses

    return run(2).seen, run(3).seen


def certified_parameters(fn: ModelFunction, x: Inputs) -> dict[str, str]:
    """Parameters whose taps reproduce autograd's gradient on up to eight examples, one by one: name -> rule in words.

    The cotangent is random on one example and zero on the others, for each of them in turn. A layer that sees the
    examples in another order, or that mixes them, then shows a cotangent where none should be; a parameter that is
    also used where no one looked shows a gradient that the taps do not add up to. Either sends the parameter the
    general way.
    """
    few = x.rows(torch.linspace(0, x.n - 1, min(x.n, PROBES)).long().unique().to(x.device))
    # The taps are taken as the kernel takes them, the truth from a pass of its own: what differs between the two (a
    # layer recomputed during the backward pass, for instance) then shows in the comparison.
    y, taps, broken = record(fn, few)
    names = [name for name in fn.params if name not in broken]
    accepted = _confirmed(fn, few, y, taps, names, [torch.arange(few.n) == n for n in range(few.n)])
    return {name: described(taps.get(name, [])) for name in accepted}


def _confirmed(
    fn: ModelFunction,
    x: Inputs,
    y: Tensor,
    taps: Mapping[str, Sequence[Tap]],
    names: Sequence[str],
    supports: Sequence[Tensor],
) -> list[str]:
    """Names whose taps give autograd's gradients for random cotangents on each of the given sets of examples."""
    if not names:
        return []
    live = {name: fn.params[name].clone().requires_grad_() for name in names}
    with torch.enable_grad():
        y_live = fn({**fn.params, **live}, x)
    if not y_live.requires_grad and not y.requires_grad:
        return list(names)  # no output depends on any of them
    generator = torch.Generator().manual_seed(0)  # private, so that the caller's random state is not touched
    cotangent = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)
    leaves = {id(t.leaf): t.leaf for name in names for t in taps.get(name, [])}
    accepted = list(names)
    for support in supports:
        if not accepted:
            break
        mine = support.to(y.device)
        only = cotangent * mine.unsqueeze(-1)
        wanted = [live[name] for name in accepted]
        truths: Sequence[Tensor | None] = [None] * len(wanted)
        if y_live.requires_grad:
            truths = torch.autograd.grad(y_live, wanted, only, retain_graph=True, allow_unused=True)
        by_leaf: dict[int, Tensor | None] = dict.fromkeys(leaves)
        if leaves and y.requires_grad:
            try:
                grads = torch.autograd.grad(y, list(leaves.values()), only, retain_graph=True, allow_unused=True)
            except RuntimeError:
                return []  # a recomputation that does not match its first run: no tap can be trusted
            by_leaf = dict(zip(leaves, grads, strict=True))
        accepted = [
            name
            for name, truth in zip(accepted, truths, strict=True)
            if _agrees(taps.get(name, []), by_leaf, truth, live[name].detach(), mine)
        ]
    return accepted


def _agrees(
    taps: Sequence[Tap], by_leaf: Mapping[int, Tensor | None], truth: Tensor | None, weight: Tensor, mine: Tensor
) -> bool:
    """Whether the taps give the gradient as autograd does, and keep to the examples that have a cotangent."""
    total = torch.zeros_like(weight)
    for tap in taps:
        g = tap.cotangent(by_leaf[id(tap.leaf)])
        if bool(g[~mine].any()):
            return False
        total = total + _weight_gradient(tap, g, total)
    expected = torch.zeros_like(weight) if truth is None else truth.to_dense() if truth.is_sparse else truth
    tolerance = 1e3 * torch.finfo(total.dtype).eps * (expected.norm() + total.norm())
    return bool((expected - total).norm() <= tolerance)


def _weight_gradient(tap: Tap, g: Tensor, like: Tensor) -> Tensor:
    """Gradient summed over the examples, from a tap: what autograd must agree with."""
    assert isinstance(tap, ParameterTap)
    if tap.kind == "bias":
        part = g.sum((0, 1))
    elif tap.kind == "linear":
        part = torch.einsum("nto,nti->oi", g, tap.source.to(g.dtype))
    else:
        part = g.new_zeros(tap.positions.shape)
        part = part.index_add(0, tap.source.reshape(-1), g.reshape(-1, g.shape[-1]))
    return tap.whole(part.reshape(-1), like.numel()).reshape(like.shape).to(like.dtype)
