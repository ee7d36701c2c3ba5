"""Weights and notebooks as stored: each way in which they can be wrong is planted, and named with file and cure."""

import json

import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from entk_tutorial import stored
from entk_tutorial.cli import app
from entk_tutorial.stored import code_behind, outdated_cells, run_record, verify_checkpoints, verify_notebooks
from entk_tutorial.training import save_checkpoint

CODE = "from entk_tutorial.data.modular import modular_pairs\nmodular_pairs(3).shape"


def code(source, name, count=1):
    return {"cell_type": "code", "id": name, "source": source, "execution_count": count, "outputs": [], "metadata": {}}


@pytest.fixture
def book(tmp_path):
    """A folder with one notebook, run: a heading, an empty cell and two cells of code."""
    folder = tmp_path / "book"
    folder.mkdir()
    text = {"cell_type": "markdown", "id": "t", "source": ["# Title"], "metadata": {}}
    cells = [text, code([CODE], "a"), code("", "empty", None), code("%time\n1 + 1", "b", 2)]
    notebook = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    notebook["metadata"]["entk_run"] = run_record(notebook)
    (folder / "x.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    pins = [f"{name}=={version}" for name, version in notebook["metadata"]["entk_run"]["versions"].items()]
    (tmp_path / "constraints.txt").write_text("\n".join(["# a comment", *pins]) + "\n", encoding="utf-8")
    return folder


def edit(book, change):
    path = book / "x.ipynb"
    notebook = json.loads(path.read_text(encoding="utf-8"))
    change(notebook)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def test_a_notebook_as_it_was_run_is_fine(book):
    report = verify_notebooks(book)
    assert (report.number, report.recorded, report.failures, report.notes) == (1, 1, [], [])


def forget_the_record(notebook):
    del notebook["metadata"]["entk_run"]
    notebook["cells"][1]["source"] = "2"  # not seen: nothing says what ran


@pytest.mark.parametrize(
    ("change", "where", "message"),
    [
        (lambda n: n["cells"][1].update(source="2"), "x.ipynb, cell 1", "was edited after it was run"),
        (lambda n: n["cells"][3].update(execution_count=None), "x.ipynb, cell 3", "was never run"),
        (lambda n: n["cells"].insert(1, code("3", "new")), "x.ipynb, cell 1", "was not there when"),
        (lambda n: n["cells"].pop(), "x.ipynb, cell 2", "lost 1 of the cells"),
    ],
)
def test_outputs_older_than_their_cells_are_found(book, change, where, message):
    edit(book, change)
    (failure,) = verify_notebooks(book).failures
    assert where in failure and message in failure and "Cure: make notebooks NB=book/x.ipynb." in failure


def test_a_comment_beside_the_cells_changes_nothing_but_prose_may_change(book):
    edit(book, lambda n: n["cells"][0].update(source="# Another title"))
    assert not verify_notebooks(book).failures


def test_without_a_record_cells_are_not_dated_and_the_notebook_is_not_counted(book):
    edit(book, forget_the_record)
    report = verify_notebooks(book)
    assert (report.number, report.recorded, report.failures) == (1, 0, [])
    edit(book, lambda n: n["cells"][1].update(execution_count=None))
    assert "was never run" in verify_notebooks(book).failures[0]


def test_other_package_code_and_other_versions_are_notes(book, tmp_path):
    edit(book, lambda n: n["metadata"]["entk_run"].update(package="0" * 12))
    (tmp_path / "constraints.txt").write_text("torch==0.0.1\n", encoding="utf-8")
    report = verify_notebooks(book)
    assert not report.failures and len(report.notes) == 2
    assert "the package code that it imports changed since it was run. Cure: make notebooks NB=" in report.notes[0]
    assert f"was run with torch {torch.__version__.partition('+')[0]}, the lock has 0.0.1" in report.notes[1]


@pytest.mark.parametrize("text", ["", "[]", '{"cells": []}'])
def test_a_broken_notebook_is_named(book, text):
    (book / "x.ipynb").write_text(text, encoding="utf-8")
    (failure,) = verify_notebooks(book).failures
    assert "x.ipynb: not a whole notebook" in failure and "Cure: restore it." in failure


def test_code_behind_sees_what_is_imported_however_indirectly(tmp_path, monkeypatch):
    direct, through = "from entk_tutorial.data.modular import modular_pairs", "from entk_tutorial import empirical_ntk"
    nothing = code_behind(["1 + 1"])
    assert code_behind(["%matplotlib inline", "not python ("]) == nothing
    before = code_behind([direct]), code_behind([through])
    assert len({nothing, *before}) == 3
    hashed = stored._module_hash
    monkeypatch.setattr(stored, "_module_hash", lambda p: "x" if p.name == "krylov.py" else hashed(p))
    assert code_behind([direct]) == before[0] and code_behind([through]) != before[1]


def test_every_stored_notebook_of_the_book_is_of_its_cells():
    book = stored.find_book()
    assert book is not None
    assert verify_notebooks(book).failures == []


def test_a_cell_that_the_runner_skips_is_neither_recorded_nor_missed(book):
    install = {**code("%pip install x", "install", None), "metadata": {"tags": ["remove-cell", "skip-execution"]}}
    edit(book, lambda n: n["cells"].insert(0, install))
    assert verify_notebooks(book).failures == []
    assert "install" not in run_record({"cells": [install]})["cells"]


def test_an_empty_record_names_every_cell(book):
    edit(book, lambda n: n["metadata"].update(entk_run={}))
    assert len(outdated_cells(json.loads((book / "x.ipynb").read_text()))) == 2


# ---------------------------------------------------------------- weights


@pytest.fixture
def weights(toy):
    """A toy result that keeps the weights of seed 0; gives their file."""
    toy.run([0, 1])
    path = toy.folder / "toy.seed-0.safetensors"
    owner = {"experiment": "toy", "seed": 0, **json.loads(toy.final.read_text())["config"]}
    digest = save_checkpoint(path, {"w": torch.ones(3)}, owner)
    toy.edit(lambda document: document.update(checkpoints={"0": digest}))
    return path


def test_whole_weights_are_counted(toy, weights):
    assert verify_checkpoints(toy.folder) == ([], 1)


def test_a_changed_byte_of_weights_is_found(toy, weights):
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    failures, _ = verify_checkpoints(toy.folder)
    assert len(failures) == 1
    assert all(part in failures[0] for part in (str(weights), "SHA-256 is", "Cure: take the file from the commit"))


def test_missing_weights_are_found(toy, weights):
    weights.unlink()
    ((failure,), _) = verify_checkpoints(toy.folder)
    assert str(weights) in failure and "entk run toy --seeds 0 --fresh" in failure


def test_weights_of_another_config_are_found_though_their_hash_is_right(toy, weights):
    digest = save_checkpoint(weights, {"w": torch.ones(3)}, {"experiment": "toy", "seed": 0, "n": 99})
    toy.edit(lambda document: document.update(checkpoints={"0": digest}))
    assert "another configuration" in verify_checkpoints(toy.folder)[0][0]


def test_weights_that_no_result_names_are_found(toy, weights):
    save_file({"w": torch.ones(1)}, toy.folder / "toy.seed-7.safetensors")
    save_file({"w": torch.ones(1)}, toy.folder / "toy.0123456789ab.seed-7.safetensors")  # set aside: no claim made
    ((failure,), _) = verify_checkpoints(toy.folder)
    assert "toy.seed-7.safetensors: no stored result names these weights" in failure


def test_weights_of_a_broken_result_are_left_to_its_own_failure(toy, weights):
    toy.final.write_text("{}", encoding="utf-8")
    assert verify_checkpoints(toy.folder)[0] == []


# ---------------------------------------------------------------- the command


def verify(*words):
    done = CliRunner().invoke(app, ["verify", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


def test_the_command_says_what_it_looked_at(toy, weights, book):
    code, out, err = verify("--results", toy.folder, "--book", book)
    assert code == 0 and not err
    assert "1 stored results are whole" in out and "1 files of weights have the SHA-256" in out
    assert "1 notebooks have run; 1 say with which cells and code." in out


def test_the_command_says_so_where_there_is_nothing_to_check(toy, monkeypatch):
    toy.run([0])
    monkeypatch.setattr(stored, "find_book", lambda: None)
    code, out, _ = verify("--results", toy.folder)
    assert code == 0 and "there are no checkpoints to check" in out and "An installed package has no notebooks" in out
    code, _, err = verify("--results", toy.folder, "--book", toy.folder / "none")
    assert code == 2 and "there is no folder" in err


def test_a_note_is_said_and_fails_only_where_one_is_strict(toy, weights, book):
    edit(book, lambda n: n["metadata"]["entk_run"].update(package="0" * 12))
    code, out, err = verify("--results", toy.folder, "--book", book)
    assert code == 0 and out and "note: " in err and "changed since it was run" in err
    assert verify("--results", toy.folder, "--book", book, "--strict")[0] == 1


def test_the_command_fails_on_weights_and_on_notebooks_and_strictly_on_notes(toy, weights, book):
    edit(book, forget_the_record)
    code, out, err = verify("--results", toy.folder, "--book", book)
    assert code == 0 and not err and "0 say with which cells and code, 1 do not: make notebooks." in out
    code, _, err = verify("--results", toy.folder, "--book", book, "--strict")
    assert code == 1 and "note: 1 of the notebooks in" in err and "Cure: make notebooks." in err
    edit(book, lambda n: n["cells"][1].update(execution_count=None))
    weights.unlink()
    code, out, err = verify("--results", toy.folder, "--book", book)
    assert code == 1 and not out and "was never run" in err and "no such checkpoint" in err
