"""Read a chapter as what it promises: outcomes, prerequisites, times, exercises. Nothing of this is kept a second time.

The course map, the paths, the notebooks of exercises and the test of every chapter's anatomy are made from what this
module reads.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from tools.notebooks import ROOT, Lines, shown

PARTS = ("Infinite width", "Real text", "The microscope", "Beyond")
"""Parts of the table of contents whose pages are chapters."""
OPEN = re.compile(r"^(?P<fence>:{3,}|`{3,})\{(?P<kind>exercise|solution)(?P<gated>-start)?\} ?(?P<argument>.*)$")
CLOSE = re.compile(r"^(?::{3,}|`{3,})\{(?:exercise|solution)-end\}$")
EFFORT = re.compile(r"^\((?P<time>\d+ minutes|an hour), (?P<dots>[●○]{3})(?P<open>, open)?\)", re.MULTILINE)
HINT = re.compile(r"^:{3,}\{dropdown\} Hint\n(?P<box>.*?)\n:{3,}$|\*Hint\.\* (?P<line>.*)", re.MULTILINE | re.DOTALL)
CHECK = re.compile(r"\bcheck_\w+")
ROLE = re.compile(r"\{(?:doc|ref)\}`(?:[^`<]*<)?([^`>]+)>?`")


def contents() -> dict[str, str]:
    """Chapter -> part, in the order of ``_toc.yml``; a chapter is named like ``book/infinite/mlp``."""
    document = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    return {
        entry["file"]: part["caption"]
        for part in document["parts"]
        if part["caption"] in PARTS
        for entry in part["chapters"]
    }


@dataclass(frozen=True)
class Exercise:
    """One exercise as the chapter states it.

    Attributes:
        title: after the directive.
        label: e.g. ``ex-tk-hand``.
        line: of the notebook's file, where it begins.
        minutes: 0 if the chapter does not say.
        difficulty: filled dots, 1 to 3; 0 if the chapter does not say.
        open: whether it has no one answer, and so needs neither check nor solution.
        text: what is asked, without the hint, in the book's Markdown.
        hint: "" if there is none.
        code: cells between exercise and solution.
        checks: names of the check functions that text and code mention.
        solution: the folded text; "" if there is none.
        folded: whether the solution is shown only on request.
    """

    title: str
    label: str
    line: int
    minutes: int
    difficulty: int
    open: bool
    text: str
    hint: str
    code: tuple[str, ...]
    checks: tuple[str, ...]
    solution: str
    folded: bool


@dataclass(frozen=True)
class Chapter:
    """A chapter, read from its notebook."""

    path: Path

    @cached_property
    def cells(self) -> list[NotebookNode]:
        """All cells, in order."""
        return list(nbformat.read(self.path, as_version=4).cells)

    @property
    def name(self) -> str:
        """Like ``book/infinite/mlp``."""
        return shown(self.path).removesuffix(".ipynb")

    @cached_property
    def text(self) -> str:
        """All Markdown, cells joined by blank lines."""
        return "\n\n".join(cell.source for cell in self.cells if cell.cell_type == "markdown")

    @property
    def title(self) -> str:
        """Without the hash."""
        found = re.search(r"^# (.+)$", self.text, re.MULTILINE)
        return found[1] if found else ""

    @property
    def label(self) -> str:
        """What ``{ref}`` calls this chapter."""
        found = re.match(r"\(([\w-]+)\)=\n# ", self.text)
        return found[1] if found else ""

    @property
    def outcomes(self) -> list[str]:
        """The points under "What you will be able to do"."""
        box = re.search(
            r"^:::\{admonition\} What you will be able to do\n(.*?)^:::$", self.text, re.MULTILINE | re.DOTALL
        )
        return re.findall(r"^\* (.+)$", box[1], re.MULTILINE) if box else []

    @cached_property
    def table(self) -> list[list[str]]:
        """The cells of the table "Before you read"; empty if there is none."""
        found = re.search(r"^\| Before you read \| Time \|\n\|[-| ]+\|\n((?:\|.*\|\n?)+)", self.text, re.MULTILINE)
        return [[c.strip() for c in row.strip("|").split("|")] for row in found[1].splitlines()] if found else []

    @property
    def linked(self) -> list[str]:
        """What the prerequisites link to, as written: paths and labels."""
        return ROLE.findall(self.table[0][0]) if self.table else []

    @property
    def reading(self) -> int:
        """Minutes to read; 0 if the chapter does not say."""
        found = re.match(r"(\d+) minutes to read|(an hour) to read", self.table[0][1]) if self.table else None
        return 0 if found is None else 60 if found[2] else int(found[1])

    @property
    def running(self) -> str:
        """How long it runs, in words; "" if the chapter does not say."""
        return self.table[1][1] if len(self.table) > 1 and self.table[1][0].startswith("to run:") else ""

    @property
    def module(self) -> str:
        """The module of ``entk_tutorial.exercises`` that checks this chapter's answers; "" if none is imported."""
        code = "\n".join(cell.source for cell in self.cells if cell.cell_type == "code")
        found = re.search(r"from entk_tutorial\.exercises(?:\.(\w+) import| import (\w+) as exercises)", code)
        return (found[1] or found[2]) if found else ""

    @cached_property
    def glued(self) -> dict[str, str]:
        """Numbers that the prose quotes from stored outputs, as they are shown."""
        found = {}
        for output in (o for cell in self.cells for o in cell.get("outputs", [])):
            if name := output.get("metadata", {}).get("scrapbook", {}).get("name"):
                found[name] = next(v for k, v in output["data"].items() if k.endswith("text/plain")).strip("'\"")
        return found

    @cached_property
    def exercises(self) -> list[Exercise]:
        """All exercises, in order, each with its solution."""
        blocks = list(_blocks(self))
        solutions = {block.argument: block for block in blocks if block.kind == "solution"}
        return [_exercise(block, solutions.get(block.label)) for block in blocks if block.kind == "exercise"]


