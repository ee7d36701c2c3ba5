import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.features import fourier_features
from entk_tutorial.features.progress import excluded_loss, inverse_participation, restricted_loss, sum_part

P = 7
TASK = modular_task(P, 0.6, seed=0)
EVERY = torch.arange(P * P)


def outputs(seed=0):
    return torch.randn(P * P, P, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_sum_part_is_the_projection_on_constant_and_waves():
    f = torch.cat([torch.ones(P * P, 1, dtype=torch.float64), fourier_features(P)["sum"]], 1)
    q = torch.linalg.qr(f)[0]
    assert torch.allclose(sum_part(outputs(), P), q @ (q.T @ outputs()), atol=1e-12)


def test_sum_part_of_some_rows_is_the_least_squares_fit_on_them():
    f = torch.cat([torch.ones(P * P, 1, dtype=torch.float64), fourier_features(P)["sum"]], 1)
    rows = TASK.train
    fit = torch.linalg.lstsq(f[rows], outputs()[rows]).solution
    assert torch.allclose(sum_part(outputs(), P, rows)[rows], (f @ fit)[rows], atol=1e-10)


def test_a_lookup_table_has_low_restricted_loss_through_its_training_rows_only():
    """Outputs right on training pairs and zero elsewhere: nothing is known of held-out pairs."""
    table = torch.zeros_like(TASK.targets)
    table[TASK.train] = TASK.targets[TASK.train]
    leaky = restricted_loss(table, TASK.targets, P, TASK.held_out)
    fair = restricted_loss(table, TASK.targets, P, TASK.held_out, means_over=TASK.held_out)
    assert fair == pytest.approx(1 / P) and leaky < 0.5 * fair


def test_excluded_loss_is_that_of_the_mean_for_a_function_of_the_sum_and_zero_change_without_it():
    rule = TASK.targets.double()
    assert excluded_loss(rule, rule, P, EVERY) == pytest.approx((P - 1) / P**2)
    noise = fourier_features(P)["diff"][:, : P - 1].repeat(1, 2)[:, :P]
    kept = excluded_loss(noise, rule, P, TASK.train)
    assert kept == pytest.approx(float((noise - rule)[TASK.train].square().mean()))


def test_rows_that_cannot_be_measured_are_refused():
    empty = torch.tensor([], dtype=torch.long)
    with pytest.raises(ValueError, match="rows is empty"):
        excluded_loss(outputs(), TASK.targets, P, empty)
    with pytest.raises(ValueError, match="a sum that means_over does not"):
        restricted_loss(outputs(), TASK.targets, P, EVERY, means_over=torch.tensor([0]))
    with pytest.raises(ValueError, match="one row a pair"):
        sum_part(outputs()[1:], P)


def test_inverse_participation_of_a_mixture_of_two_equal_waves_is_one_half():
    t = 2 * torch.pi * torch.arange(P) / P
    assert inverse_participation((t.cos() + (2 * t).sin())[None] + 5, P) == pytest.approx(0.5, abs=1e-6)
