"""Mean eigenvalues from the weights against the kernel itself."""

from __future__ import annotations

import math

import pytest
import torch

from entk_tutorial.features.family_means import MEANS, family_means
from entk_tutorial.features.fourier import FAMILIES, fourier_features
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_kernel import QuadraticKernel


@pytest.mark.parametrize(("p", "hidden"), [(5, 2), (7, 9), (11, 4)])
def test_exact_for_any_weights(p: int, hidden: int) -> None:
    model = QuadraticMLP(p, hidden, seed=3).double()
    with torch.no_grad():
        model.fc1.weight[:, :p] += 0.7  # a mean over the digit: its products with the waves count, too
    kernel = QuadraticKernel(model, torch.float64)
    expected = {}
    for family in FAMILIES:
        basis = fourier_features(p)[family] * math.sqrt(2) / p
        expected[family] = float((basis * kernel.times(basis)).sum()) / (p - 1)
    ones = torch.full((p * p, 1), 1 / p, dtype=torch.float64)
    known = float((ones * kernel.times(ones)).sum()) + (p - 1) * sum(expected.values())
    expected["rest"] = (kernel.diagonal_mean() * p * p - known) / (p * p - 4 * p + 3)
    found = family_means(model.fc1.weight, model.fc2.weight)
    assert {name: found[name] for name in MEANS} == pytest.approx(expected, rel=1e-10)


def test_purity_of_waves_and_of_noise() -> None:
    p, hidden = 31, 4000
    noise = QuadraticMLP(p, hidden, seed=0)
    assert family_means(noise.fc1.weight, noise.fc2.weight)["purity"] == pytest.approx(2 / (p - 1), rel=0.05)
    angle = 2 * math.pi * torch.arange(p) / p
    k = torch.arange(1, 11)[:, None]
    waves = torch.cat([torch.cos(k * angle + 1.0), torch.sin(k * angle)], 1)
    found = family_means(waves, torch.ones(p, 10))
    assert found["purity"] == pytest.approx(1)
    assert found["sum"] / found["rest"] == pytest.approx(1 + found["balance"] * p / 4)  # the law of the chapter


@pytest.mark.parametrize(("first", "second"), [((4, 9), (5, 4)), ((4, 6), (3, 4)), ((4, 12), (6, 4))])
def test_bad_shapes_are_refused(first: tuple[int, int], second: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected"):
        family_means(torch.ones(first), torch.ones(second))
