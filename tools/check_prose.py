"""Find measured numbers typed into prose: they go stale the day the code changes.

A decimal in the text of a chapter must be quoted from a stored output (``{glue:text}``), or belong to a published
result or a setting, and then the cell carries the tag ``typed-numbers``; on a Markdown page the paragraph is
preceded by a line ``% typed-numbers``. Formulas, code, links and the version numbers of software are left alone.

    python -m tools.check_prose [FILE ...]
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from tools.notebooks import BOOK, shown

TAG = "typed-numbers"
# Directives whose body is prose; the body of any other fence is code, mathematics or data.
PROSE_DIRECTIVE = re.compile(
    r"^(admonition|note|tip|hint|warning|caution|important|attention|danger|error|seealso|margin|sidebar|topic|dropdown|"
    r"card|grid|grid-item|grid-item-card|tab-set|tab-item|figure|table|list-table|exercise|exercise-start|solution|"
    r"solution-start|epigraph|glossary|prf:.*|proof:.*)$"
)
FENCE = re.compile(r"^\s*(`{3,}|~{3,}|:{3,})\s*(?:\{([^}]*)\})?")
# Taken out before looking: what is not prose inside a line.
INLINE = (
    re.compile(r"<!--.*?-->"),
    re.compile(r"(`+)(?:(?!\1).)+?\1"),  # code, and roles such as {glue:text}`x`
    re.compile(r"\$[^$]+\$"),
    re.compile(r"\]\([^)]*\)"),  # the target of a link; its text stays
    re.compile(r"<https?://[^>]*>|https?://\S+"),
    re.compile(r"\barXiv[: ]\d{4}\.\d{4,5}(v\d+)?", re.IGNORECASE),
    re.compile(r"\b(?:Python|PyTorch|torch|version|CC BY)\s+\d+(?:\.\d+)+", re.IGNORECASE),
)
DECIMAL = re.compile(r"(?<![\w.\\])\d*\.\d+(?![\w]|\.\d)")


def prose_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines of prose with their numbers from 1: fences of code, block mathematics and comments are skipped."""
    directives: list[str] = []  # the fences of the prose directives that are open
    end: str | None = None  # the mark that ends the block being skipped
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if end is not None:
            if stripped == end or (end in ("$$", "-->") and end in stripped):
                end = None
        elif directives and stripped == directives[-1]:
            directives.pop()
        elif stripped.startswith("%") or re.match(r":[\w-]+:", stripped):
            continue  # a comment, or an option of a directive
        elif stripped.startswith("<!--") and "-->" not in stripped:
            end = "-->"
        elif stripped.startswith("$$"):
            if "$$" not in stripped[2:]:
                end = "$$"
        elif fence := FENCE.match(line):
            if PROSE_DIRECTIVE.match(fence[2] or ""):
                directives.append(fence[1])
                yield number, line[fence.end() :]  # the title is prose too
            else:
                end = fence[1]
        else:
            yield number, line


def decimals(text: str) -> list[tuple[int, str]]:
    """Decimals in the prose of a piece of Markdown, as (line from 1, number)."""
    found = []
    for number, line in prose_lines(text):
        for pattern in INLINE:
            line = pattern.sub(" ", line)
        found += [(number, match[0]) for match in DECIMAL.finditer(line)]
    return found


def in_notebook(path: Path) -> list[str]:
    """Typed decimals of a notebook: in Markdown cells, captions and alternative texts not tagged as exempt."""
    found = []
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if TAG in cell.metadata.get("tags", []):
            continue
        options = cell.metadata.get("mystnb", {})
        texts = [("line", cell.source)] if cell.cell_type == "markdown" else []
        texts += [("caption, line", options.get("figure", {}).get("caption", ""))]
        texts += [("alternative text, line", options.get("image", {}).get("alt", ""))]
        for what, text in texts:
            found += [f"{shown(path)}, cell {index}, {what} {line}: {value}" for line, value in decimals(text)]
    return found


def in_page(path: Path) -> list[str]:
    """Typed decimals of a Markdown page; a paragraph after a line ``% typed-numbers`` is exempt."""
    lines = path.read_text(encoding="utf-8").splitlines()
    exempt: set[int] = set()
    active = False
    for number, line in enumerate(lines, start=1):
        active = line.strip() == f"% {TAG}" or (active and bool(line.strip()))
        if active:
            exempt.add(number)
    found = decimals("\n".join(lines))
    return [f"{shown(path)}, line {line}: {value}" for line, value in found if line not in exempt]


def main(arguments: list[str]) -> int:
    """Check the files named, or the whole book."""
    paths = [Path(a).resolve() for a in arguments]
    paths = paths or sorted(p for p in BOOK.rglob("*") if p.suffix in (".ipynb", ".md") and "_static" not in p.parts)
    found = [line for path in paths for line in (in_notebook if path.suffix == ".ipynb" else in_page)(path)]
    for line in found:
        print(
            f"{line} is typed: quote it with glue, or tag the cell {TAG!r} if it is published or a setting",
            file=sys.stderr,
        )
    print(f"{len(paths)} files, {len(found)} typed numbers")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
