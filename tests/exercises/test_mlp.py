"""Every solution passes its check; every planted mistake is named."""

import math

import pytest

from entk_tutorial.exercises import mlp as exercises

TWO_PI = 2 * math.pi


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [
        ("check_frozen", 1 / (TWO_PI - 1)),
        ("check_leaky", 1 / (15 * math.pi - 1)),
        ("check_unseen", 10 / math.pi),
        ("check_shift", 1 / math.sqrt(math.pi)),
        ("check_factor", 5600),
    ],
)
def test_the_written_solution_passes(name, by_hand):
    assert getattr(exercises, name)(by_hand)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_frozen", 0.1187, "all groups trained"),
        ("check_frozen", 0.4669, "hidden layer as well"),
        ("check_frozen", 0.1592, "B / A"),
        ("check_frozen", 0, "readout were frozen"),
        ("check_frozen", 0.7, "what v and W contribute"),
        ("check_leaky", 0.1187, "relu itself"),
        ("check_leaky", 1 / (15 * math.pi), "B / A"),
        ("check_leaky", 0.068, "readout's ratio alone"),
        ("check_leaky", 0.1191, "square of the mean"),
        ("check_leaky", 0.2360, "partly cancel"),
        ("check_leaky", 0, "not odd"),
        ("check_leaky", 0.5, "second moments"),
        ("check_unseen", 20 / math.pi, "one half"),
        ("check_unseen", 4 / math.pi, "mean pooling"),
        ("check_unseen", 15 / math.pi, "positive class only"),
        ("check_unseen", -10 / math.pi, "sign"),
        ("check_unseen", 20, "B = 1"),
        ("check_unseen", 20 / math.sqrt(TWO_PI), "square of the mean"),
        ("check_unseen", 0, "not 0"),
        ("check_unseen", 1, "tokens in a class"),
        ("check_shift", 0.3989, "variance 1"),
        ("check_shift", 0.7979, "not like the variance"),
        ("check_shift", 0.3183, "B itself"),
        ("check_shift", -0.5642, "sign"),
        ("check_shift", 1, "E phi^2"),
        ("check_shift", 0.1, "variance 2"),
        ("check_factor", 56, "1/100"),
        ("check_factor", 1 / 5600, "inverse"),
        ("check_factor", 14250, "SiLU"),
        ("check_factor", 3, "Divide"),
        ("check_factor", -1, "Divide"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message
