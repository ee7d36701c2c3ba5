"""Notebooks with nothing but the package: what they import is what it requires, and one runs in such a place."""

import ast
import sys
from importlib import metadata

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tools import fresh, notebooks

# Shown by Jupyter and Colab themselves.
FROM_JUPYTER = {"IPython"}


def imported(path):
    found = set()
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            for node in ast.walk(ast.parse(TransformerManager().transform_cell(cell.source))):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
                found |= {name.split(".")[0] for name in names}
    return found


def provided(names):
    owners = metadata.packages_distributions()
    known = {name.lower().replace("_", "-") for name in fresh.requirements(names)}
    return {top for top, of in owners.items() if known & {o.lower().replace("_", "-") for o in of}}


@pytest.mark.parametrize("path", notebooks.find(), ids=notebooks.shown)
def test_a_notebook_imports_what_the_package_brings(path):
    allowed = provided(["entk-tutorial"]) | set(sys.stdlib_module_names) | FROM_JUPYTER | {"entk_tutorial"}
    assert imported(path) - allowed == set()


def test_an_import_of_something_else_is_noticed(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import torch, pytest\nfrom nbval.a import b")])
    nbformat.write(book, tmp_path / "x.ipynb")
    assert imported(tmp_path / "x.ipynb") - provided(["entk-tutorial"]) == {"pytest", "nbval"}


def test_requirements_are_followed_and_extras_are_not():
    found = fresh.requirements(["entk-tutorial"])
    assert {"torch", "numpy", "entk-tutorial"} <= found
    assert not {"pytest", "jupyter-book", "transformers"} & found


@pytest.mark.slow
def test_a_notebook_runs_unchanged_with_the_package_alone(tmp_path):
    python = fresh.bare_environment(tmp_path / "bare")
    home = fresh.run(fresh.QUICK_START, python)
    assert home.startswith(str(tmp_path / "bare"))
