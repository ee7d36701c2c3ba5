"""Baselines: orthonormal, of the dimension asked for, and right on networks whose waves are known."""

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.features import fourier_features, subspace_overlap
from entk_tutorial.features.baselines import (
    input_weight_directions,
    leading_directions,
    random_directions,
    random_waves,
    weight_wave_directions,
)
from entk_tutorial.models.analytic import analytic_mlp
from entk_tutorial.models.modular import QuadraticMLP

P, D = 11, 20
X = modular_task(P, 0.5, 0).inputs.double()
FEATURES = fourier_features(P)
ORDER = torch.randperm(P, generator=torch.Generator().manual_seed(3))


def overlaps(u):
    return {f: subspace_overlap(u, FEATURES[f]).value for f in ("n", "m", "sum", "diff")}


@pytest.mark.parametrize(
    "u",
    [leading_directions(X, D), input_weight_directions(torch.randn(50, 2 * P), X, D), random_directions(P, D, 0),
     random_directions(P, D, 0, beyond_digits=True), random_waves(P, D, 0),
     weight_wave_directions(QuadraticMLP(P, 50, 0).fc1.weight, P, D),
     weight_wave_directions(QuadraticMLP(P, 50, 0).fc1.weight, P, D, order=ORDER)],
    ids=["inputs", "W1", "random", "beyond", "waves", "dft", "nonsense"],
)  # fmt: skip
def test_orthonormal_and_without_constant(u):
    assert u.shape == (P * P, D)
    torch.testing.assert_close(u.T @ u, torch.eye(D, dtype=torch.float64), atol=1e-6, rtol=0)
    assert float(u.sum(0).abs().max()) < 1e-6


def test_any_full_first_layer_holds_the_functions_of_the_digits_and_no_other():
    found = overlaps(input_weight_directions(QuadraticMLP(P, 60, 4).fc1.weight, X, D))
    assert found["n"] == pytest.approx(10) and found["m"] == pytest.approx(10) and found["sum"] < 1e-9


def test_transform_of_waves_needs_the_order_of_the_digits():
    weight = analytic_mlp(P).fc1.weight
    told, misled = (overlaps(weight_wave_directions(weight, P, D, order=o)) for o in (None, ORDER))
    assert told["sum"] == pytest.approx(10) and told["diff"] == pytest.approx(10)
    assert misled["sum"] < 6


def test_outputs_hold_the_sum_alone():
    outputs = analytic_mlp(P)(X).detach()
    found = overlaps(leading_directions(outputs, D))
    assert found["sum"] == pytest.approx(10) and found["diff"] < 1e-9
    assert leading_directions(outputs, D).shape[1] == 10


def test_random_levels():
    found = [overlaps(random_directions(P, D, seed, beyond_digits=True))["sum"] for seed in range(40)]
    assert sum(found) / 40 == pytest.approx(D * 10 / 100, rel=0.1)
    found = [overlaps(random_waves(P, D, seed))["sum"] for seed in range(200)]
    assert sum(found) / 200 == pytest.approx(D * 10 / 100, rel=0.15)


@pytest.mark.parametrize(
    ("call", "phrase"),
    [
        (lambda: leading_directions(torch.ones(5, 2), 1), "do not vary"),
        (lambda: leading_directions(torch.ones(5), 1), "should be"),
        (lambda: weight_wave_directions(torch.ones(5, 7), P, D), "expected"),
        (lambda: weight_wave_directions(torch.ones(5, 2 * P), P, 3), "even d"),
        (lambda: random_waves(P, 3, 0), "even number"),
        (lambda: random_waves(P, 102, 0), "even number"),
    ],
)
def test_mistakes_are_named(call, phrase):
    with pytest.raises(ValueError, match=phrase):
        call()
