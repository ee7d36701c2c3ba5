"""The book's notebooks as stored, and the checker itself against planted faults."""

import os
import subprocess
import sys

import nbformat
import pytest

from tools import install_cell, notebooks
from tools.environment import NOTEBOOK_ENVIRONMENT


def code(source, outputs=(), count=1, **metadata):
    return nbformat.v4.new_code_cell(source, outputs=list(outputs), execution_count=count, metadata=metadata)


def stream(text, name="stdout"):
    return nbformat.v4.new_output("stream", name=name, text=text)


def image():
    return nbformat.v4.new_output("display_data", data={"image/png": "iVBORw0KGgo=", "text/plain": "<Figure>"})


FIGURE = {"figure": {"name": "fig-x", "caption": "What it shows."}, "image": {"alt": "A curve."}}


@pytest.fixture
def write(tmp_path):
    def write_cells(*cells, name="x.ipynb"):
        book = install_cell.put_first(notebooks.clean(nbformat.v4.new_notebook(cells=list(cells))))
        nbformat.write(book, tmp_path / name)
        notebooks.record(tmp_path / name)
        return tmp_path / name

    return write_cells


def test_every_stored_notebook_is_fit_to_publish():
    assert notebooks.check(notebooks.find()) == []


def test_a_good_notebook_has_no_problems(write):
    good = [
        nbformat.v4.new_markdown_cell("# Title"),
        code("1", [stream("1\n")]),
        code("plot()", [image()], 2, mystnb=FIGURE),
    ]
    assert notebooks.problems(write(*good)) == []


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (code("1", count=None), "was not run"),
        (code("1", count=7), "ran as number 7"),
        (
            code("1/0", [nbformat.v4.new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])]),
            "stored an error",
        ),
        (code("warn()", [stream("careful", "stderr")]), "stderr"),
        (code("object()", [stream("<object object at 0x7f0012345678>")]), "memory address"),
        (code("path", [stream("/home/somebody/book")]), "path of one machine"),
        (code("plot()", [image()]), "no mystnb.figure.name"),
        (code("plot()", [image()], mystnb={"figure": FIGURE["figure"]}), "no mystnb.image.alt"),
        (
            code("plot()", [image()], mystnb={**FIGURE, "figure": {"name": "fig-x", "caption": " "}}),
            "no mystnb.figure.caption",
        ),
        (code("plot()", [image(), image()], mystnb=FIGURE), "draws 2 figures"),
        (code("x = 1\n" * 41), "41 lines of code"),
        (code("1", [stream("x" * 1_600_000)]), "MB stored"),
    ],
)
def test_a_planted_fault_is_found(write, cell, message):
    assert any(message in problem for problem in notebooks.problems(write(cell)))


def test_metadata_that_the_runner_drops_is_found(tmp_path):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text", metadata={"execution": {}})])
    book.metadata["widgets"] = {}
    nbformat.write(book, tmp_path / "x.ipynb")
    assert len(notebooks.problems(tmp_path / "x.ipynb")) == 4  # no cell that installs, and no record of a run


def test_outputs_older_than_their_cells_are_found_with_file_and_line(write):
    cells = [code("print(1)", [stream("1\n")]), code("print(2)", [stream("2\n")], 2)]
    path = write(*cells)
    notebooks.record(path)
    assert notebooks.problems(path) == []
    edited = path.read_text(encoding="utf-8").replace('"print(2)"', '"print(3)"')
    path.write_text(edited, encoding="utf-8")
    (problem,) = notebooks.problems(path)
    line = 1 + edited.splitlines().index('    "print(3)"')
    assert f"x.ipynb, line {line}, cell 2: was edited after it was run" in problem and "make notebooks" in problem
    assert notebooks.main(["run", str(path)]) == 0  # and running it is the cure
    assert notebooks.problems(path) == []


def test_a_notebook_without_a_record_and_a_cell_that_was_added_are_found(write):
    path = write(code("1", [stream("1\n")]))
    del_record = nbformat.read(path, as_version=4)
    del_record.metadata.pop("entk_run", None)
    nbformat.write(del_record, path)
    assert any("no record of the run" in problem for problem in notebooks.problems(path))
    notebooks.record(path)
    book = nbformat.read(path, as_version=4)
    book.cells.append(code("2", [stream("2\n")], 2))
    nbformat.write(book, path)
    assert any("was not there when the notebook was run" in problem for problem in notebooks.problems(path))


def test_a_figure_name_used_twice_is_found(write):
    paths = [write(code("plot()", [image()], mystnb=FIGURE), name=name) for name in ("a.ipynb", "b.ipynb")]
    assert any("'fig-x' is taken" in problem for problem in notebooks.check(paths))


def test_a_failing_notebook_is_left_as_it_was(write):
    path = write(code("raise ValueError('planted')", count=None))
    before = path.read_bytes()
    assert notebooks.main(["run", str(path)]) == 1
    assert path.read_bytes() == before


def test_a_second_run_gives_the_same_bytes(write):
    source = "import os\nfor i in range(3):\n    print(i, flush=True)\nprint(os.environ['OMP_NUM_THREADS'])"
    glue = "from entk_tutorial.notebook import glue\nglue('half', 0.5)"
    path = write(nbformat.v4.new_markdown_cell("# Title"), code(source, count=None), code(glue, count=None))
    assert notebooks.main(["run", str(path)]) == 0
    first = path.read_bytes()
    assert notebooks.main(["run", str(path)]) == 0
    assert path.read_bytes() == first
    assert nbformat.read(path, as_version=4).cells[2].outputs[0].text == "0\n1\n2\n1\n"


def test_a_run_leaves_a_record_and_an_edited_cell_is_older_than_its_outputs(write):
    path = write(code("1 + 1", count=None), code("print(2)", count=None))
    assert notebooks.main(["run", str(path)]) == 0
    book = nbformat.read(path, as_version=4)
    assert set(book.metadata["entk_run"]["cells"]) == {cell["id"] for cell in book.cells[1:]}  # the first installs
    assert notebooks.problems(path) == []
    assert notebooks.clean(book).metadata["entk_run"]["cells"]  # to clean is not to run
    book.cells[2].source = "print(3)"
    nbformat.write(book, path)
    (problem,) = notebooks.problems(path)
    assert "cell 2: was edited after it was run" in problem


def test_tests_run_in_the_environment_of_the_runner():
    assert {name: os.environ.get(name) for name in NOTEBOOK_ENVIRONMENT} == NOTEBOOK_ENVIRONMENT


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "stored", "status"),
    [
        ("print('overlap 0.50')", "overlap 0.50\n", 0),
        ("print('overlap 0.51')", "overlap 0.50\n", 1),
        ("print('took 3.2 s')", "took 1.7 s\n", 0),
    ],
)
def test_the_comparison_sees_a_changed_number_but_not_a_changed_duration(write, source, stored, status):
    path = write(code(source, [stream(stored)]))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--rootdir={notebooks.ROOT}"]
    command += ["--nbval", "--nbval-current-env", "--nbval-sanitize-with", "tests/book/nbval_sanitize.cfg", str(path)]
    result = subprocess.run(command, cwd=notebooks.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == status, result.stdout
