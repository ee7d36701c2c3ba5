"""From criterion and numbers to a verdict. A pure function of the two."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from entk_tutorial.experiments.result import Result
from entk_tutorial.ledger.claims import Claim, Criterion, load_claims

__all__ = ["NOT_TESTED", "Outcome", "judge", "outcomes", "verdict"]

REPRODUCED = "reproduced"
PARTLY = "partly"
NOT_REPRODUCED = "not reproduced"
NOT_WHAT_IT_SEEMS = "not what it seems"
NOT_TESTED = "not tested"


@dataclass(frozen=True)
class Outcome:
    """What became of one criterion.

    Attributes:
        criterion: the criterion.
        met: whether it holds in its own sense, on each seed or on average.
        seeds: (S,) bool, seed by seed; the same everywhere for a criterion on the average.
    """

    criterion: Criterion
    met: bool
    seeds: np.ndarray


def outcomes(criteria: Iterable[Criterion], result: Result) -> list[Outcome]:
    """Compare each criterion with the numbers.

    Raises:
        ValueError: if a criterion names a metric or control that the result does not have.
    """
    return [_outcome(criterion, result) for criterion in criteria]


def _outcome(c: Criterion, result: Result) -> Outcome:
    left = result.values(c.metric, c.control or None)
    if c.value_metric:
        right = c.factor * result.values(c.value_metric, c.value_control or None)
    else:
        right = np.full_like(left, np.nan if c.value is None else c.value)
    if c.over == "mean":
        left, right = np.full_like(left, left.mean()), np.full_like(right, right.mean())
    match c.op:
        case ">=":
            seeds = left >= right
        case "<=":
            seeds = left <= right
        case ">":
            seeds = left > right
        case "<":
            seeds = left < right
        case "within":
            seeds = np.abs(left - right) <= (0.0 if c.tolerance is None else c.tolerance)
        case _:
            raise ValueError(f"unknown operator {c.op!r}; use >=, <=, >, < or within.")
    return Outcome(c, bool(seeds.all()), seeds)


def verdict(claim: Claim, result: Result | None) -> str:
    """The verdict on a claim.

    * reproduced: every criterion is met;
    * not what it seems: every criterion is met, and so is every undercut: the numbers hold without the meaning;
    * only if <condition>: not every criterion is met, but all of the condition's are;
    * partly: some criterion is met, or at least half of the seeds meet them all;
    * not reproduced: otherwise;
    * not tested: no experiment, or no result of it.

    Raises:
        ValueError: if a criterion names a metric or control that the result does not have.
    """
    if result is None or not claim.experiment:
        return NOT_TESTED
    main = outcomes(claim.criterion, result)
    undercut = outcomes(claim.undercut, result)  # looked at in any case, so that a wrong name is found
    condition = outcomes(claim.only_if.criterion, result) if claim.only_if else []
    if all(o.met for o in main):
        return NOT_WHAT_IT_SEEMS if undercut and all(o.met for o in undercut) else REPRODUCED
    if claim.only_if and all(o.met for o in condition):
        return f"only if {claim.only_if.text}"
    share = np.mean(np.logical_and.reduce([o.seeds for o in main]))
    return PARTLY if any(o.met for o in main) or share >= 0.5 else NOT_REPRODUCED


def judge(result: Result, claims: list[Claim] | None = None) -> dict[str, str]:
    """Verdict, by id, of every claim that rests on a result's experiment.

    Args:
        result: at the paper's scale; the claims are about no other.
        claims: None means all claims of this package.
    """
    known = load_claims() if claims is None else claims
    return {c.id: verdict(c, result) for c in known if c.experiment == result.experiment}
