"""One recorded run of a model, and the certificate that its taps reproduce autograd's gradients."""

from __future__ import annotations

import math
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
FLOOR = 16.0
"""A gradient may miss by this many units of rounding of the largest one."""


def record(
    fn: ModelFunction, x: Inputs, kinds: Mapping[str, str] | None = None, *, certify: bool = True
) -> tuple[Tensor, dict[str, list[Tap]], set[str]]:
    """Run the model once. Returns the outputs (with graph), taps by parameter name, and the names whose taps broke.

    ``kinds`` is what was certified on other examples. Parameters not named there are not watched. One that is used
    otherwise now, or whose taps do not add up to autograd's gradient on these examples, counts as broken: values may
    decide where data go. ``certify=False`` leaves the gradients out, where a guess is all that is wanted.
    """
    truths = (
        None if kinds is None or not certify else _sums(fn, x, tuple(kinds))
    )  # first, so that only one graph is held at a time
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
    if truths is not None:
        rest = {name: truth for name, truth in truths.items() if name not in broken}
        everyone, some = torch.ones(x.n, dtype=torch.bool), _half(x.n)
        right = _agreeing(fn, y, taps, rest, everyone)
        broken |= set(rest) - set(_agreeing(fn, y, taps, dict.fromkeys(right), some, only_place=True))
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
    accepted = [name for name in fn.params if name not in broken]
    live = {name: fn.params[name].detach().requires_grad_() for name in accepted}
    with torch.enable_grad():
        y_live = fn({**fn.params, **live}, few)
    for n in range(few.n):
        only = torch.arange(few.n) == n
        truths = _gradients(y_live, {name: live[name] for name in accepted}, _cotangent(y_live, only))
        accepted = _agreeing(fn, y, taps, truths, only)
    return {name: described(taps.get(name, [])) for name in accepted}


def _half(n: int) -> Tensor:
    """A fixed random half of the examples, at least one."""
    generator = torch.Generator().manual_seed(1)
    return torch.randn(n, generator=generator).argsort() < max(1, n // 2)


def _cotangent(y: Tensor, mine: Tensor) -> Tensor:
    """Random on the examples in ``mine``, zero on the others; always the same, and not from the caller's generator."""
    generator = torch.Generator().manual_seed(0)
    cotangent = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)
    return cotangent * mine.to(y.device).unsqueeze(-1)


def _gradients(y: Tensor, wanted: Mapping[str, Tensor], cotangent: Tensor) -> dict[str, Tensor | None]:
    if not y.requires_grad or not wanted:
        return dict.fromkeys(wanted)
    grads = torch.autograd.grad(y, list(wanted.values()), cotangent, retain_graph=True, allow_unused=True)
    return dict(zip(wanted, grads, strict=True))


def _sums(fn: ModelFunction, x: Inputs, names: Sequence[str]) -> dict[str, Tensor | None]:
    """Autograd's gradients, summed over the examples with their random cotangents."""
    live = {name: fn.params[name].detach().requires_grad_() for name in names}
    with torch.enable_grad():
        y = fn({**fn.params, **live}, x)
    return _gradients(y, live, _cotangent(y, torch.ones(x.n, dtype=torch.bool)))


def _agreeing(
    fn: ModelFunction,
    y: Tensor,
    taps: Mapping[str, Sequence[Tap]],
    truths: Mapping[str, Tensor | None],
    support: Tensor,
    *,
    only_place: bool = False,
) -> list[str]:
    """Names whose taps give the true gradient, and no cotangent to examples outside ``support``.

    ``only_place`` asks for the second alone.
    """
    leaves = {id(t.leaf): t.leaf for name in truths for t in taps.get(name, [])}
    by_leaf: dict[int, Tensor | None] = dict.fromkeys(leaves)
    if leaves and y.requires_grad:
        try:
            cotangent = _cotangent(y, support)
            grads = torch.autograd.grad(y, list(leaves.values()), cotangent, retain_graph=True, allow_unused=True)
        except RuntimeError:
            return []  # a recomputation that does not match its first run: no tap can be trusted
        by_leaf = dict(zip(leaves, grads, strict=True))
    others = ~support.to(y.device)
    largest = max((float(_dense(truth).norm()) for truth in truths.values() if truth is not None), default=0.0)
    found = []
    for name, truth in truths.items():
        total = torch.zeros_like(fn.params[name])
        right = True
        for tap in taps.get(name, []):
            g = tap.cotangent(by_leaf[id(tap.leaf)])
            # A pole gives NaN even for no cotangent; the kernel itself is refused there, by name.
            right = right and not bool(g[others].nan_to_num(nan=0.0).any())
            if right and not only_place:
                total = total + _weight_gradient(tap, g, total)
        if right and (only_place or _near(total, truth, largest)):
            found.append(name)
    return found


def _near(total: Tensor, truth: Tensor | None, largest: float) -> bool:
    """Whether a gradient is the true one to rounding; ``largest`` is the norm of the model's largest gradient.

    A gradient that is zero but for rounding (a bias of attention keys: softmax takes it away) has no digits of its own.
    """
    expected = torch.zeros_like(total) if truth is None else _dense(truth)
    if bool(expected.isnan().any() & total.isnan().any()):
        return True  # nothing to compare: the kernel will be refused, with the examples that spoil it
    scale = 1e3 * (expected.norm() + total.norm()) + FLOOR * (0.0 if math.isnan(largest) else largest)
    return bool((expected - total).norm() <= torch.finfo(total.dtype).eps * scale)


def _dense(g: Tensor) -> Tensor:
    return g.to_dense() if g.is_sparse else g


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
