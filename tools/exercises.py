"""Write the exercises of each chapter as a notebook without solutions, from the chapters themselves.

    python -m tools.exercises [FOLDER]      one a chapter, and all in exercises.zip; _build/exercises by default

What an exercise's cell needs from the chapter (an import, a setting) is found and copied, so that every notebook runs
from top to bottom by itself. Nobody edits these notebooks: `make book` writes them anew and links them.
"""

import ast
import builtins
import re
import sys
import zipfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

import nbformat
import yaml
from nbformat import NotebookNode

from tools.chapters import Chapter, Exercise, read
from tools.notebooks import ROOT, clean

FOLDER = ROOT / "_build" / "exercises"
ARCHIVE = "exercises.zip"
CALL = re.compile(r"`(exercises\.check_\w+\([^`]*\))`")
ANY_ROLE = re.compile(r"\{([\w:]+)\}`(?:([^`<]+) <)?([^`>]+)>?`")
LABELLED = re.compile(r"^[:`]{3,}\{prf:(?P<kind>\w+)\} ?(?P<title>.*)\n:label: (?P<label>\S+)", re.MULTILINE)


@lru_cache(maxsize=1)
def site() -> str:
    """Where the built book is published, without a slash at the end."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    return str(config["html"]["baseurl"]).rstrip("/")


@lru_cache(maxsize=1)
def targets() -> dict[str, tuple[str, str]]:
    """What a role may name -> (what to call it, address): chapters, theorems, equations and figures of the book."""
    found: dict[str, tuple[str, str]] = {}
    for chapter in read():
        page = f"{site()}/{chapter.name}.html"
        found[chapter.name] = found[chapter.label] = (chapter.title, page)
        for match in LABELLED.finditer(chapter.text):
            name = match["title"] or f"the {match['kind']}"
            found[match["label"]] = (name, f"{page}#{match['label']}")
        for label in re.findall(r"^\$\$ \(([\w-]+)\)$", chapter.text, re.MULTILINE):
            found[label] = ("the equation", f"{page}#equation-{label}")
        for cell in chapter.cells:
            if name := cell.metadata.get("mystnb", {}).get("figure", {}).get("name"):
                found[name] = ("the figure", f"{page}#{name}")
    return found


def plain(text: str, chapter: Chapter) -> str:
    """The text with the book's roles as links and words, for readers outside the book.

    Raises:
        ValueError: if a role has no counterpart outside the book.
    """

    def replace(match: re.Match[str]) -> str:
        role, shown, target = match.groups()
        if role in ("term", "cite:t", "cite:p", "cite"):
            return shown or target
        if role == "glue:text" and target in chapter.glued:
            return chapter.glued[target]
        if role == "doc":
            path = ((chapter.path.parent / target).resolve()).relative_to(ROOT).as_posix()
            name, address = targets().get(path, (path.rsplit("/", 1)[-1], f"{site()}/{path}.html"))
        elif role in ("ref", "prf:ref", "eq", "numref") and target in targets():
            name, address = targets()[target]
        else:
            raise ValueError(f"{chapter.name}: {match[0]} in an exercise has no counterpart outside the book.")
        return f"[{shown or name}]({address})"

    return ANY_ROLE.sub(replace, text)


def needed(code: str, known: Iterable[str]) -> list[str]:
    r"""Names that a cell reads before anything defines them.

    Example:
        >>> needed("y = f(x)\ny + 1", known=["f"])
        ['x']
    """
    tree = ast.parse(code)
    defined = set(known) | set(dir(builtins)) | defines(tree)
    read_names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    return [name for name in dict.fromkeys(read_names) if name not in defined]


def defines(tree: ast.AST) -> set[str]:
    """Names that a piece of code binds: imports, assignments, functions and their arguments, loops."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
    return names


