"""Removing functions and directions: against dense projectors, and the identities the chapter proves."""

import pytest
import torch

from entk_tutorial.features import fourier_features, subspace_overlap
from entk_tutorial.features.ablation import (
    energy_share,
    feature_directions,
    line_families,
    line_residues,
    moved_functions,
    only_functions,
    random_functions,
    without_directions,
    without_functions,
)

P = 7
TABLE = torch.randn(P * P, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
FAMILIES = line_families(P)


@pytest.mark.parametrize("p", [3, 5, 7, 13])
def test_the_lines_share_out_all_centred_functions(p):
    q = torch.cat(list(line_families(p).values()), 1)
    full = torch.cat([q, torch.full((p * p, 1), 1 / p, dtype=torch.float64)], 1)
    assert torch.allclose(full.T @ full, torch.eye(p * p, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize("family", ["n", "m", "sum", "diff"])
def test_named_lines_are_the_fourier_families(family):
    overlap = subspace_overlap(FAMILIES[family], fourier_features(P)[family])
    assert overlap.value == pytest.approx(P - 1)


def test_a_composite_modulus_is_refused():
    with pytest.raises(ValueError, match="not prime"):
        line_families(9)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_removal_is_the_removal_of_conditional_means(family):
    residue = line_residues(P)[family]
    expected = TABLE.clone()
    for s in range(P):
        expected[residue == s] -= TABLE[residue == s].mean(0) - TABLE.mean(0)
    out = without_functions(TABLE, FAMILIES[family])
    assert torch.allclose(out, expected, atol=1e-12)
    assert energy_share(out, FAMILIES[family]) < 1e-25
    assert torch.allclose(only_functions(TABLE, FAMILIES[family]) + out, TABLE + TABLE.mean(0), atol=1e-12)


def test_removal_from_the_left_commutes_with_a_readout_but_directions_do_not():
    readout = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    q = FAMILIES["sum"]
    assert torch.allclose(without_functions(TABLE, q) @ readout, without_functions(TABLE @ readout, q), atol=1e-12)
    wide = torch.randn(P * P, 40, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    v = feature_directions(wide, q)
    assert v.shape == (40, P - 1)
    out = without_directions(wide, v)
    assert energy_share(out, q) < 1e-25  # what moved with the sum is gone,
    assert out.std() < 0.99 * without_functions(wide, q).std()  # and more with it


def test_products_of_one_digit_functions_hold_mirror_lines_alike():
    g = torch.Generator().manual_seed(3)
    u, w = (torch.randn(P, 20, generator=g, dtype=torch.float64) for _ in range(2))
    squares = (u[:, None] + w[None]).square().reshape(P * P, 20)
    share = {name: energy_share(squares, q) for name, q in FAMILIES.items()}
    assert share["sum"] == pytest.approx(share["diff"], rel=1e-12)
    assert share["n + 2m"] == pytest.approx(share["n + 5m"], rel=1e-12)
    assert abs(share["sum"] - share["n + 2m"]) > 1e-4  # and it is no identity between any two lines
    assert sum(share.values()) == pytest.approx(1)


def test_moving_a_wave_moves_it_and_leaves_other_lines():
    residue = line_residues(P)
    table = FAMILIES["sum"][:, :2] + FAMILIES["diff"][:, 2:4]
    out = moved_functions(table, residue["sum"], 2)
    rolled = torch.stack([FAMILIES["sum"][residue["sum"] == (s + 2) % P][0, :2] for s in range(P)])[residue["sum"]]
    assert torch.allclose(out, rolled + FAMILIES["diff"][:, 2:4], atol=1e-12)
    assert torch.allclose(moved_functions(table, residue["n"], 3), table, atol=1e-12)
    with pytest.raises(ValueError, match="no input has residue 1"):
        moved_functions(table[:2], torch.tensor([0, 2]))


def test_random_spaces_are_centred_differ_and_repeat_by_seed():
    a, b = random_functions(30, 4, 2, seed=5)
    again = next(random_functions(30, 4, 1, seed=5))
    assert torch.equal(a, again) and not torch.allclose(a, b)
    assert torch.allclose(a.T @ a, torch.eye(4, dtype=torch.float64), atol=1e-12)
    assert float(a.sum(0).abs().max()) < 1e-12
    with pytest.raises(ValueError, match="centred dimensions"):
        next(random_functions(30, 30, 1, seed=0))


@pytest.mark.parametrize(
    "call",
    [lambda: without_functions(TABLE[:3], FAMILIES["n"]), lambda: energy_share(torch.ones(4, 2), torch.eye(4)),
     lambda: without_directions(TABLE, torch.ones(4, 1)), lambda: moved_functions(TABLE, torch.zeros(3).long()),
     lambda: feature_directions(FAMILIES["diff"], FAMILIES["sum"])],
)  # fmt: skip
def test_mistakes_are_refused(call):
    with pytest.raises(ValueError):
        call()
