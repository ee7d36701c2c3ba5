"""The ledger as a table: claim, published, ours, chance, control, verdict, page, command."""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from entk_tutorial.experiments.result import Result
from entk_tutorial.ledger.claims import Claim, Criterion, load_claims
from entk_tutorial.ledger.verdict import NOT_TESTED, Outcome, outcomes, verdict
from entk_tutorial.results import load_result, stored_names

__all__ = ["Measured", "Row", "evaluate", "ledger_rows", "report"]

HEADERS = ("claim", "published", "ours", "chance", "control", "verdict", "page", "command")
DASH = "–"


class Measured(NamedTuple):
    """Mean and sample standard deviation over seeds of a metric; ``control`` is "" for the experiment itself."""

    metric: str
    control: str
    mean: float
    spread: float

    @property
    def label(self) -> str:
        """E.g. ``untrained window2_sum``."""
        return f"{self.control} {self.metric}".strip()

    def __str__(self) -> str:
        """E.g. ``window2_sum 26.38 ± 0.16``."""
        return f"{self.label} {with_spread(self.mean, self.spread)}"


@dataclass(frozen=True)
class Row:
    """One row of the ledger.

    Attributes:
        claim: what is claimed.
        verdict: computed from criterion and numbers.
        seeds: which seeds; empty if not tested.
        ours: the numbers that the criteria are about.
        controls: the same metrics in the controls, and what else the criteria compare with.
        chance: chance level by metric.
        outcomes: what became of each criterion.
        undercut: what became of each undercut.
        command: what makes the numbers; "" if there is no experiment yet.
    """

    claim: Claim
    verdict: str
    seeds: tuple[int, ...]
    ours: tuple[Measured, ...]
    controls: tuple[Measured, ...]
    chance: dict[str, float]
    outcomes: tuple[Outcome, ...]
    undercut: tuple[Outcome, ...]
    command: str

    def cells(self) -> list[list[str]]:
        """Lines of text by column, in the order of the table's headers."""
        paper = f"({self.claim.paper}, {self.claim.where})" if self.claim.where else f"({self.claim.paper})"
        ours = [str(m) for m in self.ours] + (
            [f"{len(self.seeds)} seed" + "s" * (len(self.seeds) > 1)] if self.seeds else []
        )
        return [
            [f"{self.claim.id}: {self.claim.statement} {paper}"],
            [self.claim.published or DASH],
            ours or [DASH],
            [f"{name} {number(value)}" for name, value in self.chance.items()] or [DASH],
            [str(m) for m in self.controls] or [DASH],
            [self.verdict],
            [self.claim.page or DASH],
            [self.command or DASH],
        ]


def evaluate(claim: Claim, result: Result | None) -> Row:
    """Put a claim beside the numbers of its experiment.

    Args:
        claim: the claim.
        result: None gives a row "not tested".

    Raises:
        ValueError: if the result is another experiment's, or lacks a metric, control or chance level that the claim
            names.
    """
    command = f"entk run {claim.experiment.replace('_', '-')}" if claim.experiment else ""
    if result is None or not claim.experiment:
        return Row(claim, NOT_TESTED, (), (), (), {}, (), (), command)
    if result.experiment != claim.experiment:
        raise ValueError(f"claim {claim.id} rests on {claim.experiment}, the result is of {result.experiment}.")
    if claim.chance and claim.chance not in result.chance:
        raise ValueError(
            f"claim {claim.id}: {claim.experiment} has no chance level {claim.chance!r}, only {sorted(result.chance)}."
        )
    try:
        judged, main, undercut = (
            verdict(claim, result),
            outcomes(claim.criterion, result),
            outcomes(claim.undercut, result),
        )
    except ValueError as error:
        raise ValueError(f"claim {claim.id}: {error}") from error
    tested = list(dict.fromkeys((c.control, c.metric) for c in claim.criterion))
    metrics = list(dict.fromkeys(metric for _, metric in tested))
    beside = [
        *((control, metric) for c in (*claim.criterion, *claim.undercut) for control, metric in _sides(c)),
        *((control, metric) for metric in metrics for control in result.controls if metric in result.controls[control]),
    ]
    return Row(
        claim=claim,
        verdict=judged,
        seeds=tuple(result.seeds),
        ours=tuple(_measured(result, *key) for key in tested),
        controls=tuple(_measured(result, *key) for key in dict.fromkeys(beside) if key not in tested),
        chance={
            name: result.chance[name] for name in ([claim.chance] if claim.chance else metrics) if name in result.chance
        },
        outcomes=tuple(main),
        undercut=tuple(undercut),
        command=f"{command} --seeds {seed_text(result.seeds)}",
    )


def _sides(c: Criterion) -> list[tuple[str, str]]:
    return [(c.control, c.metric)] + ([(c.value_control, c.value_metric)] if c.value_metric else [])


def _measured(result: Result, control: str, metric: str) -> Measured:
    return Measured(metric, control, result.mean(metric, control or None), result.spread(metric, control or None))


def seed_text(seeds: Sequence[int]) -> str:
    """Seeds as the command line takes them.

    Example:
        >>> seed_text([0, 1, 2]), seed_text([5]), seed_text([0, 2])
        ('0-2', '5', '0,2')
    """
    if len(seeds) > 1 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return ",".join(map(str, seeds))


