"""What a class prior passes and what it does not: planted tables with known answers."""

import pytest
import torch

from entk_tutorial.features.language_scores import (
    matched_pairs,
    own_correlation,
    own_part,
    score_correlation,
    top_bottom,
    top_bottom_gap,
)

C = 60


def independent(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Counts of words that say nothing of their target, the excess of words that do, and the frequencies."""
    generator = torch.Generator().manual_seed(seed)
    frequency = (1000.0 / torch.arange(1.0, C + 1)).round().double()
    sizes = torch.arange(C, 0, -1).double() / C
    noise = torch.randn(C, C, generator=generator, dtype=torch.float64)
    return sizes[:, None] * frequency, noise, frequency


def test_a_prior_passes_what_is_published_and_not_what_is_ours():
    plain, noise, frequency = independent()
    counts = (plain + 3 * noise * plain.sqrt()).clamp(min=0).round()
    prior = (frequency + 1).log().expand(C, C)
    assert score_correlation(plain, counts) > 0.8
    assert bool((top_bottom_gap(prior, top_bottom(counts, words=10, targets=5)) > 0).all())
    others = plain + 1e-9 * independent(1)[1]  # no ties
    assert abs(own_correlation(others, counts, frequency)) < 0.1
    assert abs(matched_pairs(others, counts, counts.sum(0), torch.arange(1, 30)) - 0.5) < 0.1


def test_the_words_own_part_passes_all():
    plain, noise, frequency = independent()
    counts = (plain + 3 * noise * plain.sqrt()).clamp(min=0).round()
    assert own_correlation(counts, counts, frequency) == pytest.approx(1.0)
    assert own_correlation(counts - 0.7 * plain, counts, frequency) == pytest.approx(1.0)
    assert matched_pairs(counts, counts, frequency, torch.arange(C)) == 1.0


def test_own_part_is_a_projection_orthogonal_to_the_prior():
    _, noise, frequency = independent()
    own = own_part(noise, frequency)
    torch.testing.assert_close(own_part(own, frequency), own)
    for direction in (torch.ones(C, dtype=torch.float64), frequency, (frequency + 1).log()):
        assert float((own @ direction).abs().max()) < 1e-8 * float(direction.norm())


def test_ties_count_half_and_opposite_scores_nothing():
    raw, frequency = torch.tensor([[0.0, 5.0, 1.0]]), torch.tensor([9, 6, 6])
    row = torch.tensor([0])
    assert matched_pairs(torch.zeros(1, 3), raw, frequency, row) == 0.5
    assert matched_pairs(-raw, raw, frequency, row) == 0.0


def test_top_and_bottom_do_not_meet_and_ties_are_drawn():
    raw = torch.zeros(30, 30)
    raw[3, 7:9] = 4
    raw[3, 9:12] = 2
    raw[2, 5] = 1
    found = top_bottom(raw, words=2, targets=5)
    assert found.words.tolist() == [3, 2]
    assert set(found.top[0].tolist()) == {7, 8, 9, 10, 11} and not set(found.top[0]) & set(found.bottom[0])
    assert 0 not in found.bottom.flatten().tolist()
    other = top_bottom(raw, words=2, targets=5, seed=1)
    assert other.bottom[0].tolist() != found.bottom[0].tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: score_correlation(torch.eye(2), torch.eye(3)), "equal shapes"),
        (lambda: score_correlation(torch.zeros(2, 2), torch.eye(2)), "constant"),
        (lambda: own_part(torch.eye(3), torch.ones(2)), "one a column"),
        (lambda: top_bottom(torch.eye(10), words=20), "ask for fewer"),
        (lambda: matched_pairs(torch.eye(3), torch.ones(3, 3), torch.ones(3), torch.tensor([1])), "differ"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_scores_of_frequency_alone_have_no_own_part():
    with pytest.raises(ValueError, match="nothing is left"):
        own_correlation(torch.zeros(4, 4), torch.eye(4), torch.tensor([4.0, 3.0, 2.0, 1.0]))
