"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import negation as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("check_additive_flips", 1),
        ("check_double_difference", -1.3),
        ("check_held_out", 0.7),
        ("check_sign_test", -2.65),
    ],
)
def test_answer_on_paper(name, right):
    assert getattr(exercises, name)(right)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_additive_flips", 0, "can flip"),
        ("check_additive_flips", 2, "Great keeps"),
        ("check_additive_flips", 3, "more negative"),
        ("check_additive_flips", 9, "compare signs"),
        ("check_double_difference", -1.4, "left out"),
        ("check_double_difference", -1.5, "plus"),
        ("check_double_difference", -1.7, "still in it"),
        ("check_double_difference", 1.3, "other way"),
        ("check_double_difference", -0.1, "adds all"),
        ("check_double_difference", 9, "f(not u)"),
        ("check_held_out", -1.1, "true negation"),
        ("check_held_out", -1.5, "turns the word"),
        ("check_held_out", 1.1, "score of its own"),
        ("check_held_out", -0.4, "keeps what it says"),
        ("check_held_out", 0, "bigram says nothing"),
        ("check_held_out", 9, "double difference to 0"),
        ("check_sign_test", 2.65, "minus"),
        ("check_sign_test", -9, "distance in pairs"),
        ("check_sign_test", -1.33, "not the root"),
        ("check_sign_test", -0.78, "variance"),
        ("check_sign_test", 5, "n/2"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in str(answer)
