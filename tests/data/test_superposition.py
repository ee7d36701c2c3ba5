"""Sparse features: their distribution, their lengths, and what is refused."""

import pytest
import torch

from entk_tutorial.data.superposition import importance_weights, sparse_features, weighted_loss


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9])
def test_moments(sparsity):
    x = sparse_features(40_000, 5, sparsity, 0, normalise=False).double()
    present = 1 - sparsity
    assert float((x > 0).double().mean()) == pytest.approx(present, abs=0.01)
    assert float(x.mean()) == pytest.approx(present / 2, rel=0.03)
    assert float(x.square().mean()) == pytest.approx(present / 3, rel=0.03)
    centred = x - x.mean(0)
    off = (centred.T @ centred / len(x)).fill_diagonal_(0)
    assert float(off.abs().max()) < 0.01  # independent


def test_rows_have_length_one_and_zero_rows_stay_zero():
    x = sparse_features(2000, 3, 0.9, 1)
    lengths = x.norm(dim=1)
    empty = lengths == 0
    assert 0.6 < float(empty.double().mean()) < 0.85  # .9^3 = .73
    torch.testing.assert_close(lengths[~empty], torch.ones(int((~empty).sum())))
    raw = sparse_features(2000, 3, 0.9, 1, normalise=False)
    assert torch.equal(raw > 0, x > 0)


def test_the_seed_decides_and_the_callers_state_is_left():
    before = torch.get_rng_state()
    assert torch.equal(sparse_features(9, 4, 0.5, 1), sparse_features(9, 4, 0.5, 1))
    assert not torch.equal(sparse_features(9, 4, 0.5, 1), sparse_features(9, 4, 0.5, 2))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("sparsity", [1.0, -0.1, 1.5, float("nan")])
def test_sparsity_outside_its_range(sparsity):
    with pytest.raises(ValueError, match="nine in ten"):
        sparse_features(5, 5, sparsity, 0)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_nothing_to_draw(shape):
    with pytest.raises(ValueError, match="at least one of each"):
        sparse_features(*shape, 0.5, 0)


def test_importance_and_loss():
    weights = importance_weights(4, 0.5)
    assert weights.tolist() == [1.0, 0.5, 0.25, 0.125]
    y, x = torch.zeros(2, 4), torch.ones(2, 4)
    assert float(weighted_loss(y, x, weights)) == pytest.approx(1.875 / 4)


@pytest.mark.parametrize(("n", "decay"), [(5, 0.0), (5, -1.0), (5, 1.1), (0, 0.5), (5, float("nan"))])
def test_importance_refuses(n, decay):
    with pytest.raises(ValueError, match="decay in"):
        importance_weights(n, decay)


def test_loss_refuses():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="must be positive"):
        weighted_loss(x, x, torch.tensor([1.0, 0.0, 1.0]))
    with pytest.raises(ValueError, match="are expected"):
        weighted_loss(x, x, torch.ones(2))
