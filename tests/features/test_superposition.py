"""Directions, matching and overlaps: against slow references, planted answers, and the propositions of the chapter."""

import itertools

import pytest
import torch

from entk_tutorial.data.superposition import sparse_features
from entk_tutorial.features import overlap_chance, subspace_overlap
from entk_tutorial.features.dictionary import sparse_codes
from entk_tutorial.features.superposition import (
    channel_directions,
    channel_labels,
    channel_overlap,
    match_features,
    overlap_by_direction,
    shuffle_values,
)

N, C = 60, 6
X = sparse_features(N, C, 0.5, 0)


def random_directions(d, rows=N * C, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(rows, d, generator=g, dtype=torch.float64))[0]


def test_directions_row_by_row():
    f, labels = channel_directions(X), channel_labels(N, C)
    for i, c, j in itertools.product(range(N), range(C), range(C)):
        assert float(f[i * C + c, j]) == (float(X[i, j]) if c == j else 0.0)
        assert int(labels[i * C + c]) == c


def test_shuffling_keeps_values_and_forgets_samples():
    y = shuffle_values(X, 3)
    assert torch.equal(y.sort(0).values, X.sort(0).values)
    orders = {tuple((y[:, j, None] == X[None, :, j]).int().argmax(1).tolist()) for j in range(C)}
    assert len(orders) == C  # each feature has an order of its own
    assert torch.equal(y, shuffle_values(X, 3)) and not torch.equal(y, shuffle_values(X, 4))


def test_features_are_found_in_any_order_and_sign():
    f = channel_directions(X)
    order = torch.randperm(C, generator=torch.Generator().manual_seed(1))
    found = match_features(-3 * f[:, order], f)
    assert found.count == C
    assert torch.equal(order[found.partner], torch.arange(C))


def test_matching_is_one_to_one_and_best_in_sum():
    g = torch.Generator().manual_seed(5)
    u, f = torch.randn(20, 4, generator=g, dtype=torch.float64), torch.randn(20, 4, generator=g, dtype=torch.float64)
    table = ((u / u.norm(dim=0)).T @ (f / f.norm(dim=0))).abs()
    best = max(sum(float(table[p[j], j]) for j in range(4)) for p in itertools.permutations(range(4)))
    got = match_features(u, f, threshold=0.01)
    assert float(got.score.sum()) == pytest.approx(best)
    assert sorted(got.partner.tolist()) == [0, 1, 2, 3]


def test_one_direction_does_not_count_twice():
    f = torch.eye(3)[:, :2]
    u = torch.tensor([[1.0], [1.0], [0.0]])
    found = match_features(u, f, threshold=0.5)
    assert found.count == 1 and sorted(found.partner.tolist()) == [-1, 0]


def test_a_common_profile_in_a_block_cancels_from_normalised_columns():
    # The proposition of the chapter: if all directions have the same profile in block j, up to a factor, the normalised
    # column j does not depend on the feature's values at all.
    g = torch.Generator().manual_seed(2)
    profile = torch.rand(N, C, generator=g, dtype=torch.float64) + 0.1
    factors = torch.randn(C, 10, generator=g, dtype=torch.float64)
    u = (profile[:, :, None] * factors).flatten(0, 1)
    scores = [match_features(u, channel_directions(x), normalise="column").score for x in (X, shuffle_values(X, 7))]
    torch.testing.assert_close(*scores)
    plain = [match_features(u, channel_directions(x)).score for x in (X, shuffle_values(X, 7))]
    assert float((plain[0] - plain[1]).abs().max()) > 1e-3


def test_a_feature_that_nothing_touches_is_not_found():
    f = torch.eye(3)
    found = match_features(f[:, :2], f, normalise="column")
    assert found.found.tolist() == [True, True, False]


@pytest.mark.parametrize("change", [{"normalise": "row"}, {"threshold": 0.0}, {"threshold": 1.1}])
def test_matching_refuses(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        match_features(torch.eye(2), torch.eye(2), **change)


def test_overlap_by_direction_adds_up_to_the_overlap():
    u = random_directions(25)
    curve = overlap_by_direction(u, X).cumsum(0)
    for k in (1, 7, 25):
        assert float(curve[k - 1]) == pytest.approx(channel_overlap(u[:, :k], X).value, abs=1e-9)


def test_centring_per_channel_removes_what_only_knows_the_channel():
    where = channel_directions(torch.ones(N, C))
    assert channel_overlap(where, X).value < 1e-12
    assert channel_overlap(where, X, center="none").value > 2
    assert channel_overlap(where, X, center="all").value > 1
    f = channel_directions(X)
    assert channel_overlap(f, X, center="none").value == pytest.approx(C)
    assert channel_overlap(f, X).value == subspace_overlap(f, f, center=channel_labels(N, C)).value


def test_chance_level_of_random_directions():
    values = [float(overlap_by_direction(random_directions(30, seed=s), X).sum()) for s in range(20)]
    assert sum(values) / 20 == pytest.approx(overlap_chance(30, C, N * C), rel=0.1)


def test_overlaps_refuse():
    with pytest.raises(ValueError, match="not orthonormal"):
        overlap_by_direction(2 * random_directions(3), X)
    with pytest.raises(ValueError, match="rows"):
        overlap_by_direction(random_directions(3, rows=30), X)
    with pytest.raises(ValueError, match="center="):
        channel_overlap(random_directions(3), X, center="rows")
    with pytest.raises(ValueError, match="finite matrix"):
        channel_directions(torch.tensor([[float("nan")]]))


def test_a_dictionary_finds_planted_sparse_directions():
    g = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(8, 5, generator=g), dim=1)
    values = sparse_features(400, 8, 0.9, 0)
    codes = sparse_codes(values @ atoms, 8, alpha=0.03)
    assert match_features(codes, values).count >= 7
    assert match_features(codes, shuffle_values(values, 1)).count == 0
    assert bool((codes >= 0).all())


@pytest.mark.parametrize("change", [{"atoms": 0}, {"alpha": 0.0}, {"activations": torch.full((3, 2), torch.inf)}])
def test_a_dictionary_refuses(change):
    with pytest.raises(ValueError, match="at least one atom"):
        sparse_codes(**{"activations": torch.eye(3), "atoms": 2, **change})
