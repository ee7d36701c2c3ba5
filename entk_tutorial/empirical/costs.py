"""Counting before work: what each parameter's share of a kernel takes, in elements and multiply-adds."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from entk_tutorial.empirical.functional import Inputs, ModelFunction
from entk_tutorial.empirical.planning import Demand, ParameterPlan
from entk_tutorial.empirical.reductions import Reduction
from entk_tutorial.empirical.structured import TOKEN_GRAM_LIMIT, record
from entk_tutorial.empirical.structured.rules import Part, panel_rows, rule_operations
from entk_tutorial.empirical.structured.shared import PASSES, SharedFactors, all_parts

_PASS = 100
"""An elementwise pass over a product takes as long as so many multiply-adds an entry."""


class _Tally:
    """Sums over the parts of one parameter."""

    def __init__(self) -> None:
        self.always = self.per_class = self.operations = self.written = 0
        self.ways: set[str] = set()


def demand_of(
    fn: ModelFunction,
    a: Inputs,
    b: Inputs | None,
    reduction: Reduction,
    structured: Mapping[str, str],
    shared: SharedFactors | None,
    work: torch.dtype,
    *,
    n_groups: int,
) -> tuple[Demand, tuple[ParameterPlan, ...]]:
    """What the kernel asks for, and each parameter's share of it."""
    size = torch.finfo(work).bits // 8
    n1, n2 = a.n, a.n if b is None else b.n
    symmetric = b is None and reduction.symmetric
    pairs = (n1 * (n1 + 1) // 2 if symmetric else n1 * n2) * (1 if reduction.paired else reduction.count)
    general = [name for name in fn.params if name not in structured]
    outputs = reduction.outputs
    always, per_class, passing, passing_per_class = 0, sum(fn.params[n].numel() for n in general), 0, 0
    passing_per_class += 3 * per_class
    written = token_pairs = repeated = 0
    pass_operations = 2 * sum(p.numel() for p in fn.params.values())
    tallies = {name: _Tally() for name in structured}
    if structured:
        made = record(fn, a.rows(slice(0, 1)), structured, certify=False)
        parts = all_parts(fn, structured, made.taps)
        leaves = {id(tap.leaf): tap.leaf for part in parts for tap in part.taps}
        sources = {id(tap): tap.source for part in parts for tap in part.taps}
        passing += 3 * sum(leaf.numel() for leaf in leaves.values()) + 3 * sum(s.numel() for s in sources.values())
        passing += (2 + PASSES * (shared is not None)) * made.y.numel()
        for part in parts:
            tokens, wide = _shape(part)
            covered = 0 if shared is None or not shared.covers(part) else len(shared.good(part))
            rest = wide - covered
            tally = tallies[part.name]
            source = 0 if part.kind == "bias" else sum(tap.source[0].numel() for tap in part.taps)
            tally.always += source + tokens * covered
            tally.per_class += tokens * rest
            passing += (PASSES + 4) * tokens * covered
            passing_per_class += tokens * rest
            for units, classes in ((covered, 1), (rest, reduction.count)):
                if not units:
                    continue
                by_token, by_row = _operations(part, tokens, units, classes, n2, paired=reduction.paired)
                tally.operations += pairs * min(by_token, by_row) // (1 if reduction.paired else reduction.count)
                tally.ways.add(_way(part, by_token, by_row, covered=classes == 1 and bool(covered)))
                if part.kind != "bias" and by_row < by_token:
                    rows = part.size[1] if part.kind == "linear" else part.size[0]
                    written = max(written, units * rows)
                elif part.kind != "bias" and reduction.paired and tokens > 1:
                    token_pairs = max(token_pairs, tokens * tokens)
                if classes > 1 and part.kind == "linear" and by_token <= by_row:
                    repeated += tokens * tokens * (part.size[1] + _PASS)
            inner = part.size[1] if part.kind == "linear" else 1
            pass_operations += 2 * tokens * wide * inner
            tally.written += (n1 if symmetric else n1 + n2) * reduction.count * tokens * wide * inner
        always += sum(t.always for t in tallies.values())
        per_class += sum(t.per_class for t in tallies.values())
    parameters = tuple(_parameter(fn, name, tallies.get(name), reduction, pairs, size) for name in fn.params)
    entries = n1 * n2 * (1 if reduction.paired else reduction.count**2)
    finished = torch.finfo(fn.dtype).bits // 8
    demand = Demand(
        n1=n1,
        n2=n2,
        classes=reduction.count,
        paired=reduction.paired,
        one_side=symmetric,
        always=always,
        per_class=per_class,
        passing=passing + outputs,
        passing_per_class=passing_per_class,
        written=written,
        token_pairs=token_pairs,
        token_gram_limit=TOKEN_GRAM_LIMIT,
        panel=panel_rows(n1),
        pass_operations=pass_operations,
        product_operations=sum(part.operations for part in parameters),
        repeated=repeated,
        size=size,
        result_bytes=n_groups * entries * size,
        copy_bytes=entries * finished if reduction.name == "full" or finished != size else 0,
    )
    return demand, parameters


def _shape(part: Part) -> tuple[int, int]:
    """Tokens and units of a part's cotangent on one example."""
    shape = part.cotangent({id(tap.leaf): None for tap in part.taps}).shape
    return int(shape[1]), int(shape[2])


def _operations(part: Part, tokens: int, units: int, classes: int, n: int, *, paired: bool) -> tuple[int, int]:
    """Multiply-adds of the token and of the row form, for a pair of examples among n x n."""
    if part.kind == "bias":
        each = units * classes * (1 if paired else classes)
        return each, each
    g = (n, classes, tokens, units)
    by_token, by_row = rule_operations(part.kind, g, g, part.size, paired=paired)
    return by_token // n**2, by_row // n**2


def _way(part: Part, by_token: int, by_row: int, *, covered: bool) -> str:
    if covered:
        return "shared factor"
    return "rows" if part.kind == "bias" or by_row < by_token else "tokens"


def _parameter(
    fn: ModelFunction, name: str, tally: _Tally | None, reduction: Reduction, pairs: int, size: int
) -> ParameterPlan:
    count = math.prod(fn.params[name].shape)
    return ParameterPlan(
        name=name,
        way="Jacobian" if tally is None else " + ".join(sorted(tally.ways)) or "unused",
        by_rule=None if tally is None else tally.operations,
        by_jacobian=pairs * reduction.count * count + (0 if tally is None else tally.written),
        kept_by_rule=None if tally is None else size * (tally.always + reduction.count * tally.per_class),
        kept_by_jacobian=size * reduction.count * count,
    )
