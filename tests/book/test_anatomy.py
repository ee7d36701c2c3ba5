"""Every chapter keeps what it promises; the checker finds what is taken away from a good one."""

import re

import nbformat
import pytest

from tools import anatomy, chapters, notebooks

OPENING = """(small)=
# A small chapter

A surprise."""
BEFORE = """:::{admonition} What you will be able to do
:class: tip
* one thing;
* another;
* a third.
:::

| Before you read | Time |
|---|---|
| {doc}`../infinite/linear` | 40 minutes to read |
| to run: one CPU core, no GPU | under a minute |

## The question

What is it?

## What this does not show

Much.

:::{admonition} Sharp bits
:class: warning
* *One.*
:::

## Exercises"""
IMPORT = "from entk_tutorial.exercises import negation as exercises\n\nexercises.check_additive_flips(2)"


def exercise(name, check, effort="(5 minutes, ●○○)", hint="\n:::{dropdown} Hint\nThink.\n:::\n"):
    return f""":::{{exercise-start}} Title of {name}
:label: ex-{name}
:::
{effort} How many? `exercises.{check}(your_number)`.
{hint}:::{{exercise-end}}
:::

:::{{solution}} ex-{name}
:class: dropdown
One.
:::"""


CHECKS = ("check_additive_flips", "check_double_difference", "check_held_out", "check_sign_test")
CLOSING = """:::{exercise-start} Open
:label: ex-open
:::
(an hour, ●●●, open) Refute us.

*Hint.* Where would you look?
:::{exercise-end}
:::

## Summary

1. A.
2. B.
3. C.
4. D.
5. E.

**Next.** More. **References.** Some."""
FIGURE = {"mystnb": {"figure": {"name": "fig-x", "caption": "What it shows."}, "image": {"alt": "A curve."}}}
GOOD = [OPENING, ("draw()", FIGURE), BEFORE, (IMPORT, {}), *(exercise(c[6:], c) for c in CHECKS), CLOSING]


@pytest.fixture
def write(tmp_path):
    def write_chapter(cells):
        made = [
            nbformat.v4.new_markdown_cell(cell)
            if isinstance(cell, str)
            else nbformat.v4.new_code_cell(cell[0], metadata=cell[1])
            for cell in cells
        ]
        path = tmp_path / "small.ipynb"
        path.write_text(nbformat.writes(notebooks.clean(nbformat.v4.new_notebook(cells=made))) + "\n", encoding="utf-8")
        return chapters.Chapter(path)

    return write_chapter


@pytest.mark.parametrize("chapter", chapters.read(), ids=lambda chapter: chapter.name)
def test_every_chapter_has_what_a_reader_was_promised(chapter):
    assert anatomy.problems(chapter) == []


def test_all_chapters_of_the_contents_are_read():
    folders = {path.parent.name for path in notebooks.find()} - {"reference"}
    found = [path for path in notebooks.find() if path.parent.name in folders]
    assert {chapter.path for chapter in chapters.read()} == set(found)


def test_a_good_chapter_has_no_faults_and_is_read_whole(write):
    chapter = write(GOOD)
    assert anatomy.problems(chapter) == []
    assert (chapter.title, chapter.label, chapter.module) == ("A small chapter", "small", "negation")
    assert (chapter.reading, chapter.running, chapter.linked) == (40, "under a minute", ["../infinite/linear"])
    first, *_, last = chapter.exercises
    assert (first.minutes, first.difficulty, first.hint, first.solution) == (5, 1, "Think.", "One.")
    assert (last.minutes, last.difficulty, last.open, last.solution) == (60, 3, True, "")


FAULTS = [
    ("(small)=\n", "", "no label above the title"),
    ("# A small chapter", "A small chapter", "no title"),
    ("* a third.\n", "", "2 points under"),
    ("40 minutes to read", "soon", "reading time 'soon'"),
    ("to run: one", "one", "running time"),
    ("| Before you read |", "| Before |", "no table"),
    ("## What this does not show", "## Limits", "What this does not show"),
    ("Sharp bits", "Blunt bits", '"Sharp bits"'),
    ("5. E.\n", "", "4 points in the summary"),
    ("**Next.**", "Next.", "**Next.**"),
    ("**References.**", "Sources.", "**References.**"),
    (":label: ex-held_out\n", "", "no label"),
    ("(5 minutes, ●○○) How many? `exercises.check_held_out", "`exercises.check_held_out", "minutes and difficulty"),
    ("`exercises.check_held_out(your_number)`", "", "no check"),
    ("exercises.check_held_out(", "exercises.check_other(", "names check_other"),
    (":::{solution} ex-held_out", ":::{solution} ex-other", "no solution"),
    (":::{solution} ex-held_out\n:class: dropdown", ":::{solution} ex-held_out", "not folded"),
    ("*Hint.* Where", "Where", "no hint"),
]


@pytest.mark.parametrize(("old", "new", "message"), FAULTS, ids=[fault[2] for fault in FAULTS])
def test_what_is_taken_away_is_missed_with_file_and_line(write, old, new, message):
    assert sum(cell.count(old) for cell in GOOD if isinstance(cell, str)) == 1
    found = anatomy.problems(write([cell.replace(old, new) if isinstance(cell, str) else cell for cell in GOOD]))
    assert any(message in line for line in found), found
    assert all(re.match(r"\S+small\.ipynb, line \d+: ", line) for line in found)


def test_a_chapter_without_its_figure_or_with_two_exercises_is_found(write):
    assert any("no figure before the first heading" in line for line in anatomy.problems(write([*GOOD[:1], *GOOD[2:]])))
    few = anatomy.problems(write([*GOOD[:6], CLOSING]))
    assert any("2 exercises with an answer" in line for line in few)
    assert any("no exercise asks for check_held_out" in line for line in few)


def test_the_line_of_a_fault_is_where_the_exercise_stands(write):
    chapter = write(GOOD)
    text = chapter.path.read_text(encoding="utf-8").splitlines()
    assert all(f"{{exercise-start}} {e.title}" in text[e.line - 1] for e in chapter.exercises)


def test_the_command_fails_with_the_fault(write, capsys):
    chapter = write([*GOOD[:6], CLOSING])
    assert anatomy.main([str(chapter.path)]) == 1
    assert "2 exercises with an answer" in capsys.readouterr().err
