"""Every solution passes its check; every planted mistake is named."""

import math

import pytest

from entk_tutorial.exercises import attention as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("check_repeated_word", 1.05),
        ("check_hard_width", (100 * math.log(18)) ** 2),
        ("check_filler", 1 / 4),
        ("check_small_scores", 4 / 30),
        ("check_order", ["heads, last", "tied, last"]),
    ],
)
def test_hand_computation_passes(name, by_hand):
    assert getattr(exercises, name)(by_hand)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_repeated_word", 0.9, "weight of"),
        ("check_repeated_word", 1, "bag of words"),
        ("check_repeated_word", 2.1, "both occurrences"),
        ("check_repeated_word", 0.4, "all three queries"),
        ("check_repeated_word", 0.8, "left out the query"),
        ("check_repeated_word", 4 / 3, "nine scores"),
        ("check_repeated_word", 1.5, "over queries"),
        ("check_repeated_word", 7, "2/5, 2/5, 1/5"),
        ("check_hard_width", 289, "its square"),
        ("check_hard_width", 835, "sigma_e^2 = 0.01"),
        ("check_hard_width", 48278, "one other word"),
        ("check_hard_width", 111, "share, not a score"),
        ("check_hard_width", 28904, "not like n"),
        ("check_hard_width", 5, "Solve"),
        ("check_filler", 0.5, "without"),
        ("check_filler", 0, "square them"),
        ("check_filler", 2, "factor 6"),
        ("check_filler", 4, "inverse"),
        ("check_filler", 1 / 9, "constant pattern"),
        ("check_filler", 1, "all four entries"),
        ("check_filler", 9, "Square the overlaps"),
        ("check_small_scores", 16 / 900, "Take the root"),
        ("check_small_scores", 0.075, "instead of dividing"),
        ("check_small_scores", 0.1, "left out the factor"),
        ("check_small_scores", 0.01, "square of tau"),
        ("check_small_scores", 4 / 3, "per cent"),
        ("check_small_scores", 9, "Solve"),
        ("check_order", "tied, last", "list of names"),
        ("check_order", ["tied"], "no layer"),
        ("check_order", ["heads, sum", "heads, last"], "not in which order"),
        ("check_order", ["tied, sum", "tied, last", "heads, last"], "counts of words"),
        ("check_order", ["tied, last"], "in one sentence"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message
