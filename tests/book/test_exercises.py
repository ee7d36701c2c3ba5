"""The notebooks of exercises: those of the book, all of them, without a solution, and each runs by itself."""

import ast
import re
import zipfile

import nbformat
import pytest

from tools import chapters, exercises

CHAPTERS = chapters.read()


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.path.stem)
def test_a_notebook_asks_what_the_chapter_asks_and_holds_no_solution(chapter):
    made = exercises.notebook(chapter)
    text = "\n".join(cell.source for cell in made.cells)
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert titles == [exercises.plain(exercise.title, chapter) for exercise in chapter.exercises]
    assert "{solution" not in text and "SOLUTIONS" not in text and not exercises.ANY_ROLE.search(text)
    for exercise in chapter.exercises:
        assert exercises.asked(exercise, chapter) in text
        sentences = [s for s in re.split(r"(?<=\.)\s", exercise.solution) if len(s) > 25]
        assert [s for s in sentences if s in text and s not in exercise.text + exercise.hint] == []
    assert all(cell.get("outputs", []) == [] for cell in made.cells)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.path.stem)
def test_every_cell_finds_the_names_it_needs(chapter):
    known = set()
    for cell in exercises.notebook(chapter).cells:
        if cell.cell_type == "code" and "pip install" not in cell.source:
            assert exercises.needed(cell.source, known) == []
            known |= exercises.defines(ast.parse(cell.source))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["modular-mlp", "grokking", "lazy-to-rich"])
def test_a_notebook_runs_and_its_answers_are_wrong_until_the_reader_mends_them(name):
    chapter = next(chapter for chapter in CHAPTERS if chapter.path.stem == name)
    names, answers = {}, []
    for cell in exercises.notebook(chapter).cells:
        if cell.cell_type == "code" and "pip install" not in cell.source:
            *body, last = ast.parse(cell.source).body or [ast.parse("0").body[0]]
            exec(compile(ast.Module(body, []), name, "exec"), names)
            if isinstance(last, ast.Expr) and "check_" in ast.unparse(last):
                answers.append(eval(compile(ast.Expression(last.value), name, "eval"), names))
    assert len(answers) >= 3
    assert not any(answers)


def test_the_command_writes_the_notebooks_and_an_archive_and_removes_what_is_old(tmp_path, capsys):
    (tmp_path / "gone.ipynb").write_text("{}", encoding="utf-8")
    assert exercises.main([str(tmp_path)]) == 0
    written = sorted(path.name for path in tmp_path.glob("*.ipynb"))
    assert written == sorted(chapter.path.name for chapter in CHAPTERS)
    with zipfile.ZipFile(tmp_path / exercises.ARCHIVE) as archive:
        assert sorted(archive.namelist()) == [f"exercises/{name}" for name in written]
    for name in written:
        nbformat.validate(nbformat.read(tmp_path / name, as_version=4))
    first = (tmp_path / exercises.ARCHIVE).read_bytes()
    exercises.write(tmp_path)
    assert (tmp_path / exercises.ARCHIVE).read_bytes() == first


def test_a_setting_is_copied_with_what_it_needs_and_nothing_else():
    before = ["import math\nfrom a import b, c\np = 29\nq = c(p)\nr = 5", "%pip install x\nq2 = 1"]
    assert exercises.context("q + math.pi", before) == "from a import c\nimport math\np = 29\nq = c(p)"
    with pytest.raises(ValueError, match="reads 'absent'"):
        exercises.context("absent", before)


def test_a_role_becomes_a_link_or_is_refused():
    chapter = CHAPTERS[1]
    assert exercises.plain("{doc}`mlp`", chapter).startswith("[A word never seen has an opinion](http")
    assert exercises.plain("{term}`NTK` and {term}`kernels <eNTK>`", chapter) == "NTK and kernels"
    with pytest.raises(ValueError, match="no counterpart"):
        exercises.plain("{glue:text}`absent`", chapter)
