"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import multiplicative as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("check_substrings", 15),
        ("check_subsequences", 6),
        ("check_symmetric_mv", 10),
        ("check_balance", 2 / 3),
        ("check_noise_width", 24200),
    ],
)
def test_answer_on_paper(name, right):
    assert getattr(exercises, name)(right)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_substrings", 9, "is a common substring too"),
        ("check_substrings", 12, "weighs 3 * 2"),
        ("check_substrings", 4, "3 times its length"),
        ("check_substrings", 5, "five groups"),
        ("check_substrings", 30, "with itself"),
        ("check_substrings", 77, "List the common substrings"),
        ("check_subsequences", 5, "empty subsequence"),
        ("check_subsequences", 4, "skip the word"),
        ("check_subsequences", 3, "Those are the words"),
        ("check_subsequences", 7, "not shared"),
        ("check_subsequences", 8, "with itself"),
        ("check_subsequences", 77, "8 subsets"),
        ("check_symmetric_mv", 4, "ordinary MV"),
        ("check_symmetric_mv", 7, "two terms"),
        ("check_symmetric_mv", 6, "share of the pairs"),
        ("check_symmetric_mv", 16, "independent"),
        ("check_symmetric_mv", 77, "four products"),
        ("check_balance", 0.5, "only three bigrams"),
        ("check_balance", 4 / 3, "factor l = 2"),
        ("check_balance", 1.0, "weigh 18"),
        ("check_balance", 0.8165, "whose square"),
        ("check_balance", 9, "Solve"),
        ("check_noise_width", 100, "nothing were multiplied"),
        ("check_noise_width", 2420, "divided by 0.1"),
        ("check_noise_width", 8000, "four tokens"),
        ("check_noise_width", 72800, "six tokens"),
        ("check_noise_width", 200, "not T or 2"),
        ("check_noise_width", 77, "Solve"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message
