"""Key frequencies from planted embeddings, and windows on planted eigenvectors."""

import math

import pytest
import torch

from entk_tutorial.features import fourier_features
from entk_tutorial.features.key_frequencies import (
    embedding_power,
    frequency_columns,
    key_frequencies,
    key_windows,
    window_shares,
)

P = 29


def planted(keys, *, noise=0.02, p=P, d=64, extra_rows=1, seed=0):
    """Waves of these frequencies in random directions, on a floor of noise; rows behind the digits are large."""
    g = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.arange(p, dtype=torch.float64) / p
    waves = [f(k * angle)[:, None] * torch.randn(1, d, generator=g, dtype=torch.float64)
             for k in keys for f in (torch.cos, torch.sin)]  # fmt: skip
    digits = sum(waves, torch.zeros(p, d, dtype=torch.float64))
    digits = digits + noise * torch.randn(p, d, generator=g, dtype=torch.float64) + 3.0
    return torch.cat([digits, 50 * torch.ones(extra_rows, d, dtype=torch.float64)])


@pytest.mark.parametrize("keys", [[5], [1, 12], [3, 4, 14], [2, 6, 9, 13], [1, 2, 3, 4, 5, 6]], ids=str)
def test_planted_frequencies_are_found(keys):
    assert key_frequencies(planted(keys), P) == keys


def test_noise_has_no_key_frequency():
    assert all(key_frequencies(planted([], noise=1.0, seed=s), P) == [] for s in range(20))


def test_power_is_that_of_the_fourier_features():
    table = planted([2, 7])
    features = fourier_features(P)["n"][::P]  # cosines and sines of n, one row a digit
    by_hand = (features.T @ table[:P]).square().sum(1).reshape(-1, 2).sum(1)
    torch.testing.assert_close(embedding_power(table, P), by_hand / by_hand.sum())
    assert float(embedding_power(table.float(), P).sum()) == pytest.approx(1)


def test_power_ignores_scale_mean_and_the_equals_sign():
    table = planted([2, 7])
    other = 7 * table + 5
    other[P:] = -1
    torch.testing.assert_close(embedding_power(other, P), embedding_power(table, P))


@pytest.mark.parametrize(
    ("table", "p", "phrase"),
    [
        (torch.ones(28, 4), 29, "one row for each"),
        (torch.ones(30), 29, "one row for each"),
        (torch.ones(30, 4), 29, "same for all digits"),
        (torch.full((30, 4), math.nan), 29, "NaN"),
        (torch.ones(30, 4), 28, "even"),
        (torch.ones(6, 4), 5, "too few for a floor"),
    ],
)
def test_embeddings_without_a_spectrum(table, p, phrase):
    with pytest.raises(ValueError, match=phrase):
        key_frequencies(table, p)


def test_a_factor_of_one_is_no_floor():
    with pytest.raises(ValueError, match="factor"):
        key_frequencies(planted([1]), P, factor=1.0)


def test_windows_follow_the_count():
    assert key_windows(0).first == slice(0, 1) and key_windows(0).second == slice(1, 1)
    assert key_windows(3).first == slice(0, 7) and key_windows(3).second == slice(7, 13)
    with pytest.raises(ValueError, match="count"):
        key_windows(-1)


@pytest.mark.parametrize("keys", [[0], [15], [2, 2], [-1]], ids=str)
def test_frequencies_that_do_not_exist(keys):
    with pytest.raises(ValueError, match="distinct frequencies from 1 to 14"):
        frequency_columns(keys, P)


def ideal(keys):
    """Constant, sum modes of the keys, axis modes of the keys, then functions of the difference."""
    f, columns = fourier_features(P), frequency_columns(keys, P)
    one = torch.ones(P * P, 1, dtype=torch.float64)
    return torch.cat([one, f["sum"][:, columns], f["axis_sum"][:, columns], f["diff"]], 1)


def test_ideal_eigenvectors_hold_everything_once():
    shares = window_shares(ideal([3, 8, 11]), P, [3, 8, 11])
    assert shares["window1_sum"] == pytest.approx(1) and shares["window2_axis"] == pytest.approx(1)
    rest = [v for k, v in shares.items() if k not in ("window1_sum", "window2_axis")]
    assert len(rest) == 6 and max(map(abs, rest)) < 1e-9


def test_published_slices_lose_modes_of_a_third_frequency():
    u = ideal([3, 8, 11])
    fixed = window_shares(u, P, [3, 8, 11], windows=key_windows(2))
    assert fixed["window1_sum"] == pytest.approx(4 / 6)
    assert fixed["window2_axis"] == pytest.approx(2 / 6) and fixed["window2_sum"] == pytest.approx(2 / 6)


def test_other_frequencies_are_not_there():
    shares = window_shares(ideal([3, 8]), P, [4, 9])
    assert max(map(abs, shares.values())) < 1e-9


def test_without_key_frequencies_every_share_is_zero():
    assert set(window_shares(ideal([3]), P, []).values()) == {0.0}


def test_some_rows_only():
    rows = torch.arange(0, P * P, 2)
    shares = window_shares(ideal([3, 8])[rows], P, [3, 8], rows=rows)
    assert shares["window1_sum"] > 0.99


def test_too_few_eigenvectors():
    with pytest.raises(ValueError, match="need 9"):
        window_shares(ideal([3, 8])[:, :8], P, [3, 8])
