"""Overlaps: closed forms, invariances, chance by Monte Carlo, permutations, the PCA baseline."""

import numpy as np
import pytest
import torch

from entk_tutorial.features import (
    activation_pca,
    cosine_heatmap,
    fourier_features,
    orthonormal_basis,
    overlap_chance,
    permutation_null,
    residues,
    subspace_overlap,
)

DOUBLE = torch.float64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def by_projectors(u, f):
    """The overlap as a trace of projectors, from pseudo-inverses: another way than the package's."""
    return float(torch.trace(u @ torch.linalg.pinv(u) @ f @ torch.linalg.pinv(f)))


def test_overlap_is_the_trace_of_the_two_projectors():
    u, f = draw(30, 5), draw(30, 3, seed=1)
    found = subspace_overlap(u, f, center=False)
    assert found.value == pytest.approx(by_projectors(u, f)) and found.max == 3
    assert found.value == pytest.approx(float(found.singular_values.square().sum()))
    assert subspace_overlap(u, f).value == pytest.approx(by_projectors(u, f - f.mean(0)))


def test_overlap_is_about_spans():
    u, f = draw(30, 5), draw(30, 3, seed=1)
    value = subspace_overlap(u, f).value
    assert subspace_overlap(u @ draw(5, 5, seed=2), f @ draw(3, 3, seed=3)).value == pytest.approx(value)
    assert subspace_overlap(1e6 * u, 1e-6 * f).value == pytest.approx(value)
    assert subspace_overlap(u, f + 100.0).value == pytest.approx(value)  # centred features
    assert subspace_overlap(torch.cat([u, u[:, :2]], 1), torch.cat([f, f], 1)).value == pytest.approx(value)


def test_dependent_columns_in_single_precision_add_no_direction():
    f = fourier_features(7)["n"].float()
    doubled = torch.cat([f, 1.7 * f + 0.3 * f.roll(1, 1)], 1)
    assert orthonormal_basis(f).shape[1] == orthonormal_basis(doubled).shape[1] == 6


def test_spans_inside_and_outside_each_other():
    f = fourier_features(7)
    assert subspace_overlap(torch.cat([f["n"], f["sum"]], 1), f["sum"]).value == pytest.approx(6)
    assert subspace_overlap(f["n"], f["sum"]).value == pytest.approx(0, abs=1e-12)
    assert subspace_overlap(f["2n"], f["n"]).value == pytest.approx(6)  # another order of the same frequencies


def test_the_three_ways_of_centring():
    group = torch.tensor([0, 0, 0, 1, 1, 1])
    f = torch.tensor([[1.0, 2.0, 3.0, 5.0, 6.0, 7.0]]).T
    u = (group == 0).double()[:, None]  # sees the groups' means only
    assert subspace_overlap(u, f, center=group).value == pytest.approx(0, abs=1e-12)
    assert subspace_overlap(u, f, center=True).value == pytest.approx(24 / 28 / 2)  # 12 of 24 + 4, half of it inside
    assert subspace_overlap(u, f, center=False).value == pytest.approx(12 / 124)
    assert subspace_overlap(u, f, center=group * 7 - 3).value == pytest.approx(0, abs=1e-12)  # labels are only names


def test_without_centring_the_number_would_differ():
    u, f = torch.ones(9, 1), draw(9, 2).abs()
    assert subspace_overlap(u, f).value == pytest.approx(0, abs=1e-12)
    assert subspace_overlap(u, f, center=False).value > 0.3


@pytest.mark.parametrize("excluded", [0, 4])
def test_overlap_chance_by_monte_carlo(excluded):
    n, d, k, draws = 24, 5, 3, 400
    known = torch.linalg.qr(draw(n, n))[0]
    avoided, f = known[:, :excluded], known[:, 4 : 4 + k]
    values = []
    for seed in range(draws):
        u = draw(n, d, seed=seed + 1)
        values.append(subspace_overlap(u - avoided @ (avoided.T @ u), f, center=False).value)
    sample = torch.tensor(values)
    assert (
        abs(float(sample.mean()) - overlap_chance(d, k, n, excluded=excluded)) < 4.5 * float(sample.std()) / draws**0.5
    )


def test_row_permutations_fall_to_chance():
    p = 7
    f = fourier_features(p)["sum"]
    null = permutation_null(f, f, draws=300, seed=1)
    assert abs(float(null.mean()) - overlap_chance(6, 6, 49, excluded=1)) < 4.5 * float(null.std()) / 300**0.5
    assert subspace_overlap(f, f).value > float(null.max())


def test_relabelling_changes_no_overlap_with_all_functions_of_the_label():
    p = 7
    u, f = draw(p * p, 9), fourier_features(p)["sum"]
    null = permutation_null(u, f, group="relabel", labels=residues(p, "sum"), draws=10)
    assert torch.allclose(null, torch.full((10,), subspace_overlap(u, f).value, dtype=DOUBLE))
    some = permutation_null(f[:, :2], f[:, :2], group="relabel", labels=residues(p, "sum"), draws=10)
    assert float(some.min()) < 1.5  # one frequency alone is no longer itself


