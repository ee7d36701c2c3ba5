"""The exercises of the chapter on superposition: right answers pass, planted mistakes are named."""

import pytest
import torch

from entk_tutorial.exercises import superposition as ex
from entk_tutorial.features.superposition import channel_directions


@pytest.mark.parametrize("name", sorted(ex.SOLUTIONS))
def test_solution_passes(name):
    answer = getattr(ex, name)(ex.SOLUTIONS[name]())
    assert answer, answer.message


def test_every_check_has_a_solution():
    checks = {n for n in dir(ex) if n.startswith("check_") and getattr(ex, n).__module__ == ex.__name__}
    assert checks == set(ex.SOLUTIONS)


INDICATORS = channel_directions(torch.ones(500, 50))
MIXED = INDICATORS @ torch.linalg.qr(torch.randn(50, 50, generator=torch.Generator().manual_seed(0)).double())[0]
ZERO = torch.cat([INDICATORS[:, 1:], torch.zeros(25_000, 1)], 1)
WRONG = [
    ("check_overlap_chance", 5.0, "for directions over the 500"),
    ("check_overlap_chance", 0.002, "for one feature"),
    ("check_overlap_chance", 50.0, "full overlap"),
    ("check_overlap_chance", 1.0, "Add up"),
    ("check_shuffled_cosine", 0.0, "not centred"),
    ("check_shuffled_cosine", 0.75, "for S = 0"),
    ("check_shuffled_cosine", 0.7246, "with a constant"),
    ("check_shuffled_cosine", 0.1225, "divided by the mean square"),
    ("check_shuffled_cosine", 0.9, "mixture of 0 and uniform"),
    ("check_rank", 550, "counts parameters"),
    ("check_rank", 455, "for W alone"),
    ("check_rank", 450, "skew"),
    ("check_rank", 25_000, "dimension of the rotations"),
    ("check_bias_cliff", 50, "never active"),
    ("check_bias_cliff", 1, "its own output only"),
    ("check_bias_cliff", 500, "is 1 if c = c'"),
    ("check_fool", channel_directions(ex.blind_samples()), "differ from sample to sample"),
    ("check_fool", MIXED, "a single direction touches"),
    ("check_fool", INDICATORS[:, :20], "20 of 50"),
    ("check_fool", torch.cat([INDICATORS, INDICATORS], 1), "are allowed"),
    ("check_fool", INDICATORS[:50], "rows (sample-major)"),
    ("check_fool", ZERO, "is zero"),
    ("check_fool", 3, "u is int"),
]


@pytest.mark.parametrize(("name", "wrong", "phrase"), WRONG)
def test_mistake_is_named(name, wrong, phrase):
    answer = getattr(ex, name)(wrong)
    assert not answer
    assert phrase in answer.message


@pytest.mark.parametrize("m", [3, 40])
def test_the_rank_for_other_sizes(m):
    assert ex.check_rank(m * 50 + 50 - m * (m - 1) // 2, m=m)
