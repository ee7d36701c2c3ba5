"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import decision as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "right"),
    [("check_without_pairs", 0.7), ("check_pure_pair", 1.5), ("check_fillers", 11), ("check_constant", 1.4)],
)
def test_answer_on_paper(name, right):
    assert getattr(exercises, name)(right)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_without_pairs", -0.5, "whole logit"),
        ("check_without_pairs", -1.2, "part of the pairs"),
        ("check_without_pairs", -1.7, "larger"),
        ("check_without_pairs", 2.1, "one of the two"),
        ("check_without_pairs", 1.0, "stays"),
        ("check_without_pairs", 9, "three label scores"),
        ("check_pure_pair", 6, "weight itself"),
        ("check_pure_pair", 4.5, "mean away"),
        ("check_pure_pair", 3, "other word"),
        ("check_pure_pair", 0, "cannot give 6"),
        ("check_pure_pair", -1.5, "three times"),
        ("check_pure_pair", 9, "row mean"),
        ("check_fillers", 10, "exactly"),
        ("check_fillers", 3, "already"),
        ("check_fillers", 19, "all words"),
        ("check_fillers", 1, "adds 0.1"),
        ("check_fillers", 99, "adds 0.1 to"),
        ("check_constant", 1.6, "once"),
        ("check_constant", 0.2, "Each of the eight"),
        ("check_constant", 0, "is a document"),
        ("check_constant", -1.4, "larger one"),
        ("check_constant", 9, "how often"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in str(answer).replace("\n", " ")
