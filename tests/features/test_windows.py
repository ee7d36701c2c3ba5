"""What is read off a spectrum, on a kernel whose cliffs and windows were planted."""

import pytest
import torch

from entk_tutorial.empirical import top_eigenpairs
from entk_tutorial.features import concentration_chance, fourier_features
from entk_tutorial.features.fourier import fourier_planes
from entk_tutorial.features.windows import (
    chance_on_rows,
    measure_windows,
    modular_windows,
    overlap_on_rows,
    window_chance,
)


def planted_kernel(p, *, swapped=False):
    """Constant at 200, functions of n and m at 40, of sum and diff at 8, all else at 2: ratios 5, 5, 4."""
    constant = torch.full((p * p, 1), 1 / p, dtype=torch.float64)
    axes, diagonals = (fourier_planes(p, pair).permute(2, 0, 1, 3).flatten(1) for pair in (("n", "m"), ("sum", "diff")))
    if swapped:
        axes, diagonals = diagonals, axes
    k = 2.0 * torch.eye(p * p, dtype=torch.float64)
    for basis, value in ((constant, 198.0), (axes, 38.0), (diagonals, 6.0)):
        k += value * basis @ basis.T
    return k


@pytest.mark.parametrize("p", [5, 7, 11])
def test_planted_cliffs_and_windows_are_read_back(p):
    found = measure_windows(top_eigenpairs(planted_kernel(p)), p)
    assert found["constant_ratio"] == pytest.approx(5) and found["cliff1_ratio"] == pytest.approx(5)
    assert found["cliff2_ratio"] == pytest.approx(4) and found["other_ratio_max"] == pytest.approx(1)
    for window, families in ((1, ("n", "m")), (2, ("sum", "diff"))):
        for family in ("n", "m", "sum", "diff"):
            expected = p - 1 if family in families else 0
            assert found[f"window{window}_{family}"] == pytest.approx(expected, abs=1e-8)


def test_swapped_windows_are_seen():
    found = measure_windows(top_eigenpairs(planted_kernel(7, swapped=True)), 7)
    assert found["window1_n"] == pytest.approx(0, abs=1e-8) and found["window2_m"] == pytest.approx(6)


def test_a_turned_window_keeps_its_overlap_and_loses_its_frequencies():
    p = 11
    pairs = top_eigenpairs(planted_kernel(p))
    turn = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    vectors = pairs.vectors.clone()
    vectors[:, 21:41] = fourier_planes(p, ("sum", "diff")).permute(2, 0, 1, 3).flatten(1)
    clean = measure_windows(type(pairs)(pairs.values, vectors, pairs.residuals, "planted"), p)
    vectors[:, 21:41] = vectors[:, 21:41] @ turn
    mixed = measure_windows(type(pairs)(pairs.values, vectors, pairs.residuals, "planted"), p)
    assert clean["window2_sum"] == pytest.approx(mixed["window2_sum"])
    assert clean["window2_concentration"] == pytest.approx(1)
    assert mixed["window2_concentration"] == pytest.approx(concentration_chance(10), abs=0.1)


def test_a_ratio_beyond_the_rank_is_left_out():
    p = 5
    low = planted_kernel(p) - 2.0 * torch.eye(p * p, dtype=torch.float64)  # rank 4p - 3: nothing after window 2
    found = measure_windows(top_eigenpairs(low), p)
    assert "cliff1_ratio" in found and "cliff2_ratio" not in found


def test_positions():
    for p in (3, 7, 29):
        w = modular_windows(p)
        assert (w.first.stop - w.first.start, w.second.stop - w.second.start) == (2 * (p - 1), 2 * (p - 1))
        assert (w.first.start, w.edge1, w.edge2) == (1, w.first.stop, w.second.stop)


@pytest.mark.parametrize("window, excluded", [(1, 1), (2, 13)])
def test_window_chance_by_monte_carlo(window, excluded):
    p, draws = 7, 200
    f = fourier_features(p)
    avoided = torch.ones(49, 1, dtype=torch.float64)
    if window == 2:
        avoided = torch.cat([avoided, f["n"], f["m"]], 1)
    q = torch.linalg.qr(avoided)[0]
    generator, values = torch.Generator().manual_seed(0), []
    for _ in range(draws):
        u = torch.randn(49, 12, generator=generator, dtype=torch.float64)
        values.append(overlap_on_rows(u - q @ (q.T @ u), f["sum"], torch.arange(49)))
    sample = torch.tensor(values)
    assert window_chance(p, window) == pytest.approx(12 * 6 / (49 - excluded))
    assert abs(float(sample.mean()) - window_chance(p, window)) < 4.5 * float(sample.std()) / draws**0.5


def test_fewer_rows_raise_the_chance_level():
    rows = torch.randperm(49, generator=torch.Generator().manual_seed(1))
    levels = [chance_on_rows(7, "sum", rows[:n], draws=30) for n in (49, 30, 15)]
    assert window_chance(7, 2) == pytest.approx(levels[0], abs=0.3) and levels[0] < levels[1] < levels[2] <= 6 + 1e-9


def test_chance_on_rows_is_fixed_by_the_seed():
    rows, before = torch.arange(20), torch.get_rng_state()
    a, b, c = (chance_on_rows(5, "diff", rows, draws=3, seed=s) for s in (0, 0, 1))
    assert a == b != c and torch.equal(before, torch.get_rng_state())


def test_bad_input():
    pairs = top_eigenpairs(planted_kernel(5))
    for call, message in (
        (lambda: modular_windows(4), "even"),
        (lambda: window_chance(5, 3), "window=3"),
        (
            lambda: measure_windows(top_eigenpairs(planted_kernel(5), 16), 5),
            "16 eigenvectors given; the two windows need 17",
        ),
        (lambda: measure_windows(pairs, 3), "9"),
        (lambda: chance_on_rows(5, "product", torch.arange(25)), "'product' is unknown"),
        (lambda: chance_on_rows(5, "sum", torch.arange(25), draws=0), "draws=0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
