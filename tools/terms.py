"""Are terms defined, used, and linked where a reader first meets them? One line a fault, with file and line.

A term is defined in the glossary and linked with ``{term}``. It fails if one is linked and not defined, defined and
never linked, or met in a chapter for the first time without a link.

    python -m tools.terms [FILE ...]
"""

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat

from tools.chapters import contents
from tools.check_prose import FENCE, INLINE, prose_lines
from tools.notebooks import BOOK, ROOT, Lines, shown

GLOSSARY = BOOK / "reference" / "glossary.md"
USE = re.compile(r"\{term\}`(?:[^`<]*<)?([^`>]+)>?`")
LABEL = re.compile(r"^\([\w-]+\)=$")
EVERYDAY = {
    *("feature", "family", "lead", "window", "control", "share", "flip", "seed", "balance", "purity", "readout"),
    *("polarity", "tap", "lazy", "rich", "overlap", "superposition", "NTK", "pure pair"),
}
"""Words with another sense too, or part of other terms: a chapter may use them before it needs the term."""


def defined(path: Path) -> dict[str, int]:
    """Term -> line of its definition in a glossary."""
    found: dict[str, int] = {}
    inside = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            inside = line == "```{glossary}"
        elif inside and line[:1].strip():
            found[line.strip()] = number
    return found


def pieces(path: Path) -> Iterator[tuple[str, int]]:
    """The text of a page, piece by piece, each with the line of the file before its first."""
    if path.suffix == ".md":
        yield path.read_text(encoding="utf-8"), 0
        return
    lines = Lines(path)
    for index, cell in enumerate(nbformat.read(path, as_version=4).cells):
        if cell.cell_type == "markdown":
            yield cell.source, lines.of(index) - 1


def uses(path: Path) -> list[tuple[str, int]]:
    """The terms that a page links, with lines."""
    return [
        (use[1], start + number)
        for text, start in pieces(path)
        for number, line in enumerate(text.splitlines(), start=1)
        for use in USE.finditer(line)
    ]


def pattern(term: str) -> re.Pattern[str]:
    """A term in prose: singular or plural, and capital at the start of a sentence."""
    word = re.escape(term).replace(r"\ ", r"[ -]")
    return re.compile(rf"(?<![\w-])[{term[0].upper()}{term[0]}]{word[1:] if term[0].isalnum() else word}s?(?![\w-])")


def prose(line: str) -> str:
    """A line with all that is not prose blanked out, so that places in it stay the same."""
    for other in (re.compile(r"^\s*(#|\|? ?:?-{3}).*"), *INLINE, re.compile(r"\]\([^)]*\)|\{[\w:]+\}`[^`]*`")):
        line = other.sub(lambda match: " " * len(match[0]), line)
    return line


def prose_of(path: Path) -> list[tuple[int, str, str]]:
    """Line, text, and text with all that is not prose blanked out, of a page's prose; titles and labels left out."""
    return [
        (start + number, line, prose(line))
        for text, start in pieces(path)
        for number, line in prose_lines(text)
        if not FENCE.match(text.splitlines()[number - 1]) and not LABEL.match(line)
    ]


def first_met(lines: list[tuple[int, str, str]], term: str) -> tuple[int, bool] | None:
    """Where a term first stands in the lines of :func:`prose_of`, and whether it is a link there; or None."""
    word = pattern(term)
    for number, line, plain in lines:
        linked = [match.start() for match in USE.finditer(line) if match[1] == term]
        met = word.search(plain)
        if linked and (met is None or linked[0] < met.start()):
            return number, True
        if met:
            return number, False
    return None


def problems(pages: Iterable[Path], chapters: Iterable[Path], glossary: Path = GLOSSARY) -> list[str]:
    """Faults of the terms of a book.

    Args:
        pages: all pages; of those, the glossary defines.
        chapters: pages in which a term is linked at first use.
        glossary: the page that defines.
    """
    known, found = defined(glossary), []
    linked: set[str] = set()
    for path in pages:
        for term, line in uses(path):
            if term not in known:
                found.append(
                    f"{shown(path)}, line {line}: the term {term!r} is used and {glossary.name} has no such term"
                )
            elif path != glossary:
                linked.add(term)
    for term, line in known.items():
        if term not in linked:
            found.append(f"{shown(glossary)}, line {line}: the term {term!r} is defined and no page links it")
    for path in chapters:
        lines = prose_of(path)
        for term in known.keys() - EVERYDAY:
            met = first_met(lines, term)
            if met and not met[1]:
                found.append(f"{shown(path)}, line {met[0]}: first use of {term!r} without a link: {{term}}`{term}`")
    return sorted(found)


def main(arguments: list[str]) -> int:
    """Check the whole book; of the files named, only what concerns them is printed."""
    pages = sorted(p for p in BOOK.rglob("*") if p.suffix in (".ipynb", ".md") and "_static" not in p.parts)
    found = problems(pages, [ROOT / f"{name}.ipynb" for name in contents()])
    chosen = [shown(Path(a).resolve()) for a in arguments]
    found = [line for line in found if not chosen or line.startswith(tuple(chosen))]
    for line in found:
        print(line, file=sys.stderr)
    print(f"{len(defined(GLOSSARY))} terms, {len(found)} faults")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
