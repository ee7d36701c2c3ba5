"""The cell that installs the package where it is missing: in every notebook, first, and never stored as run."""

import importlib.util
import json

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tools import install_cell, notebooks


def book(*cells):
    return nbformat.v4.new_notebook(cells=list(cells))


def run(source, monkeypatch, found):
    """Run the cell with a package that is there or not; returns what it asked pip for."""
    asked = []

    class Shell:
        def run_line_magic(self, name, line):
            asked.append((name, line))

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if found else None)
    exec(TransformerManager().transform_cell(source), {"get_ipython": Shell})
    return asked


def test_it_does_nothing_where_the_package_is_there(monkeypatch, capsys):
    assert run(install_cell.source(), monkeypatch, found=True) == []
    assert capsys.readouterr() == ("", "")


def test_it_installs_the_repository_where_the_package_is_missing(monkeypatch):
    asked = run(install_cell.source(), monkeypatch, found=False)
    assert asked == [("pip", f"install --quiet git+{install_cell.repository()}")]


def test_putting_it_first_twice_is_putting_it_first_once_and_touches_nothing_else():
    code = nbformat.v4.new_code_cell("1", execution_count=1, outputs=[nbformat.v4.new_output("stream", text="x")])
    before = json.dumps(code)
    once = install_cell.put_first(book(code))
    older, renamed = install_cell.cell(), install_cell.cell()
    older.source, renamed["id"] = "an older wording", "by-an-editor"
    twice = install_cell.put_first(book(older, renamed, *once.cells[1:]))
    assert json.dumps(twice.cells) == json.dumps(once.cells)
    assert json.dumps(once.cells[1]) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda cells: cells.pop(0), "does not begin with"),
        (lambda cells: cells.reverse(), "does not begin with"),
        (lambda cells: cells[0].update(source="import torch"), "another wording"),
        (lambda cells: cells[0].metadata.update(tags=["remove-cell"]), "another wording"),
        (lambda cells: cells[0].update(execution_count=1), "stored a run"),
    ],
)
def test_a_notebook_without_it_is_not_fit_to_publish(tmp_path, change, message):
    made = install_cell.put_first(notebooks.clean(book(nbformat.v4.new_markdown_cell("# Title"))))
    path = tmp_path / "x.ipynb"
    nbformat.write(made, path)
    notebooks.record(path)
    assert notebooks.problems(path) == []
    change(made.cells)
    nbformat.write(made, path)
    found = notebooks.problems(path)
    assert any(message in line and "x.ipynb, cell 0" in line for line in found)


def test_the_command_that_cleans_puts_it_there_and_runs_nothing(tmp_path):
    path = tmp_path / "x.ipynb"
    stored = nbformat.v4.new_code_cell(
        "raise SystemExit", execution_count=1, outputs=[nbformat.v4.new_output("stream", text="kept\n")]
    )
    nbformat.write(book(stored), path)
    notebooks.record(path)
    assert notebooks.main(["clean", str(path)]) == 0
    cells = nbformat.read(path, as_version=4).cells
    assert [install_cell.is_install_cell(c) for c in cells] == [True, False]
    assert cells[1].outputs[0].text == "kept\n"
