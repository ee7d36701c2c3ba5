"""Networks of waves: what they answer, which phase lattices are exact, and mistakes."""

import math

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.features import residues
from entk_tutorial.models.analytic import analytic_mlp, grid_is_exact, random_phase_mlp, wave_mlp


def inputs(p):
    return modular_task(p, 0.5, 0).inputs.double()


@pytest.mark.parametrize("operation", ["sum", "diff"])
@pytest.mark.parametrize(("p", "grid", "seed"), [(5, 3, None), (7, 5, 3), (9, 3, 1)])
def test_outputs_are_exact(p, grid, seed, operation):
    scales = (1.5, 0.7)
    model = analytic_mlp(p, grid=grid, scales=scales, operation=operation, seed=seed)
    answer = residues(p, operation)
    expected = scales[0] ** 2 * scales[1] / (4 * p * (p - 1)) * (p * torch.eye(p, dtype=torch.float64)[answer] - 1)
    torch.testing.assert_close(model(inputs(p)).detach(), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("grid", range(1, 9))
def test_a_lattice_is_exact_when_its_kernels_do_not_move_with_it(grid):
    # An exact lattice gives the same activations' Gram wherever it starts; any other one does not.
    grams = []
    for seed in (0, 1):
        model = analytic_mlp(7, grid=grid, seed=seed)
        a = model.activations(inputs(7)).detach() / math.sqrt(model.hidden)
        grams.append(a @ a.T)
    still = bool((grams[0] - grams[1]).abs().max() < 1e-12 * grams[0].max())
    assert still == grid_is_exact(grid)


def test_random_phases_average_to_the_lattice():
    p, x = 5, inputs(5)
    exact = analytic_mlp(p)
    wide = random_phase_mlp(p, 200_000, seed=0)
    grams = [m.activations(x).detach() @ m.activations(x).detach().T / m.hidden for m in (exact, wide)]
    torch.testing.assert_close(grams[1], grams[0], rtol=0.02, atol=0)


def test_seeds_differ_and_leave_the_global_state():
    before = torch.get_rng_state()
    a, b = random_phase_mlp(5, 8, seed=0), random_phase_mlp(5, 8, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    assert not torch.equal(a.fc1.weight, b.fc1.weight)
    assert a.fc1.weight.dtype == torch.float64


K, T = torch.tensor([1, 2]), torch.zeros(2)


@pytest.mark.parametrize(
    ("call", "phrase"),
    [
        (lambda: wave_mlp(5, K, T, torch.zeros(3)), "must be"),
        (lambda: wave_mlp(5, torch.tensor([0, 5]), T, T), "frequencies from 1 to 4"),
        (lambda: wave_mlp(5, K, T, T, scales=(1.0, 0.0)), "positive"),
        (lambda: wave_mlp(5, K, T, T, scales=(float("nan"), 1.0)), "positive"),
        (lambda: wave_mlp(5, K, T, T, operation="product"), "unknown"),
        (lambda: analytic_mlp(6), "even"),
        (lambda: analytic_mlp(5, grid=0), "at least one"),
        (lambda: random_phase_mlp(29, 13, seed=0), "14 frequencies"),
        (lambda: grid_is_exact(0), "at least one"),
    ],
)
def test_mistakes_are_named(call, phrase):
    with pytest.raises(ValueError, match=phrase):
        call()
