"""The first cell of every notebook: it installs the package where it is missing, and does nothing where it is there.

Colab opens a notebook without the repository around it. The cell is not part of the page and not part of the stored
run: the runner skips it, so it has no number and no output, and adding it leaves every stored output valid.
The tests do run it, in an environment that has the package, where it must neither print nor install anything.
"""

import tomllib
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[1]
ID = "install"
# remove-cell: not on the page. skip-execution: nbclient leaves it alone, Jupyter and Colab run it like any other.
TAGS = ["remove-cell", "skip-execution"]


def repository() -> str:
    """The address of the repository, from ``pyproject.toml``: the one place that has it for the package."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["urls"]["Repository"])


def source() -> str:
    """The code of the cell, short enough for the page width of a notebook."""
    return f"""\
# Where the package is missing, as in a fresh Colab, install it. Else: nothing.
import importlib.util

if importlib.util.find_spec("entk_tutorial") is None:
    %pip install --quiet git+{repository()}"""


def cell() -> NotebookNode:
    """The cell, as it is stored."""
    made = nbformat.v4.new_code_cell(source(), metadata={"tags": list(TAGS)})
    made["id"] = ID
    return made


def is_install_cell(node: NotebookNode) -> bool:
    """Whether a cell is the one that installs, in this or an older wording, also after an editor gave it another id."""
    return bool(node.get("id") == ID or 'find_spec("entk_tutorial") is None' in node.source)


def put_first(notebook: NotebookNode) -> NotebookNode:
    """Put the cell in front, in its present wording; an older one is replaced. Nothing else changes."""
    notebook.cells = [cell(), *(node for node in notebook.cells if not is_install_cell(node))]
    return notebook


def problem(notebook: NotebookNode) -> str | None:
    """What is wrong with the first cell of a stored notebook, or None."""
    first = notebook.cells[0] if notebook.cells else None
    if first is None or not is_install_cell(first):
        return "does not begin with the cell that installs the package"
    if first.source != source() or first.metadata.get("tags") != TAGS:
        return "begins with another wording of the cell that installs the package"
    if first.outputs or first.execution_count is not None:
        return "stored a run of the cell that installs the package, which is never run for the book"
    return None
