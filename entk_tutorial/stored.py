"""What is stored besides numbers: weights with their hashes, and notebooks with a record of the run that made them.

A notebook's outputs say nothing of the cells they came from. So whoever runs one (``make notebooks``) leaves a record
in its metadata: a hash of each code cell, one of all modules of this package that the cells import, and the versions of
the packages that compute and draw. A cell that was edited since has outputs that are older than it, which is a
failure. Another package code or another version is a note: the outputs may well be the same, and ``make test``, which
runs every cell again and compares, says whether they are.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from entk_tutorial.experiments import provenance
from entk_tutorial.results import FOLDER, load_result, load_stored_checkpoint, stored_names

__all__ = [
    "NotebookReport",
    "code_behind",
    "find_book",
    "outdated_cells",
    "run_record",
    "verify_checkpoints",
    "verify_notebooks",
]

RECORD = "entk_run"
"""Key of the record in a notebook's metadata."""
PACKAGES = ("torch", "numpy", "scipy", "scikit-learn", "matplotlib")
_WEIGHTS = re.compile(r"(?P<name>[a-z_]\w*)\.seed-(?P<seed>\d+)\.safetensors")
_CHECKOUT = Path(__file__).resolve().parents[1]


def verify_checkpoints(folder: Path | str | None = None) -> tuple[list[str], int]:
    """Every file of weights that a stored result names: there, whole, of that config, with the SHA-256 of the run.

    Args:
        folder: of results; None means those that ship with the package.

    Returns:
        One sentence a failure, with file and cure, and how many files were looked at. Weights that no result names
        are a failure too: nobody can say what they are. Results that are broken themselves are left to
        :func:`~entk_tutorial.verify.verify_stored`.

    Chapter: book/reference/reproducibility
    """
    place = FOLDER if folder is None else Path(folder)
    failures: list[str] = []
    named: set[Path] = set()
    for name in stored_names(place):
        try:
            result = load_result(name, place)
        except ValueError:
            named |= set(place.glob(f"{name}.seed-*.safetensors"))  # not known, so not held against them
            continue
        for seed in result.checkpoints:
            named.add(place / f"{name}.seed-{seed}.safetensors")
            try:
                load_stored_checkpoint(name, int(seed), place)
            except ValueError as error:
                again = f"entk run {name.replace('_', '-')} --seeds {seed} --fresh --results {place}"
                failures.append(f"{error} Cure: take the file from the commit of its result, or {again}.")
    for path in sorted(place.glob("*.safetensors")):
        if _WEIGHTS.fullmatch(path.name) and path not in named:
            failures.append(f"{path}: no stored result names these weights. Cure: remove it, or bring its result.")
    return failures, len(named)


@dataclass(frozen=True)
class NotebookReport:
    """What a look at the stored notebooks found.

    Attributes:
        number: how many there are.
        recorded: how many say what they were run with.
        failures: one sentence each, with file, cell and cure: outputs that cannot be those of the cells.
        notes: one sentence each: run with other package code, or with another version than the lock has.
    """

    number: int
    recorded: int
    failures: list[str]
    notes: list[str]


def find_book() -> Path | None:
    """The folder of notebooks of a checkout; None in an installed package, which has none."""
    book = _CHECKOUT / "book"
    return book if (book / "index.md").is_file() else None


