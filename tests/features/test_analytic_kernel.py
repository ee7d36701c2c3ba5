"""Closed forms against the kernel engine, against dense eigenvalues, and the mean of many networks."""

import math

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.features import fourier_features, subspace_overlap
from entk_tutorial.features.analytic_kernel import (
    analytic_kernel,
    analytic_levels,
    flip_ratio,
    initial_levels,
    random_phase_loss,
)
from entk_tutorial.models.analytic import analytic_mlp, random_phase_mlp
from entk_tutorial.models.modular import expected_initial_kernel

SCALES = [(1.0, 1.0), (1.0, 2.0), (3.0, 1.0)]


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize(("p", "grid", "operation"), [(5, 3, "sum"), (9, 3, "diff"), (11, 5, "sum")])
def test_kernel_of_a_lattice(p, grid, operation, scales):
    model = analytic_mlp(p, grid=grid, scales=scales, operation=operation, seed=1)
    measured = empirical_ntk(model, modular_task(p, 0.5, 0).inputs.double(), by="layer")
    for name, closed in analytic_kernel(p, model.hidden, scales).items():
        torch.testing.assert_close(measured[name], closed, rtol=0, atol=1e-12 * float(closed.abs().max()))


@pytest.mark.parametrize("scales", SCALES)
@pytest.mark.parametrize("p", [5, 7, 15])
def test_levels_are_the_eigenvalues(p, scales):
    kernels, levels = analytic_kernel(p, 10, scales), analytic_levels(p, 10, scales)
    for name, kernel in {**kernels, "total": kernels["fc1"] + kernels["fc2"]}.items():
        values = torch.linalg.eigvalsh(kernel).flip(0)
        top = float(values[0])
        torch.testing.assert_close(values, levels[name].spectrum(p), rtol=0, atol=1e-12 * top)
        wave = fourier_features(p)["sum"][:, 2]
        torch.testing.assert_close(kernel @ wave, levels[name].diagonals * wave, rtol=0, atol=1e-11 * top)


@pytest.mark.parametrize("scales", SCALES)
def test_initial_levels_are_those_of_the_mean_kernel(scales):
    p, hidden = 7, 10
    x = modular_task(p, 0.5, 0).inputs
    mean = expected_initial_kernel(x, x, p, hidden)
    factor = {"fc1": (scales[0] * scales[1]) ** 2, "fc2": scales[0] ** 4}
    levels = initial_levels(p, hidden, scales)
    total = sum(factor[k] * v for k, v in mean.items())
    values = torch.linalg.eigvalsh(total).flip(0)
    torch.testing.assert_close(values, levels["total"].spectrum(p), rtol=1e-10, atol=0)
    assert levels["fc2"].digits / levels["fc2"].rest == pytest.approx((p + 2) / 2)


@pytest.mark.parametrize("p", [5, 29, 113])
def test_order_flips_at_the_ratio(p):
    flip = flip_ratio(p)
    for factor in (1 - 1e-9, 1 + 1e-9):
        level = analytic_levels(p, 1, (factor * flip, 1.0))["total"]
        assert (level.digits > level.diagonals) == (factor < 1)
    below = analytic_kernel(11, 1, (0.99 * flip_ratio(11), 1.0))
    vectors = torch.linalg.eigh(below["fc1"] + below["fc2"])[1].flip(1)
    assert subspace_overlap(vectors[:, 1:21], fourier_features(11)["n"]).value == pytest.approx(10)


@pytest.mark.parametrize("scales", [(1.0, 2.0), (1.0, 1.0), (3.0, 1.0)])
def test_loss_by_random_phases(scales):
    p, hidden, features = 11, 20_000, fourier_features(11)
    losses = []
    for seed in range(4):
        model = random_phase_mlp(p, hidden, seed, scales=scales)
        x = modular_task(p, 0.5, 0).inputs.double()
        z = (model.fc1(x) / math.sqrt(2 * p)).detach()
        k1 = 4 / hidden**2 * x @ x.T / (2 * p) * ((z * model.fc2.weight.detach().square().sum(0)) @ z.T)
        k2 = p / hidden**2 * z.square() @ z.square().T
        vectors = torch.linalg.eigh(k1 + k2)[1].flip(1)
        window = vectors[:, 21:41] if scales[0] / scales[1] < flip_ratio(p) else vectors[:, 1:21]
        losses += [p - 1 - subspace_overlap(window, features[f]).value for f in ("sum", "diff")]
    assert sum(losses) / len(losses) == pytest.approx(random_phase_loss(p, hidden, scales), rel=0.25)


@pytest.mark.parametrize(
    ("call", "phrase"),
    [
        (lambda: analytic_kernel(8, 1), "even"),
        (lambda: analytic_kernel(3, 1), "from 5 on"),
        (lambda: analytic_levels(5, 0), "positive"),
        (lambda: initial_levels(5, 1, (0.0, 1.0)), "positive"),
        (lambda: random_phase_loss(7, 100), "prime from 11"),
        (lambda: random_phase_loss(15, 100), "prime from 11"),
    ],
)
def test_mistakes_are_named(call, phrase):
    with pytest.raises(ValueError, match=phrase):
        call()
