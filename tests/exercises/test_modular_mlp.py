"""The exercises of the chapter on modular addition: right answers pass, planted mistakes are named."""

import pytest
import torch

from entk_tutorial.exercises import modular_mlp as ex
from entk_tutorial.features import fourier_features


@pytest.mark.parametrize("name", sorted(ex.SOLUTIONS))
def test_solution_passes(name):
    answer = getattr(ex, name)(ex.SOLUTIONS[name]())
    assert answer, answer.message


def test_every_check_has_a_solution():
    checks = {n for n in dir(ex) if n.startswith("check_") and getattr(ex, n).__module__ == ex.__name__}
    assert checks == set(ex.SOLUTIONS)


RANDOM = torch.randn(841, 28, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
FEATURES = fourier_features(29)
WRONG = [
    ("check_chance", 10 * 28 / 841, "orthogonal to the constant"),
    ("check_chance", 2.0, "the whole window"),
    ("check_chance", 10 / 784, "for one feature"),
    ("check_chance", 28.0, "count the three numbers"),
    ("check_cubic", 31 / 2, "ratio of s^2"),
    ("check_cubic", 32 / 3, "3 products"),
    ("check_cubic", 29 / 6, "add it to p"),
    ("check_cubic", 1.0, "expand s^3"),
    ("check_not_fourier", FEATURES["sum"], "Mix them"),
    ("check_not_fourier", RANDOM, "not full"),
    ("check_not_fourier", FEATURES["diff"], "not full"),
    ("check_not_fourier", FEATURES["sum"][:, :5], "directions over 841 pairs"),
    ("check_indicator", 1.0, "a single wave"),
    ("check_indicator", 1 / 28, "count frequencies"),
    ("check_indicator", 0.5, "sum of cosines"),
]


@pytest.mark.parametrize(("name", "wrong", "phrase"), WRONG)
def test_mistake_is_named(name, wrong, phrase):
    answer = getattr(ex, name)(wrong)
    assert not answer
    assert phrase in answer.message


def test_a_half_mixture_is_not_enough():
    mixed = FEATURES["sum"].clone()
    mixed[:, :2] = mixed[:, :2] + mixed[:, 2:4]
    assert "Mix" in ex.check_not_fourier(mixed).message
