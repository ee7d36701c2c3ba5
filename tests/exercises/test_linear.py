"""Every solution passes its check; every planted mistake is named."""

import itertools

import pytest

from entk_tutorial.exercises import linear as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


def test_no_scores_negate():
    for good, bad, no in itertools.product([-2.5, -1, -0.3, 0.2, 1.1, 2], repeat=3):
        answer = exercises.check_best_scores({"good": good, "bad": bad, "not": no})
        assert "4 of 4" not in answer.message


STEPS = {"good": 2, "bad": -2, "not": -0.5, "movie": 0, "plot": 0.5}


def scaled(factor):
    return {word: factor * value for word, value in STEPS.items()}


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_entry", 63, "one group"),
        ("check_entry", 42, "squared"),
        ("check_entry", 36, "Repetitions count"),
        ("check_entry", 54, "place by place"),
        ("check_entry", 10.5, "mean pooling"),
        ("check_entry", 7, "scales"),
        ("check_entry", 5, "both bags"),
        ("check_repetition", (3, 1), "not 3"),
        ("check_repetition", (9, 9), "sum only"),
        ("check_repetition", (9, 1 / 9), "only undoes"),
        ("check_repetition", (2, 2), "3 n(x)"),
        ("check_repetition", (9,), "Two numbers"),
        ("check_first_steps", scaled(2), "sum pooling"),
        ("check_first_steps", scaled(0.5), "one half too much"),
        ("check_first_steps", scaled(0.25), "pooled twice"),
        ("check_first_steps", scaled(-1), "sign"),
        ("check_first_steps", {**STEPS, "plot": 7}, "For each word"),
        ("check_first_steps", {"good": 1}, "missing for: bad"),
        ("check_width", 5000, "half of the signal"),
        ("check_width", 8298, "two-sided"),
        ("check_width", 27073, "both groups"),
        ("check_width", 3384, "square root"),
        ("check_width", 100, "quantile"),
        ("check_best_scores", {"good": 1, "bad": -1, "not": 0}, "2 of 4"),
        ("check_best_scores", {"good": -1, "bad": 1, "not": 0}, "2 of 4"),
        ("check_best_scores", {"good": 1, "bad": -1, "not": -1}, "neither class"),
        ("check_best_scores", {"good": 1}, "missing for: bad, not"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message
