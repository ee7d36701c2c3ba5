"""The ground truth of modular addition: closed forms, orthogonality, chance levels."""

import math

import pytest
import torch

from entk_tutorial.features import (
    FAMILIES,
    concentration_chance,
    fourier_features,
    frequency_concentration,
    modular_pairs,
    plane_energy,
    residues,
)
from entk_tutorial.features.fourier import fourier_planes, weight_frequencies

MODULI = pytest.mark.parametrize("p", [3, 5, 7, 29])


@MODULI
def test_closed_forms_entry_by_entry(p):
    features = fourier_features(p)
    pairs = [(n, m) for n in range(p) for m in range(p)]
    assert modular_pairs(p).tolist() == [list(pair) for pair in pairs]
    arguments = {"n": lambda n, m: n, "m": lambda n, m: m, "sum": lambda n, m: n + m, "diff": lambda n, m: n - m,
                 "2n": lambda n, m: 2 * n, "2m": lambda n, m: 2 * m}  # fmt: skip
    for family, of in arguments.items():
        assert features[family].shape == (p * p, p - 1) and features[family].dtype == torch.float64
        for k in {1, (p - 1) // 2}:
            angles = torch.tensor([2 * math.pi * k * of(n, m) / p for n, m in pairs], dtype=torch.float64)
            assert torch.allclose(features[family][:, 2 * k - 2], angles.cos(), atol=1e-11)
            assert torch.allclose(features[family][:, 2 * k - 1], angles.sin(), atol=1e-11)
    assert torch.equal(features["axis_sum"], features["n"] + features["m"])
    assert torch.equal(features["axis_diff"], features["n"] - features["m"])


@MODULI
def test_the_four_families_are_orthogonal_and_of_equal_length(p):
    f = torch.cat([fourier_features(p)[family] for family in FAMILIES], 1)
    assert torch.allclose(f.T @ f, p * p / 2 * torch.eye(4 * (p - 1), dtype=torch.float64), atol=1e-9)
    assert float(f.sum(0).abs().max()) < 1e-9


@MODULI
def test_planes_are_orthonormal_in_any_order(p):
    for order in (None, torch.randperm(p, generator=torch.Generator().manual_seed(0))):
        planes = fourier_planes(p, order=order).permute(2, 0, 1, 3).flatten(1)
        assert torch.allclose(planes.T @ planes, torch.eye(4 * (p - 1), dtype=torch.float64), atol=1e-12)


@MODULI
def test_residues(p):
    n, m = torch.arange(p * p) // p, torch.arange(p * p) % p
    expected = {"n": n, "m": m, "sum": (n + m) % p, "diff": (n - m) % p}
    for family in FAMILIES:
        assert torch.equal(residues(p, family), expected[family])


@MODULI
def test_a_mode_has_all_its_energy_in_its_plane(p):
    features = fourier_features(p)
    for i, family in enumerate(FAMILIES):
        energy = plane_energy(3.0 * features[family], p)
        for column in range(p - 1):
            expected = torch.zeros(4, (p - 1) // 2, dtype=torch.float64)
            expected[i, column // 2] = 1.0
            assert torch.allclose(energy[:, :, column], expected, atol=1e-12)
        assert torch.allclose(frequency_concentration(features[family], p), torch.ones(p - 1, dtype=torch.float64))


def test_a_mode_along_another_order_has_its_energy_in_that_order_only():
    p, order = 7, torch.tensor([0, 3, 1, 6, 2, 5, 4])
    wave = fourier_planes(p, ("sum",), order=order)[0, 0]
    assert torch.allclose(plane_energy(wave, p, ("sum",), order=order)[0, 0], torch.ones(2, dtype=torch.float64))
    assert float(plane_energy(wave, p, ("sum",))[0, 0].max()) < 0.9


@pytest.mark.parametrize("planes", [1, 3, 28])
def test_concentration_chance_by_monte_carlo(planes):
    """Random directions in the span of so many planes of one modulus, measured with the function itself."""
    p, draws = 29, 1000
    basis = fourier_planes(p).flatten(0, 1)[:planes].permute(1, 0, 2).flatten(1)
    weights = torch.randn(2 * planes, draws, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    sample = frequency_concentration(basis @ weights, p)
    assert abs(float(sample.mean()) - concentration_chance(planes)) <= 4.5 * float(sample.std()) / draws**0.5 + 1e-12


def test_a_random_rotation_of_a_window_falls_to_chance():
    p = 29
    window = torch.cat([fourier_planes(p, ("sum", "diff")).flatten(0, 1).permute(1, 0, 2).flatten(1)], 1)
    turn = torch.linalg.qr(torch.randn(56, 56, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    assert float(frequency_concentration(window @ turn, p).mean()) == pytest.approx(concentration_chance(28), abs=0.02)


def test_weight_frequencies_of_a_wave_and_of_noise():
    digit = torch.arange(7)
    waves = torch.stack([torch.cos(2 * torch.pi * k * digit / 7 + 0.3) + 5.0 for k in (1, 2, 3)]).double()
    assert torch.allclose(weight_frequencies(waves, 7), torch.eye(3, dtype=torch.float64), atol=1e-6)
    noise = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(weight_frequencies(noise, 7).sum(1), torch.ones(4, dtype=torch.float64))


@pytest.mark.parametrize(
    "p, message", [(2, "at least 3"), (0, "at least 3"), (-5, "at least 3"), (6, "p=6 is even"), (5.0, "float")]
)
@pytest.mark.parametrize(
    "f", [fourier_features, lambda p: residues(p, "n"), lambda p: plane_energy(torch.ones(4, 1), p)]
)
def test_moduli_without_families(f, p, message):
    with pytest.raises(ValueError, match=message):
        f(p)


def test_bad_directions_and_names():
    bad = {
        r"\(25, d\)": (torch.ones(24, 2), torch.ones(25)),
        "zero column": (torch.zeros(25, 1),),
        "NaN": (torch.full((25, 1), torch.nan),),
    }
    for u, message in [(u, message) for message, us in bad.items() for u in us]:
        with pytest.raises(ValueError, match=message):
            frequency_concentration(u, 5)
    for order in (torch.arange(4), torch.tensor([0, 1, 2, 3, 3]), torch.arange(1, 6)):
        with pytest.raises(ValueError, match="permutation"):
            plane_energy(torch.ones(25, 1), 5, order=order)
    with pytest.raises(ValueError, match="'product' is unknown"):
        residues(5, "product")
    with pytest.raises(ValueError, match="n_planes=0"):
        concentration_chance(0)
    for weights in (torch.ones(2, 4), torch.ones(5), torch.full((1, 5), 0.1), torch.zeros(1, 5)):
        with pytest.raises(ValueError):
            weight_frequencies(weights, 5)
