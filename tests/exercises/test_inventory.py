"""Every check of the package and every exercise of the book has a tested solution and planted wrong answers.

The tests beside this file run them, each module in the same form: one test over ``SOLUTIONS``, and one with rows of
``("check_...", wrong answer, words that the message must hold)``. Here both are read and held against what there is.
"""

import ast
import importlib
from collections import Counter
from pathlib import Path

import pytest

from tools import anatomy, chapters

TESTS = Path(__file__).parent
PACKAGE = TESTS.parents[1] / "entk_tutorial" / "exercises"
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem not in ("__init__", "base"))
FEWEST_MISTAKES = 2


def parametrized(source):
    """Test name -> (argument names, rows) of every parametrized test; rows as syntax, names of lists followed."""
    tree = ast.parse(source)
    lists = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = {}
    for function in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
        for mark in function.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.parametrize":
                names, rows = mark.args[:2]
                rows = lists.get(rows.id, rows) if isinstance(rows, ast.Name) else rows
                found.setdefault(function.name, []).append((ast.unparse(names), rows))
    return found


def planted(source):
    """How many planted wrong answers a test module has for each check."""
    counts = Counter()
    for marks in parametrized(source).values():
        for names, rows in marks:
            if names.startswith("('name', 'wrong',") and isinstance(rows, ast.List):
                counts.update(row.elts[0].value for row in rows.elts)
    return counts


def solutions_run(source):
    """Whether a test module runs every solution: a test that is parametrized over ``SOLUTIONS``."""
    return any(
        names == "'name'" and "SOLUTIONS" in ast.unparse(rows)
        for test, marks in parametrized(source).items()
        for names, rows in marks
        if "solution" in test
    )


def missing(checks, solutions, source):
    """What the exercises of one module lack, a sentence each."""
    counts = planted(source)
    lacking = [f"{check} has no solution" for check in sorted(checks - set(solutions))]
    lacking += [f"{check} is solved but not there" for check in sorted(set(solutions) - checks)]
    lacking += [
        f"{check} has {counts[check]} planted wrong answers, {FEWEST_MISTAKES} expected"
        for check in sorted(checks)
        if counts[check] < FEWEST_MISTAKES
    ]
    return lacking + ([] if solutions_run(source) else ["no test runs SOLUTIONS"])


@pytest.mark.parametrize("name", MODULES)
def test_every_check_has_a_tested_solution_and_planted_wrong_answers(name):
    module = importlib.import_module(f"entk_tutorial.exercises.{name}")
    source = (TESTS / f"test_{name}.py").read_text(encoding="utf-8")
    assert missing(anatomy.module_checks(name), module.SOLUTIONS, source) == []


def test_every_exercise_of_the_book_with_an_answer_has_a_check_among_them():
    tested = {name: anatomy.module_checks(name) for name in MODULES}
    book = chapters.read()
    assert sorted(chapter.module for chapter in book) == MODULES
    untested = [
        f"{chapter.name}: {exercise.title}"
        for chapter in book
        for exercise in chapter.exercises
        if not exercise.open and not set(exercise.checks) & tested[chapter.module]
    ]
    assert untested == []


GOOD = """
WRONG = [("check_a", 1, "x"), ("check_a", 2, "y"), ("check_b", 1, "x"), ("check_b", 3, "z")]

@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name): ...

@pytest.mark.parametrize(("name", "wrong", "reason"), WRONG)
def test_mistake_is_named(name, wrong, reason): ...
"""


@pytest.mark.parametrize(
    ("checks", "solutions", "source", "message"),
    [
        ({"check_a", "check_b"}, ["check_a"], GOOD, "check_b has no solution"),
        ({"check_a"}, ["check_a", "check_b"], GOOD, "check_b is solved but not there"),
        ({"check_a", "check_b", "check_c"}, ["check_a", "check_b", "check_c"], GOOD, "check_c has 0 planted"),
        ({"check_a"}, ["check_a"], GOOD.replace('("check_a", 2, "y"), ', ""), "check_a has 1 planted"),
        ({"check_a"}, ["check_a"], GOOD.replace("exercises.SOLUTIONS", "[]"), "no test runs SOLUTIONS"),
    ],
)
def test_what_is_missing_is_named(checks, solutions, source, message):
    assert missing({"check_a", "check_b"}, ["check_a", "check_b"], GOOD) == []
    assert any(message in line for line in missing(checks, solutions, source))
