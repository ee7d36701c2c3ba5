"""Where each stored result comes from, as a table: seeds, time, machine, versions, commit, how often seen again."""

from __future__ import annotations

import html
from pathlib import Path

from entk_tutorial import experiments
from entk_tutorial.ledger.report import seed_text
from entk_tutorial.results import load_result, stored_names

__all__ = ["Run", "run_rows", "runs_table"]

HEADERS = ("experiment", "seeds", "minutes", "threads", "machine", "torch", "day", "commit", "seen again")


class Run(tuple[str, ...]):
    """One row, in the order of :data:`HEADERS`."""


def run_rows(folder: Path | str | None = None) -> list[Run]:
    """One row a stored result, in the order of the book.

    Args:
        folder: of results; None means those that ship with the package.

    Example:
        >>> [row[1] for row in run_rows() if row[0] == "modular-mlp"]
        ['0-9']
    """
    stored = set(stored_names(folder))
    rows = []
    for name in experiments.names():
        if name not in stored:
            continue
        result = load_result(name, folder)
        made = result.provenance
        rows.append(
            Run(
                (
                    name.replace("_", "-"),
                    seed_text(result.seeds),
                    f"{float(made['seconds']) / 60:.0f}",
                    str(made["threads"]),
                    f"{made['hardware']}, {made['device']}",
                    str(made["versions"]["torch"]),
                    str(made["date"])[:10],
                    str(made["commit"] or "none")[:8],
                    str(len(made.get("renewed", []))),
                )
            )
        )
    return rows


def runs_table(folder: Path | str | None = None) -> str:
    """The rows as an HTML table for a page of the book."""
    head = "".join(f'<th scope="col">{header}</th>' for header in HEADERS)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in run_rows(folder)
    )
    return f'<table class="runs"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
