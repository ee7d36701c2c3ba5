"""Every solution passes its check; every planted mistake is named."""

import math

import pytest

from entk_tutorial.exercises import activation_bias as exercises


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    assert getattr(exercises, name)(exercises.SOLUTIONS[name]())


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_raw", 0.1187, "equal scales"),
        ("check_raw", 0.5, "each group"),
        ("check_half", 0.01, "go up"),
        ("check_half", 9.0, "go down"),
        ("check_half", -1.0, "positive"),
        ("check_mean", 0, "not 0"),
        ("check_mean", 72 / math.pi, "one half"),
        ("check_mean", 8 * 36 / math.pi, "sum pooling"),
        ("check_mean", 1, "documents"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message
