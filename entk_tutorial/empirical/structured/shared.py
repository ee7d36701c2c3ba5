r"""A factor that all class cotangents share: guessed, then certified, it takes the class axis out of a trace.

Behind the last elementwise nonlinearity, a network is linear in its hidden activations, so the cotangent of output
:math:`c` at hidden unit :math:`k` is :math:`g_{nck} = D_{nk} B_{ck}`: a slope that belongs to the example, and a weight
that belongs to the class. Then, with unit columns :math:`B_{\cdot k}`,

.. math:: \sum_c g_{nc} \cdot g_{mc} = \sum_k D_{nk} D_{mk},

one product instead of C. The same holds for the output layer itself, where B is the identity.

Nothing about the model is looked up. Three reverse passes, each with an independent random cotangent for every example,
give :math:`y_i = D\,(v_i B)`. For three numbers there is one unknown, :math:`D_{nk}`: a least-squares fit finds it, and
what the fit leaves over must be rounding, for each example and unit. :math:`B_{\cdot k}` comes from one example where
unit k is alive: all C cotangents of a few examples, in one pass over copies of them. A unit that fails is rejected, and
goes the general way, alone. A structure that is violated passes with probability zero; one that is violated by less
than the tolerance, 32 units of rounding, changes the kernel by no more than that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.empirical.functional import Inputs, ModelFunction
from entk_tutorial.empirical.structured.certificate import Recording, record
from entk_tutorial.empirical.structured.rules import Part, parts_of
from entk_tutorial.empirical.structured.taps import Tap

FEWEST_CLASSES = 5
"""With fewer classes, three passes and the fit cost as much as they save."""
TOLERANCE = 32.0
"""Largest residual of the fit, in units of rounding."""
PASSES = 3
_MOST_EXAMPLES = 32
"""Examples of a tile whose class cotangents are all worked out; units alive at none of them are rejected."""
_ROWS = 1 << 11
"""Copies of examples in one pass, at most."""


class RejectedError(Exception):
    """Units of a part turned out to have no shared factor: part key -> their numbers."""

    def __init__(self, units: dict[str, Tensor]) -> None:
        """Keep them."""
        super().__init__(sorted(units))
        self.units = units


_BLOCK = 1 << 18
"""Entries of a part that are fitted at once: with many more they leave the cache between one operation and the next."""


def cotangents(y: Tensor, parts: Iterable[Part], seed: Tensor) -> dict[str, Tensor]:
    """One reverse pass: part key -> (N, T, O), for the cotangent ``seed`` of the outputs ``y``."""
    chosen = list(parts)
    leaves = {id(tap.leaf): tap.leaf for part in chosen for tap in part.taps}
    if not leaves:
        return {}
    grads = torch.autograd.grad(y, list(leaves.values()), seed, retain_graph=True, allow_unused=True)
    by_leaf: dict[int, Tensor | None] = dict(zip(leaves, grads, strict=True))
    return {part.key: part.cotangent(by_leaf) for part in chosen}


def all_parts(fn: ModelFunction, kinds: Mapping[str, str], taps: Mapping[str, list[Tap]]) -> list[Part]:
    """The parts of all parameters that go by rule."""
    found: list[Part] = []
    for name in kinds:
        found += parts_of(name, taps.get(name, []), tuple(fn.params[name].shape))
    return found


class SharedFactors:
    """Which units of which parts share a factor, and their class directions, learnt as tiles go by.

    Attributes:
        classes: C.
        directions: part key -> (C, O) unit columns; zero for a unit that was never alive.
        rejected: part key -> (O,) boolean.
    """

    def __init__(self, fn: ModelFunction, kinds: Mapping[str, str], x: Inputs, classes: int, max_numel: int) -> None:
        """Try all parts on up to 16 examples; those that fail there are never tried again.

        ``max_numel`` bounds the entries of one part's directions, and of the cotangents of one pass over copies.
        """
        self.fn, self.kinds, self.classes = fn, kinds, classes
        self.directions: dict[str, Tensor] = {}
        self.rejected: dict[str, Tensor] = {}
        few = x.rows(torch.linspace(0, x.n - 1, min(x.n, 16)).long().unique().to(x.device))
        made = record(fn, few, kinds, certify=False)
        y = made.y
        if not y.requires_grad or made.broken & set(kinds):
            return  # the tiles will say so
        parts = all_parts(fn, kinds, made.taps)
        an_example = sum(tap.leaf[0].numel() + tap.source[0].numel() for part in parts for tap in part.taps) + classes
        self._rows = max(1, min(_ROWS, max_numel // (4 * an_example)))
        generator = torch.Generator().manual_seed(1)
        seeds = [torch.randn(classes, generator=generator).to(y).expand_as(y) for _ in range(2)]
        first, second = (cotangents(y, parts, seed) for seed in seeds)
        for part in parts:
            units = first[part.key].shape[-1]
            if classes * units <= max_numel and _worth_trying(first[part.key], second[part.key]):
                self.directions[part.key] = first[part.key].new_zeros((classes, units))
                self.rejected[part.key] = torch.zeros(units, dtype=torch.bool, device=y.device)
        try:
            self.compress(few, made, parts)
        except RejectedError as error:
            self.reject(error)

    def covers(self, part: Part) -> bool:
        """Whether some of the part's units are taken by their factor."""
        return part.key in self.directions

    def good(self, part: Part) -> Tensor:
        """Numbers of the units that are."""
        return (~self.rejected[part.key]).nonzero().squeeze(1)

    def bad(self, part: Part) -> Tensor:
        """Numbers of the units that are not."""
        return self.rejected[part.key].nonzero().squeeze(1)

    def reject(self, error: RejectedError) -> None:
        """Take these units the general way from now on; the whole part, if they are more than half of it."""
        for key, units in error.units.items():
            self.rejected[key][units] = True
            if 2 * int(self.rejected[key].sum()) > len(self.rejected[key]):
                del self.directions[key], self.rejected[key]

    def compress(self, x: Inputs, made: Recording, parts: Sequence[Part]) -> dict[str, Tensor]:
        """Part key -> D (N, T, units that are taken), for the parts covered; ``made`` was recorded on ``x``.

        The pass of its certificate is the first of the fit.

        Raises:
            RejectedError: if some units fail the certificate; nothing is known of this tile then.
        """
        mine = [part for part in parts if self.covers(part)]
        if not mine:
            return {}
        generator = torch.Generator().manual_seed(2)  # private, so that the caller's random state is not touched
        seeds, measured = [], {part.key: list[Tensor]() for part in mine}
        if made.seed is not None and made.grads is not None:
            seeds.append(made.seed)
            for part in mine:
                measured[part.key].append(part.cotangent(made.grads))
        while len(seeds) < PASSES:
            seeds.append(torch.randn(made.y.shape, generator=generator).to(made.y))
            for key, seen in cotangents(made.y, mine, seeds[-1]).items():
                measured[key].append(seen)
        self._learn(x, mine, measured)
        out: dict[str, Tensor] = {}
        failed: dict[str, Tensor] = {}
        for part in mine:
            fit, bad = _fitted(measured.pop(part.key), seeds, self.directions[part.key])
            bad &= ~self.rejected[part.key]
            if bool(bad.any()):
                failed[part.key] = bad.nonzero().squeeze(1)
            else:
                out[part.key] = fit[..., self.good(part)] if bool(self.rejected[part.key].any()) else fit
        if failed:
            raise RejectedError(failed)
        return out

    def _learn(self, x: Inputs, parts: Sequence[Part], measured: Mapping[str, list[Tensor]]) -> None:
        """Class directions of units seen alive for the first time."""
        wanted: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # units, and the example and token to learn each from
        chosen: dict[int, int] = {}
        for part in parts:
            unknown = ~self.directions[part.key].any(0) & ~self.rejected[part.key]
            if not bool(unknown.any()):
                continue
            strength = sum((seen[..., unknown].square() for seen in measured[part.key]), start=torch.zeros(()))
            unit, example, token = _cover(strength)
            units = unknown.nonzero().squeeze(1)[unit]
            for n in example.tolist():
                chosen.setdefault(n, len(chosen))
            place = torch.tensor([chosen[n] for n in example.tolist()], dtype=torch.long, device=units.device)
            wanted[part.key] = units, place, token
        if not chosen:
            return
        examples = torch.tensor(list(chosen), device=x.device)
        for start in range(0, len(chosen) * self.classes, self._rows):
            copies = torch.arange(start, min(start + self._rows, len(chosen) * self.classes), device=x.device)
            batch = x.rows(examples[copies // self.classes])
            made = record(self.fn, batch, self.kinds, certify=False)  # the fit is what is certified
            if made.broken & set(self.kinds) or not made.y.requires_grad:
                continue  # no directions: the units fail, and go the general way
            seed = torch.zeros_like(made.y).scatter_(1, (copies % self.classes)[:, None], 1.0)
            mine = [part for part in all_parts(self.fn, self.kinds, made.taps) if part.key in wanted]
            for key, g in cotangents(made.y, mine, seed).items():
                units, place, token = wanted[key]
                for n in (copies // self.classes).unique().tolist():
                    rows = (copies // self.classes == n).nonzero()
                    here = (place == n).nonzero().squeeze(1)
                    value = g[rows, token[here], units[here]]
                    self.directions[key][(copies % self.classes)[rows], units[here]] = value
        for key, (units, _, _) in wanted.items():
            columns = self.directions[key][:, units]
            self.directions[key][:, units] = columns / columns.norm(dim=0).clamp(min=torch.finfo(columns.dtype).tiny)


def _worth_trying(first: Tensor, second: Tensor) -> bool:
    """Whether two passes, each with one cotangent for all examples, have the same ratio at all of them, unit by unit.

    A cheap screen, for most units: the certificate is what decides.
    """
    ratio = (first * second).sum((0, 1)) / first.square().sum((0, 1)).clamp(min=torch.finfo(first.dtype).tiny)
    allowed = (first * ratio).abs() + second.abs()
    close = (second - first * ratio).abs() <= 1e3 * torch.finfo(first.dtype).eps * (allowed + allowed.mean())
    return 2 * int(close.all(1).all(0).sum()) > first.shape[-1]


def _cover(strength: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Few examples at which all units are alive: units, and for each an example and a token; strength is (N, T, O)."""
    best, token = strength.max(1)  # (N, O)
    peak = best.max(0).values
    alive = best > 0.01 * peak  # of squares
    example = torch.zeros(alive.shape[1], dtype=torch.long, device=alive.device)
    open_units = peak > 0
    done = torch.zeros_like(open_units)
    for _ in range(_MOST_EXAMPLES):
        if not bool(open_units.any()):
            break
        n = int((alive & open_units).sum(1).argmax())
        taken = alive[n] & open_units
        if not bool(taken.any()):
            break
        example[taken] = n
        done |= taken
        open_units &= ~taken
    units = done.nonzero().squeeze(1)
    return units, example[units], token[example[units], units]


def _fitted(measured: list[Tensor], seeds: list[Tensor], directions: Tensor) -> tuple[Tensor, Tensor]:
    """D (N, T, O) from the passes, and (O,) whether a unit's residuals are more than rounding."""
    n, tokens, units = measured[0].shape
    fit = torch.empty_like(measured[0])
    bad = torch.zeros(units, dtype=torch.bool, device=fit.device)

    seeds = [seed.to(directions) for seed in seeds]
    lengths = [seed.norm(dim=1) for seed in seeds]

    def passes(rows: slice) -> _Passes:
        expected = [(seed[rows] @ directions).unsqueeze(1) for seed in seeds]  # (N, 1, O)
        return _Passes([seen[rows] for seen in measured], expected, [each[rows, None, None] for each in lengths])

    blocks = list(_blocks(n, tokens * units))
    for rows in blocks:
        some = passes(rows)
        fit[rows] = some.fit()
        bad |= some.misses(fit[rows])
    if all(bool(((fit[rows] - fit[0]).abs() <= _rounding(fit[rows])).all()) for rows in (slice(-1, None), *blocks)):
        # The same for all examples, as in an output layer: products get by without it.
        fit = fit.mean(0).expand_as(fit)
        bad = sum((passes(rows).misses(fit[rows]) for rows in blocks), start=torch.zeros_like(bad))
    return fit, bad


def _blocks(n: int, size: int) -> Iterator[slice]:
    """Rows whose entries, ``size`` each, fit into the cache."""
    step = max(1, _BLOCK // max(size, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))


def _rounding(fit: Tensor) -> Tensor:
    """What counts as rounding, entry by entry; what is small beside the example's own slopes is small."""
    typical = torch.linalg.vector_norm(fit, dim=(1, 2), keepdim=True) / math.sqrt(fit[0].numel())
    return torch.maximum(fit.abs(), typical).mul_(TOLERANCE * torch.finfo(fit.dtype).eps)


@dataclass(frozen=True)
class _Passes:
    """A few reverse passes on some examples. Comparisons entry by entry are slow beside arithmetic, so there are none.

    Attributes:
        measured: cotangents (N, T, O), pass by pass.
        expected: (N, 1, O) what a factor of 1 would have made of the seeds.
        lengths: (N, 1, 1) norms of the seeds.
    """

    measured: list[Tensor]
    expected: list[Tensor]
    lengths: list[Tensor]

    def fit(self) -> Tensor:
        """D by least squares; 0 for a unit without direction."""
        (seen, b), *others = zip(self.measured, self.expected, strict=True)
        fit, weight = seen * b, b.square()
        for seen, b in others:
            fit.addcmul_(seen, b)
            weight.addcmul_(b, b)
        return fit.mul_(weight.clamp_(min=torch.finfo(fit.dtype).tiny).reciprocal_())

    def misses(self, fit: Tensor) -> Tensor:
        """(O,) whether some residual is more than rounding."""
        worst, residual = torch.zeros_like(fit), torch.empty_like(fit)
        for seen, b, length in zip(self.measured, self.expected, self.lengths, strict=True):
            torch.addcmul(seen, fit, b, value=-1.0, out=residual).abs_().div_(length)
            torch.maximum(worst, residual, out=worst)
        return ~(worst.sub_(_rounding(fit)).amax((0, 1)) <= 0)  # a NaN is missed, too
