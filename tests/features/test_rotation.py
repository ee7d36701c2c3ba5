"""Laplacian rotations: eigenvalues in closed form, planted atoms recovered, also along a nonsense order."""

import math

import pytest
import torch

from entk_tutorial.features import FAMILIES, cycle_laplacian, fourier_features, rotate
from entk_tutorial.features.fourier import fourier_planes
from entk_tutorial.features.rotation import PAIRS

PARTNER = {"n": "m", "m": "n", "sum": "diff", "diff": "sum"}


def nonsense(p):
    return torch.randperm(p, generator=torch.Generator().manual_seed(5))


def turned(basis, seed=0):
    d = basis.shape[1]
    q = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))[0]
    return basis @ q


def window(p, pair, order=None):
    """All waves of the two families, turned at random."""
    return turned(fourier_planes(p, PAIRS[pair], order=order).permute(2, 0, 1, 3).flatten(1))


@pytest.mark.parametrize("p", [3, 5, 7])
@pytest.mark.parametrize("family", FAMILIES)
def test_eigenvalues_are_those_of_p_copies_of_a_cycle(p, family):
    expected = torch.tensor([2 - 2 * math.cos(2 * math.pi * k / p) for k in range(p)], dtype=torch.float64).repeat(p)
    for order in (None, nonsense(p)):
        lap = cycle_laplacian(p, family, order=order)
        assert torch.equal(lap, lap.T) and float(lap.sum(1).abs().max()) == 0
        assert torch.allclose(torch.linalg.eigvalsh(lap), expected.sort().values, atol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_waves_of_the_family_are_eigenvectors_and_of_its_partner_are_constant(family):
    p, order = 7, nonsense(7)
    lap = cycle_laplacian(p, family, order=order)
    for k, plane in enumerate(fourier_planes(p, (family,), order=order)[0], start=1):
        assert torch.allclose(lap @ plane, (2 - 2 * math.cos(2 * math.pi * k / p)) * plane, atol=1e-12)
    assert float((lap @ fourier_features(p)[PARTNER[family]]).abs().max()) < 1e-12


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("method", ["two-stage", "one-shot"])
@pytest.mark.parametrize("p", [5, 11])
def test_planted_atoms_are_recovered(p, pair, method):
    u = window(p, pair)
    found = rotate(u, p, pair, method=method)
    assert found.recovered(0.999) == 2 * (p - 1)
    assert torch.allclose(found.vectors @ found.vectors.T, u @ u.T, atol=1e-10)
    names = sorted(zip(found.family.tolist(), found.frequency.tolist(), strict=True))
    assert names == sorted([(f, k) for f in (0, 1) for k in range(1, (p + 1) // 2)] * 2)


def test_so_are_the_atoms_of_a_nonsense_order_from_the_same_window():
    """The window holds all functions of n and of m, so the rotation finds whatever basis the graph brings along."""
    p, order = 11, nonsense(11)
    u = window(p, "axes")
    assert rotate(u, p, "axes", order=order).recovered(0.999) == rotate(u, p, "axes").recovered(0.999) == 20
    assert rotate(window(p, "axes", order), p, "axes", order=order).recovered(0.999) == 20


def test_a_random_window_holds_no_atoms():
    u = turned(torch.eye(121, dtype=torch.float64)[:, :20], 1)
    noise = torch.randn(121, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert rotate(u, 11).recovered() == rotate(noise, 11).recovered() == 0


def test_two_at_most_count_for_a_frequency():
    p = 5
    wave = fourier_planes(p, ("n",))[0, 0]
    found = rotate(wave, p)
    assert found.recovered() == 2
    doubled = type(found)(
        found.vectors.repeat(1, 2), found.atom_scores.repeat(2), found.family.repeat(2), found.frequency.repeat(2)
    )
    assert doubled.recovered() == 2


@pytest.mark.parametrize("d", [1, 3])
def test_windows_of_odd_size_keep_their_span(d):
    u = torch.randn(25, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    q, v = torch.linalg.qr(u)[0], rotate(u, 5).vectors
    assert v.shape == (25, d) and torch.allclose(v @ v.T, q @ q.T, atol=1e-12)


def test_bad_input():
    u = torch.randn(25, 3, generator=torch.Generator().manual_seed(0))
    bad = [
        ((u, 5, "rows"), {}, "'rows' is unknown"),
        ((u, 5), {"method": "three-stage"}, "'three-stage' is unknown"),
        ((u, 7), {}, r"\(49, d\) is expected"),
        ((u[:, 0], 5), {}, r"\(25, d\)"),
        ((torch.cat([u, u[:, :1] - u[:, 1:2]], 1), 5), {}, "span 3 dimensions"),
        ((u, 5), {"order": torch.zeros(5).long()}, "permutation"),
        ((u * torch.nan, 5), {}, "NaN"),
    ]
    for arguments, options, message in bad:
        with pytest.raises(ValueError, match=message):
            rotate(*arguments, **options)
    for p, family, message in ((6, "n", "even"), (5, "product", "'product' is unknown")):
        with pytest.raises(ValueError, match=message):
            cycle_laplacian(p, family)
