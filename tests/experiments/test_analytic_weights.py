"""Analytic weights on a small modulus; the fast products against the kernel engine."""

from dataclasses import replace

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.experiments import analytic_weights
from entk_tutorial.experiments.analytic_weights import Config, predicted_overlaps, product_kernels, window_overlaps
from entk_tutorial.features.analytic_kernel import analytic_kernel, flip_ratio
from entk_tutorial.models.analytic import analytic_mlp, random_phase_mlp
from entk_tutorial.models.modular import QuadraticMLP

TINY = Config(p=11, ratios=(0.5, 3.0), widths=(256, 1024), predicted_at=(0.5, 3.0))


@pytest.fixture(scope="module")
def result():
    return analytic_weights.run(TINY, seeds=[0, 1])


def test_closed_forms_hold(result):
    for name in ("kernel_error", "eigenvalue_error", "overlap_error", "flip_error", "subtraction_kernel_change"):
        assert bool((result.metrics[name] < 1e-9).all()), name
    assert bool((result.metrics["accuracy"] == 1).all()) and bool((result.metrics["subtraction_accuracy"] == 1).all())
    assert result.metrics["flip"][0] == pytest.approx(flip_ratio(11))
    assert set(result.chance) <= set(result.metrics)


def test_random_phases_lose_and_lose_less_when_wider(result):
    for lost in result.series["lost"]:
        assert all(0 < wide < narrow for narrow, wide in zip(*lost, strict=True))
    assert result.metrics["loss_at_0.5"][0] != result.metrics["loss_at_0.5"][1]


def test_products_are_the_kernel():
    model, x = QuadraticMLP(5, 16, seed=0).double(), modular_task(5, 0.5, 0).inputs.double()
    engine = empirical_ntk(model, x, by="layer")
    for name, kernel in product_kernels(model, x).items():
        torch.testing.assert_close(kernel, engine[name])


def test_inexact_phases_miss_the_criterion():
    x = modular_task(11, 0.5, 0).inputs.double()
    closed = analytic_kernel(11, 80, (0.5, 1.0))
    measured = empirical_ntk(analytic_mlp(11, grid=4, scales=(0.5, 1.0), seed=0), x, by="layer")
    assert float((measured["fc2"] - closed["fc2"]).abs().max() / closed["fc2"].abs().max()) > 1e-3
    found = window_overlaps(empirical_ntk(random_phase_mlp(11, 80, 0, scales=(0.5, 1.0)), x), 11)
    assert max(abs(found[k] - v) for k, v in predicted_overlaps(11, 0.5).items()) > 1e-3


@pytest.mark.parametrize(
    "change",
    [{"p": 7}, {"p": 15}, {"grid": 4}, {"ratios": ()}, {"ratios": (flip_ratio(11),)}, {"widths": (256,)},
     {"widths": (512, 256)}, {"predicted_at": (2.0,)}, {"predicted_at": ()}],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)
