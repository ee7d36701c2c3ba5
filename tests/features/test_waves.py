"""Purity of waves: one for a wave of any direction, the known level for noise, lost when the digits are renamed."""

import pytest
import torch

from entk_tutorial.features import concentration_chance, fourier_features, frequency_concentration
from entk_tutorial.features.families import CANDIDATES, family_basis, without_digits
from entk_tutorial.features.waves import discrete_logarithm, family_concentration, family_waves, wave_concentration

P = 13


def test_every_wave_is_pure_and_renaming_spoils_it():
    features = fourier_features(P)
    order = torch.randperm(P, generator=torch.Generator().manual_seed(0))
    for family in ("n", "sum", "diff"):
        assert bool((wave_concentration(features[family], P) > 1 - 1e-9).all())
        assert bool((wave_concentration(features[family], P, order=order) < 0.9).all())
    inverse = torch.argsort(order)
    renamed = features["sum"].reshape(P, P, -1)[inverse][:, inverse].flatten(0, 1)
    assert bool((wave_concentration(renamed, P, order=order) > 1 - 1e-9).all())


def test_it_agrees_with_the_four_families_inside_them():
    u = fourier_features(P)["sum"] @ torch.randn(12, 5, generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(wave_concentration(u, P), frequency_concentration(u, P))


def test_noise_has_the_chance_level():
    u = torch.randn(P * P, 400, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert float(wave_concentration(u, P).mean()) == pytest.approx(concentration_chance((P * P - 1) // 2), rel=0.03)


@pytest.mark.parametrize("family", CANDIDATES)
def test_waves_of_a_family_are_its_functions_and_pure(family):
    waves = family_waves(P, family)
    q = family_basis(P, family)
    flat = waves.transpose(0, 1).flatten(1)
    torch.testing.assert_close(q @ (q.T @ flat), flat)
    torch.testing.assert_close(waves[0].T @ waves[0], torch.eye(2, dtype=torch.float64))
    assert family_concentration(waves[1], P, family) == pytest.approx(1)
    noise = without_digits(torch.randn(P * P, 20, generator=torch.Generator().manual_seed(1)), P)
    assert family_concentration(noise, P, family) < 0.1


def test_logarithms_add_under_multiplication():
    log = discrete_logarithm(P)
    assert all(int(log[a * b % P]) == int(log[a] + log[b]) % (P - 1) for a in range(1, P) for b in range(1, P))
    assert int(log[0]) == -1 and int(log[1]) == 0


@pytest.mark.parametrize(
    ("call", "phrase"),
    [
        (lambda: wave_concentration(torch.ones(P * P, 1), P), "constant"),
        (lambda: wave_concentration(torch.ones(5, 1), P), "one row for each pair"),
        (lambda: wave_concentration(fourier_features(P)["n"], P, order=torch.zeros(P).long()), "permutation"),
        (lambda: family_concentration(fourier_features(P)["n"], P, "n+m"), "single digits"),
    ],
)
def test_mistakes_are_named(call, phrase):
    with pytest.raises(ValueError, match=phrase):
        call()
