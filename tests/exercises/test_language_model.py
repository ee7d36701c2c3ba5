"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import language_model as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


def test_answers_on_paper():
    ratio = 0.11866  # B / (A - B) of relu: (1/2pi) / (3/2 - 1/2pi)
    prior = ratio * (4500 - 50_000 / 300)
    assert exercises.check_centring(0)
    assert exercises.check_prior_share(prior / (prior + 595))
    assert exercises.check_matched(0.5)
    assert exercises.check_leak({"A": 1, "B": 0, "C": 7})


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_centring", 1, "That is the count"),
        ("check_centring", -1.25, "all nine pairs"),
        ("check_centring", 0.25, "share of dog"),
        ("check_centring", 0.75, "not its inverse"),
        ("check_centring", 7, "take N_a / V"),
        ("check_prior_share", 4333.33333 / 4928.33333, "left out"),
        ("check_prior_share", 0.11866, "ratio of the weights"),
        ("check_prior_share", 0.47091, "centre both"),
        ("check_prior_share", 0.53634, "other term"),
        ("check_prior_share", 0.9999, "Which share"),
        ("check_matched", 1, "inside the pair"),
        ("check_matched", 5 / 6, "all six"),
        ("check_matched", 0, "frequent pair"),
        ("check_matched", 2, "A share"),
        ("check_matched", 0.3, "neighbours"),
        ("check_leak", {"A": 0, "B": 0, "C": 7}, "A leaks"),
        ("check_leak", {"A": 2, "B": 1, "C": 8}, "one too high"),
        ("check_leak", {"A": 1, "B": 1, "C": 7}, "innocent"),
        ("check_leak", {"A": 3, "B": 0, "C": 7}, "not that far"),
        ("check_leak", {"A": 1, "B": 0, "C": 1}, "no mask"),
        ("check_leak", "C", "for each"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in " ".join(str(answer).split())
