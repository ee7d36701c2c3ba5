"""One recorded run of a model, and the certificate that its taps reproduce autograd's gradients."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from entk_tutorial.empirical.functional import Inputs, ModelFunction
from entk_tutorial.empirical.structured.joint import without_overlap
from entk_tutorial.empirical.structured.taps import ParameterTap, Tap, View
from entk_tutorial.empirical.structured.uses import Layouts, ParameterUses, described, layouts, views_of

LAYER_KINDS = ("linear", "embedding", "bias")
"""Kinds of taps."""
PROBES = 8
"""Examples on which taps are compared with autograd one by one before a rule is used."""
FLOOR = 16.0
"""A gradient may miss by this many units of rounding of the largest one."""

K = TypeVar("K")
ByLeaf = Mapping[int, Tensor | None]
"""A tap's leaf, by its address -> its gradient; None where autograd found no path."""


@dataclass
class Recording:
    """One run of a model with its taps.

    Attributes:
        y: outputs (N, C), with their graph.
        taps: by parameter name.
        broken: names whose taps cannot be used.
        seed: the random cotangent (N, C) of the certificate; None where none was asked for.
        grads: what a reverse pass gave for it, leaf by leaf.
    """

    y: Tensor
    taps: dict[str, list[Tap]]
    broken: set[str]
    seed: Tensor | None = None
    grads: ByLeaf | None = None


def record(
    fn: ModelFunction,
    x: Inputs,
    kinds: Mapping[str, str] | None = None,
    *,
    certify: bool = True,
) -> Recording:
    """Run the model once and tap it.

    ``kinds`` is what was certified on other examples. Parameters not named there are not watched. One that is used
    otherwise now, or whose taps do not add up to autograd's gradient on these examples, counts as broken: values may
    decide where data go. ``certify=False`` leaves the gradients out, where a guess is all that is wanted.

    The certificate's random cotangent goes backward in two halves of the examples. Neither may reach an example of the
    other half, to the bit; together they are the sum, which must be autograd's to rounding.
    """
    everything = _live(fn)  # so that one pass gives both gradients
    live = {name: p for name, p in everything.items() if kinds is None or name in kinds}
    uses = ParameterUses(live, x.n, *_noted(fn, x))
    with torch.enable_grad(), uses:
        y = fn(everything, x)
    taps: dict[str, list[Tap]] = {
        name: list(without_overlap([t for t in ts if isinstance(t, ParameterTap)], fn.params[name].numel()))
        for name, ts in uses.taps.items()
    }
    made = Recording(y, taps, set(uses.broken))
    if kinds is not None:
        made.broken |= {name for name in live if described(taps.get(name, [])) != kinds[name]}
    rest = {name: p for name, p in live.items() if name not in made.broken}
    if not certify or kinds is None or not rest:
        return made
    made.seed = _cotangent(y)
    right, truths = set(rest), dict[str, Tensor | None]()
    for half in _halves(x.n):
        some = half.to(y.device)
        there, sums = _gradients(y, taps, rest, made.seed * some[:, None])
        right &= {name for name in rest if _in_place(taps.get(name, []), there, ~some)}
        made.grads = there if made.grads is None else _added(made.grads, there)
        truths = _added(truths, sums)
    made.broken |= set(rest) - (right & set(_agreeing(fn, taps, made.grads, truths)))
    return made


def _live(fn: ModelFunction) -> dict[str, Tensor]:
    """All parameters, so that they ask for gradients: a model may look (recurrent layers do), and act otherwise."""
    return {name: p.detach().requires_grad_() for name, p in fn.params.items()}


def _added(first: Mapping[K, Tensor | None], second: Mapping[K, Tensor | None] | None) -> dict[K, Tensor | None]:
    """Sums entry by entry; None is zero."""
    out = dict(first)
    for key, value in (second or {}).items():
        before = out.get(key)
        out[key] = value if before is None else before if value is None else before + value
    return out