def ledger_rows(folder: Path | str | None = None, claims: Iterable[Claim] | None = None) -> list[Row]:
    """All rows, from claims and stored results.

    Args:
        folder: of results; None means those that ship with the package.
        claims: None means those of this package.

    A result made at another scale, or before a claim had its criterion, says nothing about the claim: the row is
    "not tested".

    Example:
        >>> len(ledger_rows()) == len(load_claims())
        True
    """
    claims = load_claims() if claims is None else list(claims)
    wanted = {c.experiment for c in claims} & set(stored_names(folder))
    results = {name: load_result(name, folder) for name in sorted(wanted)}
    rows = []
    for claim in claims:
        result = results.get(claim.experiment)
        was_set = result is not None and claim.id in result.hashes["criteria"]
        rows.append(evaluate(claim, result if was_set else None))
    return rows


def report(
    folder: Path | str | None = None, *, claims: Iterable[Claim] | None = None, format: str = "text", pages: str = "../"
) -> str:
    """The ledger as text for a terminal, as a Markdown table, or as HTML for a page of the book.

    Args:
        folder: of results; None means those that ship with the package.
        claims: None means those of this package.
        format: "text", "markdown" or "html"; only the last lists each criterion, and how many seeds met it.
        pages: the way from the page that shows the table to the book's root, put before each link.

    Raises:
        ValueError: for another format, or a result that does not fit its claims.
    """
    if format not in ("text", "markdown", "html"):
        raise ValueError(f"format is 'text', 'markdown' or 'html', got {format!r}.")
    rows = ledger_rows(folder, claims)
    if format == "html":
        return _html(rows, pages)
    return _text(rows) if format == "text" else _markdown(rows, pages)


def _markdown(rows: Iterable[Row], pages: str) -> str:
    lines = ["| " + " | ".join(HEADERS) + " |", "|" + " --- |" * len(HEADERS)]
    for row in rows:
        cells = ["<br>".join(lines) for lines in row.cells()]
        if row.claim.page:
            cells[6] = f"[{row.claim.page.rpartition('/')[2]}]({pages}{row.claim.page}.ipynb)"
        if row.command:
            cells[7] = f"`{row.command}`"
        cells[2], cells[4] = cells[2].replace("_", r"\_"), cells[4].replace("_", r"\_")
        cells[3], cells[5] = cells[3].replace("_", r"\_"), f"**{row.verdict}**"
        lines.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _html(rows: Iterable[Row], pages: str) -> str:
    """One block a claim: on a phone a table of eight columns cannot be read."""
    blocks = []
    for row in rows:
        claim = row.claim
        ours = "; ".join(map(str, row.ours)) + (f" ({len(row.seeds)} seeds)" if row.ours else "")
        facts = {
            "published": claim.published,
            "ours": ours,
            "chance": "; ".join(f"{name} {number(value)}" for name, value in row.chance.items()),
            "control": "; ".join(map(str, row.controls)),
            "criterion": "; ".join(map(_met, row.outcomes)),
            "taken back if": "; ".join(map(_met, row.undercut)),
        }
        cells = "".join(
            f'<tr><th scope="row">{name}</th><td>{html.escape(value)}</td></tr>'
            for name, value in facts.items()
            if value
        )
        page = claim.page and f'<a href="{pages}{claim.page}.html">{claim.page.rpartition("/")[2]}</a>'
        command = row.command and f"<code>{html.escape(row.command)}</code>"
        where = html.escape(f"{claim.paper}, {claim.where}" if claim.where else claim.paper)
        blocks.append(
            f'<div class="ledger-row"><p><strong>{claim.id}</strong> {html.escape(claim.statement)} '
            f"<em>({where})</em> <strong>Verdict: {html.escape(row.verdict)}.</strong></p>"
            + (f"<table>{cells}</table>" if cells else "")
            + f"<p>{' · '.join(part for part in (page, command) if part)}</p></div>"
        )
    return "\n".join(blocks) + "\n"


def _met(outcome: Outcome) -> str:
    return f"{outcome.criterion} [{int(outcome.seeds.sum())} of {len(outcome.seeds)}]"


_WIDTHS = (38, 14, 32, 16, 36, 12, 16, 20)


def _text(rows: Iterable[Row]) -> str:
    rule = "-+-".join("-" * width for width in _WIDTHS)
    out = [_line([[header] for header in HEADERS]), rule]
    for row in rows:
        out += [_line(row.cells()), rule]
    return "\n".join(out) + "\n"


def _line(cells: Sequence[Sequence[str]]) -> str:
    wrapped = [
        [part for line in lines for part in textwrap.wrap(line, width, break_on_hyphens=False)]
        for lines, width in zip(cells, _WIDTHS, strict=True)
    ]
    height = max(map(len, wrapped))
    padded = [[*lines, *[""] * (height - len(lines))] for lines in wrapped]
    return "\n".join(
        " | ".join(column[i].ljust(width) for column, width in zip(padded, _WIDTHS, strict=True)).rstrip()
        for i in range(height)
    )


def number(value: float) -> str:
    """Four significant digits, without trailing zeros.

    Example:
        >>> number(2.0), number(26.4712), number(1.6e-16)
        ('2', '26.47', '1.6e-16')
    """
    return f"{value:.4g}"


def with_spread(mean: float, spread: float) -> str:
    """Mean ± spread, both to the second digit of the spread.

    Example:
        >>> with_spread(26.3812, 0.1634), with_spread(100.0, 0.0), with_spread(3.14159, float("nan"))
        ('26.38 ± 0.16', '100 ± 0', '3.142')
    """
    if math.isnan(spread):
        return number(mean)
    if spread == 0:
        return f"{number(mean)} ± 0"
    digits = 1 - math.floor(math.log10(float(f"{spread:.2g}")))  # rounded first: .0999... is .10
    if digits > 6:
        return f"{mean:.3g} ± {spread:.1g}"
    return f"{mean:.{max(0, digits)}f} ± {spread:.{max(0, digits)}f}"