def verify_notebooks(book: Path, lock: Path | None = None) -> NotebookReport:
    """Are the outputs of each stored notebook those of its cells, of this package, and of the pinned versions?

    Args:
        book: folder that holds notebooks, at any depth.
        lock: file with lines ``name==version``; None means ``constraints.txt`` beside the folder. Without one versions
            are not compared.

    Returns:
        NotebookReport: failures and notes. A notebook without a record is checked for cells that never ran, and
        counted; what it ran with is not known.
    """
    pins = _pins(book.parent / "constraints.txt" if lock is None else lock)
    paths = [p for p in sorted(book.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    failures: list[str] = []
    notes: list[str] = []
    recorded = 0
    for path in paths:
        cure = f"Cure: make notebooks NB={_shown(path, book)}"
        try:
            notebook = json.loads(path.read_text(encoding="utf-8"))
            cells, record = notebook["cells"], notebook["metadata"].get(RECORD)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            failures.append(f"{path}: not a whole notebook ({type(error).__name__}: {error}). Cure: restore it.")
            continue
        failures += [f"{path}, cell {index}: {why}. {cure}." for index, why in outdated_cells(notebook)]
        if not isinstance(record, dict):
            continue
        recorded += 1
        if record.get("package") != code_behind(_code(cells)):
            notes.append(f"{path}: the package code that it imports changed since it was run. {cure}.")
        for name, version in sorted(record.get("versions", {}).items()):
            if name in pins and version != pins[name]:
                notes.append(f"{path}: was run with {name} {version}, the lock has {pins[name]}. {cure}.")
    return NotebookReport(len(paths), recorded, failures, notes)


def run_record(notebook: Mapping[str, Any]) -> dict[str, Any]:
    """What a notebook that has just been run should say of its run; the same for the same cells, code and versions.

    Args:
        notebook: as JSON or nbformat hold it.

    Example:
        >>> cell = {"cell_type": "code", "id": "a", "source": "1 + 1", "execution_count": 1}
        >>> run_record({"cells": [cell]})["cells"]
        {'a': '72fce59447a0'}
    """
    cells = notebook["cells"]
    return {
        "cells": {cell.get("id", ""): _hash(_source(cell)) for cell in _code_cells(cells)},
        "package": code_behind(_code(cells)),
        "versions": {name: version for name in PACKAGES if (version := _installed(name))},
    }


def outdated_cells(notebook: Mapping[str, Any]) -> list[tuple[int, str]]:
    """Cells whose stored outputs cannot be theirs: (position, what is wrong), in order.

    Example:
        >>> cell = {"cell_type": "code", "id": "a", "source": "1 + 1", "execution_count": 1}
        >>> record = {"entk_run": run_record({"cells": [cell]})}
        >>> outdated_cells({"cells": [cell], "metadata": record})
        []
        >>> outdated_cells({"cells": [{**cell, "source": "1 + 2"}], "metadata": record})
        [(0, 'was edited after it was run, so its outputs are older than it')]
    """
    cells, record = notebook["cells"], notebook.get("metadata", {}).get(RECORD)
    ran: dict[str, str] | None = record.get("cells", {}) if isinstance(record, Mapping) else None
    found: list[tuple[int, str]] = []
    for index, cell in enumerate(cells):
        if cell.get("cell_type") != "code" or not _source(cell).strip():
            continue
        if cell.get("execution_count") is None:
            found.append((index, "was never run, so its outputs are not its own"))
        elif ran is not None and cell.get("id") not in ran:
            found.append((index, "was not there when the notebook was run"))
        elif ran is not None and ran[cell["id"]] != _hash(_source(cell)):
            found.append((index, "was edited after it was run, so its outputs are older than it"))
    gone = set(ran or ()) - {cell.get("id") for cell in _code_cells(cells)}
    if gone:
        last = len(cells) - 1
        found.append((last, f"ends a notebook that lost {len(gone)} of the cells it was run with"))
    return found


def code_behind(cells: Iterable[str]) -> str:
    """Hash of every module of this package that pieces of code import, directly or not; comments do not count.

    Args:
        cells: source texts. Lines for IPython (``%`` and ``!``) are skipped, and so is a text that is not Python.

    Example:
        >>> code_behind(["import entk_tutorial.plotting"]) == code_behind(["1 + 1"])
        False
    """
    trees = list(_trees(cells))
    sources: dict[str, Path] = {}
    waiting = sorted(set().union(*(_needed(tree, "__main__", Path("cell.py")) for tree in trees)))
    while waiting:
        name = waiting.pop()
        path = provenance._file(name)
        if path is not None and name not in sources:
            sources[name] = path
            waiting += sorted(_needed_by(path, name))
    parts = {name: _module_hash(path) for name, path in sources.items()}
    return _hash(provenance.canonical_json(parts))


def _trees(cells: Iterable[str]) -> Iterator[ast.Module]:
    for source in cells:
        try:
            yield ast.parse(re.sub(r"(?m)^\s*[%!].*$", "", source))
        except SyntaxError:
            continue


@lru_cache(maxsize=512)
def _needed_by(path: Path, module: str) -> frozenset[str]:
    return frozenset(_needed(ast.parse(path.read_text(encoding="utf-8")), module, path))


def _needed(tree: ast.Module, module: str, path: Path) -> set[str]:
    found: set[str] = set()
    # The package's own front door imports lazily; what it hands out stands under TYPE_CHECKING.
    nodes = list(ast.walk(tree)) if module == provenance.PACKAGE else provenance._live_nodes(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if provenance._file(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            origin = provenance._absolute(node, module, path)
            if provenance._file(origin):
                for alias in node.names:
                    found |= provenance._defining(origin, alias.name, frozenset())
    return found


@lru_cache(maxsize=512)
def _module_hash(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return provenance.sha256(provenance.canonical_json(provenance._dump(provenance._stripped(tree))))


def _code_cells(cells: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (cell for cell in cells if cell.get("cell_type") == "code" and _source(cell).strip())


def _code(cells: Iterable[Mapping[str, Any]]) -> list[str]:
    return [_source(cell) for cell in _code_cells(cells)]


def _source(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return ""


def _pins(lock: Path) -> dict[str, str]:
    if not lock.is_file():
        return {}
    return dict(re.findall(r"(?m)^([A-Za-z0-9._-]+)==(\S+)$", lock.read_text(encoding="utf-8")))


def _shown(path: Path, book: Path) -> str:
    return path.relative_to(book.parent).as_posix()