def context(code: str, before: list[str]) -> str:
    """The statements of earlier cells that a cell needs, in their order; of an import only the names it needs.

    Raises:
        ValueError: if nothing before defines a name that the cell reads.
    """
    statements = [node for cell in before for node in ast.parse(re.sub(r"(?m)^[%!].*$", "", cell)).body]
    wanted, imports, chosen = needed(code, ()), set[str](), dict[int, str]()
    while wanted:
        name = wanted.pop()
        index = next((i for i in reversed(range(len(statements))) if name in defines(statements[i])), None)
        if index is None:
            raise ValueError(f"an exercise reads {name!r}, which no cell before it defines")
        statement = statements[index]
        if isinstance(statement, ast.ImportFrom):
            alias = next(a for a in statement.names if (a.asname or a.name) == name)
            imports.add(ast.unparse(ast.ImportFrom(statement.module, [alias], statement.level)))
        elif index not in chosen:
            chosen[index] = ast.unparse(statement)
            wanted += needed(chosen[index], ())
    return "\n".join([*sorted(imports), *(chosen[i] for i in sorted(chosen))])


def asked(exercise: Exercise, chapter: Chapter) -> str:
    """An exercise as Markdown: title, effort, text, and the hint folded."""
    dots = "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)
    effort = f"({exercise.minutes} minutes, {dots}{', open' if exercise.open else ''})"
    hint = f"\n\n<details><summary>Hint</summary>\n\n{exercise.hint}\n\n</details>" if exercise.hint else ""
    return plain(f"## {exercise.title}\n\n{effort} {exercise.text}{hint}", chapter)


def notebook(chapter: Chapter) -> NotebookNode:
    """The exercises of a chapter as a notebook: no solution, and no output.

    Raises:
        ValueError: if a cell needs a name that the chapter does not define, or a role cannot be turned into text.
    """
    minutes = sum(exercise.minutes for exercise in chapter.exercises)
    head = (
        f"# Exercises: {chapter.title}\n\n{len(chapter.exercises)} exercises of [the chapter]({site()}/{chapter.name}"
        f".html), some {minutes} minutes. Put your answers in place of those in the cells. The solutions are "
        "folded, in the chapter.\n\n"
        "This notebook is generated; edit the chapter."
    )
    code = [cell.source for cell in chapter.cells if cell.cell_type == "code"]
    cells = [nbformat.v4.new_markdown_cell(head)]
    cells += [nbformat.v4.new_code_cell(source) for source in code if "pip install" in source][:1]
    code = [source for source in code if "pip install" not in source]  # not Python: no cell can need it
    if any(CALL.search(exercise.text) for exercise in chapter.exercises):
        cells.append(nbformat.v4.new_code_cell(f"from entk_tutorial.exercises import {chapter.module} as exercises"))
    known: set[str] = set()
    for exercise in chapter.exercises:
        cells.append(nbformat.v4.new_markdown_cell(asked(exercise, chapter)))
        for source in exercise.code:
            before = code[: code.index(source)]
            start = context("\n".join(needed(source, known)), before)
            known |= defines(ast.parse(f"{start}\n{source}"))
            cells.append(nbformat.v4.new_code_cell(f"{start}\n\n{source}".strip()))
        calls = CALL.findall(exercise.text)
        if calls:
            cells.append(nbformat.v4.new_code_cell("\n".join(f"# {call}" for call in calls)))
        elif not exercise.code:
            cells.append(nbformat.v4.new_code_cell("# your own"))
    made = nbformat.v4.new_notebook(cells=cells)
    for index, cell in enumerate(made.cells):
        cell.id = f"exercise-{index}"  # the same bytes at each writing
    return clean(made)


def file_name(chapter: Chapter) -> str:
    """Like ``modular-mlp.ipynb``."""
    return chapter.path.name


def write(folder: Path) -> list[Path]:
    """Write one notebook a chapter and the archive of all; returns the notebooks. What lay there before is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("*.ipynb"), folder / ARCHIVE):
        old.unlink(missing_ok=True)
    paths = []
    for chapter in read():
        paths.append(folder / file_name(chapter))
        paths[-1].write_text(nbformat.writes(notebook(chapter)) + "\n", encoding="utf-8")
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.writestr(zipfile.ZipInfo(f"exercises/{path.name}"), path.read_bytes(), zipfile.ZIP_DEFLATED)
    return paths


def main(arguments: list[str]) -> int:
    """Write the notebooks to the folder named."""
    folder = Path(arguments[0]) if arguments else FOLDER
    paths = write(folder)
    print(f"{len(paths)} notebooks in {folder}, and {folder / ARCHIVE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