def _noted(fn: ModelFunction, x: Inputs) -> tuple[Layouts, dict[str, View]]:
    """What a run on two examples and one on three tell of the batch axis, and the parameters as views.

    Once for all batches that were cut from the same inputs; an only example is taken several times.
    """

    def run(n: int) -> ParameterUses:
        live = _live(fn)
        uses = ParameterUses(live, n, views=views)
        few = x.rows((torch.arange(n) % x.n).to(x.device))
        with torch.enable_grad(), uses:
            fn(live, few)
        return uses

    known = x.notes.get(id(fn))
    if known is None:
        views = views_of(fn.params)
        found = layouts(run(2).seen, run(3).seen), views
        known = x.notes[id(fn)] = fn, found  # with the model, so that its address stays its own
    noted: tuple[Layouts, dict[str, View]] = known[1]
    return noted


def certified_parameters(fn: ModelFunction, x: Inputs) -> dict[str, str]:
    """Parameters whose taps reproduce autograd's gradient on up to eight examples, one by one: name -> rule in words.

    The truth comes from a pass for each example, a random cotangent on it and zero on the others: a parameter that is
    also used where no one looked has a gradient that the taps do not add up to. (Sums over examples would need fewer
    passes, and would hide an example whose gradients are small.) The taps' cotangents come from one pass for all; and
    from five with groups of the examples, to see that nothing reaches an example outside the group, not by a single
    bit. A layer that sees the examples in another order, or that mixes them, does so: of any two examples, some group
    holds the first and not the second. What fails goes the general way.
    """
    few = x.rows(torch.linspace(0, x.n - 1, min(x.n, PROBES)).long().unique().to(x.device))
    # The taps are taken as the kernel takes them, the truth from a pass of its own: what differs between the two (a
    # layer recomputed during the backward pass, for instance) then shows in the comparison.
    made = record(fn, few)
    accepted = [name for name in fn.params if name not in made.broken]
    live = {name: fn.params[name].detach().requires_grad_() for name in accepted}
    with torch.enable_grad():
        y_live = fn({**fn.params, **live}, few)
    seed = _cotangent(y_live)
    by_leaf, _ = _gradients(made.y, made.taps, dict.fromkeys(accepted), seed)
    for n in range(few.n):
        mine = torch.zeros_like(seed)
        mine[n] = seed[n]
        _, truths = _gradients(y_live, {}, {name: live[name] for name in accepted}, mine)
        accepted = _agreeing(fn, made.taps, by_leaf, truths, slice(n, n + 1))
    for group in _groups(few.n):
        inside = group.to(seed.device)
        there, _ = _gradients(made.y, made.taps, dict.fromkeys(accepted), seed * inside[:, None])
        accepted = [name for name in accepted if _in_place(made.taps.get(name, []), there, ~inside)]
    return {name: described(made.taps.get(name, [])) for name in accepted}