def test_permutations_within_channels_keep_where_a_feature_lives():
    labels = torch.tensor([0, 1, 2]).repeat(8)
    f = draw(24, 1) * (labels == 1)[:, None]
    u = f.abs()
    support = (labels == 1).double()[:, None]
    kept = permutation_null(support, f, group="within-channel", labels=labels, draws=20, center=False)
    assert torch.allclose(kept, torch.full((20,), subspace_overlap(support, f, center=False).value, dtype=DOUBLE))
    moved = permutation_null(u, f, group="within-channel", labels=labels, draws=20, center=False)
    assert float(moved.std()) > 0.01


def test_permutations_are_fixed_by_the_seed():
    u, f = draw(20, 3), draw(20, 2, seed=1)
    before = torch.get_rng_state()
    a, b, c = (permutation_null(u, f, draws=5, seed=s) for s in (0, 0, 1))
    assert torch.equal(a, b) and not torch.equal(a, c) and torch.equal(before, torch.get_rng_state())


def test_permutation_null_refuses():
    u, f, labels = draw(9, 2), draw(9, 2, seed=1), torch.arange(9) // 3
    bad = [
        ({"group": "columns"}, "'columns' is unknown"),
        ({"draws": 0}, "draws=0"),
        ({"group": "relabel"}, "needs labels"),
        ({"group": "within-channel", "labels": labels[:4]}, r"shape \(9,\)"),
        ({"group": "relabel", "labels": labels}, "functions of the label"),
    ]
    for arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            permutation_null(u, f, **arguments)


def test_overlap_refuses():
    f = draw(6, 2)
    bad = [
        ((draw(5, 2), f), {}, "same N inputs"),
        ((draw(6), f), {}, "same N inputs"),
        ((f, torch.full((6, 1), 1e6 * torch.pi)), {}, "Pass center=False"),
        ((torch.zeros(6, 2), f), {}, "zero: their span is empty"),
        ((f, f), {"center": torch.zeros(5)}, "one label a row"),
        ((f, f.index_fill(0, torch.tensor(1), torch.nan)), {}, "NaN"),
        ((f.index_fill(0, torch.tensor(1), torch.inf), f), {}, "infinity"),
    ]
    for inputs, arguments, message in bad:
        with pytest.raises(ValueError, match=message):
            subspace_overlap(*inputs, **arguments)
    for numbers in ((5, 1, 4, 0), (1, 4, 6, 3), (-1, 1, 4, 0), (0, 0, 4, 4)):
        with pytest.raises(ValueError, match="do not fit"):
            overlap_chance(*numbers[:3], excluded=numbers[3])


def test_heat_map_is_the_absolute_correlation():
    u, f = draw(20, 3) - draw(20, 3).mean(0), draw(20, 2, seed=1)
    expected = np.abs(np.corrcoef(u.numpy().T, f.numpy().T)[:3, 3:])
    assert np.allclose(cosine_heatmap(u, f).numpy(), expected)
    tiny = cosine_heatmap(1e-15 * u, 1e-15 * f)
    assert np.allclose(tiny.numpy(), expected)


def test_heat_map_refuses():
    f = draw(100, 1)
    for u, g in ((torch.zeros(100, 1), f), (f, torch.full((100, 1), 1e6 * torch.pi)), (f[:50], f), (f[:, 0], f)):
        with pytest.raises(ValueError):
            cosine_heatmap(u, g)


@pytest.mark.parametrize("remove", [False, True])
def test_activation_pca_against_numpy(remove):
    a, known = draw(20, 6), torch.cat([torch.ones(20, 1, dtype=DOUBLE), draw(20, 2, seed=1)], 1)
    rest = a.numpy()
    if remove:
        rest = rest - known.numpy() @ np.linalg.lstsq(known.numpy(), rest, rcond=None)[0]
    values, vectors = np.linalg.eigh(rest @ rest.T)
    top = vectors[:, np.argsort(values)[::-1][:3]]
    found = activation_pca(a, 3, remove=known if remove else None).numpy()
    assert np.allclose(found @ found.T, top @ top.T) and np.allclose(found.T @ found, np.eye(3))
    assert not remove or np.abs(known.numpy().T @ found).max() < 1e-10


def test_activation_pca_takes_no_rounding_for_a_direction():
    known = draw(30, 3)
    for a in (known @ draw(3, 5, seed=1), (known @ draw(3, 5, seed=1)).float(), torch.zeros(30, 5)):
        with pytest.raises(ValueError, match="rank 0 after the removal"):
            activation_pca(a, 1, remove=known)
    with pytest.raises(ValueError, match="rank 3"):
        activation_pca(known, 4)
    with pytest.raises(ValueError, match="k=0"):
        activation_pca(known, 0)