@dataclass
class _Block:
    """An exercise or a solution: its options, its body, and the code cells that follow it."""

    kind: str
    argument: str
    line: int
    fence: str
    label: str = ""
    dropdown: bool = False
    body: str = ""
    code: tuple[str, ...] = ()


def _blocks(chapter: Chapter) -> Iterator[_Block]:
    lines, block, inside, gated = Lines(chapter.path), None, False, False
    for index, cell in enumerate(chapter.cells):
        if cell.cell_type == "code":
            if block is not None:
                block.code += (cell.source,)
            continue
        header = False
        for offset, line in enumerate(cell.source.splitlines()):
            if opened := OPEN.match(line):
                if block is not None:
                    yield block
                block = _Block(opened["kind"], opened["argument"].strip(), lines.of(index, offset), opened["fence"])
                inside, gated, header = True, bool(opened["gated"]), True
            elif block is None or not inside:
                if line.startswith("## ") and block is not None:
                    yield block
                    block = None
            elif header and (option := re.match(r":(label|class|nonumber): ?(.*)$", line)):
                block.label = option[2] if option[1] == "label" else block.label
                block.dropdown = block.dropdown or (option[1] == "class" and "dropdown" in option[2])
            elif header and gated and line == block.fence:
                header = False  # the end of the options; the body follows
            elif CLOSE.match(line) or (not gated and line == block.fence):
                inside = False
            else:
                header = header and gated
                block.body += line + "\n"
    if block is not None:
        yield block


def _exercise(block: _Block, solution: _Block | None) -> Exercise:
    effort, hint = EFFORT.search(block.body), HINT.search(block.body)
    text = HINT.sub("", block.body) if hint else block.body
    time = effort["time"] if effort else "0 minutes"
    mentioned = CHECK.findall("\n".join([text, *(line for code in block.code for line in _calls(code))]))
    return Exercise(
        title=block.argument,
        label=block.label,
        line=block.line,
        minutes=60 if time == "an hour" else int(time.split()[0]),
        difficulty=effort["dots"].count("●") if effort else 0,
        open=bool(effort and effort["open"]),
        text=EFFORT.sub("", text).strip(),
        hint=(hint["box"] or hint["line"]).strip() if hint else "",
        code=block.code,
        checks=tuple(dict.fromkeys(mentioned)),
        solution=solution.body.strip() if solution else "",
        folded=solution is not None and solution.dropdown,
    )


def _calls(code: str) -> list[str]:
    """The lines of a cell that call a check; an import of several names mentions more than this exercise needs."""
    return re.findall(r"^.*\bcheck_\w+\(.*$", code, re.MULTILINE)


def read(paths: list[Path] | None = None) -> list[Chapter]:
    """The chapters named, or all of the book in the order of the contents."""
    return [Chapter(path) for path in paths or [ROOT / f"{name}.ipynb" for name in contents()]]
