"""Has every picture of the pages an alternative text? One line a fault, with file and line.

Looked at are images and figures in Markdown, ``<img>``, and figures drawn by cells; of the latter
:mod:`tools.notebooks` says the same when it checks a notebook as stored.

    python -m tools.alt_text [FILE ...]
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat

from tools.notebooks import BOOK, Lines, shown
from tools.terms import pieces

DIRECTIVE = re.compile(r"^\s*(?P<fence>[`:]{3,})\{(?P<name>figure|image)\}")
INLINE = re.compile(r"!\[\s*\]\(")
TAG = re.compile(r"<img\b(?![^>]*\balt=[\"']\s*[^\s\"'])[^>]*>")


def in_text(text: str) -> Iterator[tuple[int, str]]:
    """Pictures without alternative text in a piece of Markdown: line from 1, and what they are."""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if opened := DIRECTIVE.match(line):
            options = []
            for option in lines[number:]:
                if not re.match(r"\s*:[\w-]+:", option):
                    break
                options.append(option.strip())
            if not any(re.match(r":alt:\s*\S", option) for option in options):
                yield number, f"{{{opened['name']}}}"
        elif INLINE.search(line):
            yield number, "![](...)"
        elif TAG.search(line):
            yield number, "<img>"


def problems(path: Path) -> list[str]:
    """The pictures of a page that have none."""
    found = [
        f"{shown(path)}, line {start + number}: {what} without alternative text"
        for text, start in pieces(path)
        for number, what in in_text(text)
    ]
    if path.suffix == ".ipynb":
        lines = Lines(path)
        for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
            options = cell.metadata.get("mystnb", {})
            if "figure" in options and not str(options.get("image", {}).get("alt", "")).strip():
                found.append(f"{shown(path)}, line {lines.of(index)}: a cell's figure without alternative text")
    return found


def main(arguments: list[str]) -> int:
    """Check the pages named, or all."""
    pages = [Path(a).resolve() for a in arguments]
    pages = pages or sorted(p for p in BOOK.rglob("*") if p.suffix in (".ipynb", ".md") and "_static" not in p.parts)
    found = [line for page in pages for line in problems(page)]
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(pages)} pages, {len(found)} pictures without alternative text")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