def _groups(n: int) -> Iterator[Tensor]:
    """The fewest groups of n examples, as masks, such that of any two some group holds the first and not the second.

    Each example is in another choice of half of the groups; choices of one size do not contain one another.
    """
    count = next(m for m in itertools.count(1) if math.comb(m, -(-m // 2)) >= n)
    members = list(itertools.islice(itertools.combinations(range(count), -(-count // 2)), n))
    for group in range(count):
        yield torch.tensor([group in mine for mine in members])


def _halves(n: int) -> list[Tensor]:
    """A fixed random half of the examples, and the other one."""
    generator = torch.Generator().manual_seed(1)
    half = torch.randn(n, generator=generator).argsort() < max(1, n // 2)
    return [half, ~half] if n > 1 else [half]


def _cotangent(y: Tensor) -> Tensor:
    """Random; always the same, and not from the caller's generator."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)


def _gradients(
    y: Tensor, taps: Mapping[str, Sequence[Tap]], wanted: Mapping[str, Tensor | None], cotangent: Tensor
) -> tuple[ByLeaf | None, dict[str, Tensor | None]]:
    """One reverse pass: to the leaves of the taps of these parameters, and to the parameters that are given.

    The first is None if the pass fails.
    """
    leaves = {id(t.leaf): t.leaf for name in wanted for t in taps.get(name, [])}
    live = {name: p for name, p in wanted.items() if p is not None}
    by_leaf: dict[int, Tensor | None] = dict.fromkeys(leaves)
    truths: dict[str, Tensor | None] = dict.fromkeys(wanted)
    ends = [*leaves.values(), *live.values()]
    if not ends or not y.requires_grad:
        return by_leaf, truths
    try:
        grads = torch.autograd.grad(y, ends, cotangent, retain_graph=True, allow_unused=True)
    except RuntimeError:
        if not leaves:
            raise
        return None, truths  # a recomputation that does not match its first run: no tap can be trusted
    by_leaf |= zip(leaves, grads[: len(leaves)], strict=True)
    truths |= zip(live, grads[len(leaves) :], strict=True)
    return by_leaf, truths


def _in_place(taps: Sequence[Tap], by_leaf: ByLeaf | None, others: Tensor) -> bool:
    """Whether no cotangent reaches the examples in ``others``.

    A pole gives NaN even for no cotangent; the kernel itself is refused there, by name.
    """
    if by_leaf is None:
        return False
    there = (t.cotangent(by_leaf[id(t.leaf)])[others] for t in taps)
    return not any(float(g.nan_to_num(nan=0.0).abs().sum()) for g in there)


def _agreeing(
    fn: ModelFunction,
    taps: Mapping[str, Sequence[Tap]],
    by_leaf: ByLeaf | None,
    truths: Mapping[str, Tensor | None],
    examples: slice = slice(None),
) -> list[str]:
    """Names whose taps give the true gradient, summed over these examples."""
    if by_leaf is None:
        return []
    largest = max((float(_dense(truth).norm()) for truth in truths.values() if truth is not None), default=0.0)
    found = []
    for name, truth in truths.items():
        mine = taps.get(name, [])
        if _near(_weight_gradient(fn.params[name], mine, by_leaf, examples), truth, largest):
            found.append(name)
        elif truth is not None and bool(_dense(truth).isnan().any()):
            # At a pole autograd gives NaN even for no cotangent, so that the truth of every example has it.
            found += [name] if _near(_weight_gradient(fn.params[name], mine, by_leaf), truth, largest) else []
    return found


def _near(total: Tensor, truth: Tensor | None, largest: float) -> bool:
    """Whether a gradient is the true one to rounding; ``largest`` is the norm of the model's largest gradient.

    A gradient that is zero but for rounding (a bias of attention keys: softmax takes it away) has no digits of its own.
    """
    expected = torch.zeros_like(total) if truth is None else _dense(truth)
    missed = float((expected - total).norm())
    if math.isnan(missed):  # True where there is nothing to compare: the kernel is refused, with what spoils it
        return bool(expected.isnan().any() & total.isnan().any())
    scale = 1e3 * float(expected.norm() + total.norm()) + FLOOR * (0.0 if math.isnan(largest) else largest)
    return missed <= torch.finfo(total.dtype).eps * scale


def _dense(g: Tensor) -> Tensor:
    return g.to_dense() if g.is_sparse else g


def _weight_gradient(like: Tensor, taps: Sequence[Tap], by_leaf: ByLeaf, examples: slice = slice(None)) -> Tensor:
    """Gradient summed over some examples, from a parameter's taps: what autograd must agree with."""
    parts = []
    for tap in taps:
        assert isinstance(tap, ParameterTap)
        g = tap.cotangent(by_leaf[id(tap.leaf)])[examples]
        source = tap.source[examples]
        if tap.kind == "bias":
            part = g.sum((0, 1))
        elif tap.kind == "linear":
            part = g.flatten(0, 1).T @ source.to(g.dtype).flatten(0, 1)
        else:
            part = g.new_zeros(tap.positions.shape)
            part = part.index_add(0, source.reshape(-1), g.reshape(-1, g.shape[-1]))
        parts.append(tap.whole(part.reshape(-1), like.numel()).reshape(like.shape).to(like.dtype))
    return sum(parts[1:], start=parts[0]) if parts else torch.zeros_like(like)
