"""Every solution passes its check; every planted mistake is named."""

import math

import pytest

from entk_tutorial.exercises import cnn as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "by_hand"),
    [("check_frozen_readout", 1), ("check_padding", 4), ("check_small_variance", 20 / (3 * math.pi))],
)
def test_hand_computation_passes(name, by_hand):
    assert getattr(exercises, name)(by_hand)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_frozen_readout", 3, "ratio of kernel values"),
        ("check_frozen_readout", 0.801, "all groups"),
        ("check_frozen_readout", 0.345, "kept the readout"),
        ("check_frozen_readout", 2, "second difference"),
        ("check_frozen_readout", 0.5, "slopes"),
        ("check_frozen_readout", 17, "Take differences"),
        ("check_longest_ngram", 4, "fits into the window"),
        ("check_longest_ngram", 3, "three slots"),
        ("check_longest_ngram", 1, "affine"),
        ("check_longest_ngram", 0, "bias"),
        ("check_longest_ngram", 9, "whole number"),
        ("check_negation_time", 3.53, "2 w1 / w2"),
        ("check_negation_time", 1.766, "w1 / w2, the ratio"),
        ("check_negation_time", 0.566, "w2 / w1"),
        ("check_negation_time", 0.22, "inverse"),
        ("check_negation_time", 9.2136, "constant pattern"),
        ("check_negation_time", 99, "inverse eigenvalues"),
        ("check_padding", 0, "fewer slots"),
        ("check_padding", 5, "wrong way round"),
        ("check_padding", 7, "subtract f(not) and f(good)"),
        ("check_padding", 12, "summed all slots"),
        ("check_padding", 9, "f(not) only"),
        ("check_padding", 2, "f(good) only"),
        ("check_padding", 30, "Windows of"),
        ("check_small_variance", 5 / 6, "SiLU"),
        ("check_small_variance", 1.33, "squared: weights"),
        ("check_small_variance", 5 / (3 * math.pi), "second derivative only"),
        ("check_small_variance", 10 / (3 * math.pi), "a factor 4"),
        ("check_small_variance", 9, "normal density"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message
