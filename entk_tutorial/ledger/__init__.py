"""The ledger: every claim, the numbers it stands or falls by, and the verdict that follows from both.

Claims are written in ``claims.toml`` before the run; numbers come from stored results. Nothing here lets a verdict
be typed.

Chapter: book/reference/what-holds
"""

from entk_tutorial.ledger.check import check
from entk_tutorial.ledger.claims import Claim, Criterion, OnlyIf, criteria_hash, criteria_of, find_claims, load_claims
from entk_tutorial.ledger.report import Row, evaluate, ledger_rows, report
from entk_tutorial.ledger.runs import runs_table
from entk_tutorial.ledger.verdict import Outcome, judge, outcomes, verdict

__all__ = [
    "Claim",
    "Criterion",
    "OnlyIf",
    "Outcome",
    "Row",
    "check",
    "criteria_hash",
    "criteria_of",
    "evaluate",
    "find_claims",
    "judge",
    "ledger_rows",
    "load_claims",
    "outcomes",
    "report",
    "runs_table",
    "verdict",
]
