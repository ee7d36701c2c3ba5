"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import label_scores as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(("name", "by_hand"), [("check_velocity", 4), ("check_race", 100 / 9), ("check_width", 6340)])
def test_the_written_solution_passes(name, by_hand):
    answer = getattr(exercises, name)(by_hand)
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_velocity", 8, "residual"),
        ("check_velocity", 2, "two groups"),
        ("check_velocity", 10, "pull down"),
        ("check_velocity", 0.4, "does not divide"),
        ("check_velocity", -4, "sign"),
        ("check_race", 0.0585, "polarity rates"),
        ("check_race", 0.09, "other way round"),
        ("check_race", 190, "all occurrences"),
        ("check_width", 4000, "itself"),
        ("check_width", 1.5576, "vocabulary"),
        ("check_width", 0, "Solve"),
    ],
)
def test_a_wrong_answer_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message
