"""Cliffs and effective rank of spectra that are known."""

import numpy as np
import pytest
import torch

from entk_tutorial.empirical import cliffs, effective_rank

DOUBLE = torch.float64


def test_cliffs_count_from_one_and_stop_at_the_rank():
    c = cliffs(torch.tensor([1000.0, 10.0, 8.0, 2.0, 1.0, 1e-9, 0.0], dtype=DOUBLE), rank_tolerance=1e-10)
    assert (c.constant, c.rank, c.ratio(2), c.ratio(3)) == (100.0, 5, 1.25, 4.0)
    assert c.largest_other([]) == (3, 4.0)
    assert c.largest_other([3]) == (4, 2.0)
    assert c.largest_other([], last=2) == (2, 1.25)


def test_cliffs_refuse():
    for values in ([1.0, 2.0], [[1.0]], [], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="descending"):
            cliffs(torch.tensor(values))
    for values in ([1.0], [1.0, 0.0], [0.0, 0.0], [-1.0, -2.0]):
        with pytest.raises(ValueError, match="numerical rank"):
            cliffs(torch.tensor(values))
    c = cliffs(torch.tensor([4.0, 2.0, 1.0]))
    for i in (0, 3):
        with pytest.raises(ValueError, match="ratios 1 to 2 exist"):
            c.ratio(i)
    with pytest.raises(ValueError, match="no ratio is left"):
        c.largest_other([2])


def test_effective_rank_of_known_spectra():
    assert effective_rank(torch.ones(7)) == pytest.approx(7)
    assert effective_rank(torch.tensor([3.0, 0.0, 0.0])) == pytest.approx(1)
    share = np.array([0.5, 0.3, 0.2])
    expected = np.exp(-(share * np.log(share)).sum())
    assert effective_rank(torch.tensor(10 * share)) == pytest.approx(expected)
    assert effective_rank(torch.tensor([1.0, -1e-9])) == pytest.approx(1)


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, -0.1], [1.0, float("nan")], [float("inf")], []])
def test_effective_rank_refuses(values):
    with pytest.raises(ValueError, match="semi-definite"):
        effective_rank(torch.tensor(values))
