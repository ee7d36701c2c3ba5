import math

import pytest
import torch

from entk_tutorial.data.ngrams import STRENGTHS, ngram_baselines


def test_against_a_slow_count():
    generator = torch.Generator().manual_seed(0)
    previous, targets = torch.randint(4, (2, 60), generator=generator)
    before, held = torch.randint(4, (2, 20), generator=generator)
    found = ngram_baselines(previous, targets, before, held, 4)
    unigram = [(int((targets == c).sum()) + 1) / 64 for c in range(4)]
    slow = math.exp(-sum(math.log(unigram[c]) for c in held.tolist()) / 20)
    assert found.unigram == pytest.approx(slow)
    tried = []
    for k in STRENGTHS:
        total = 0.0
        for a, c in zip(before.tolist(), held.tolist(), strict=True):
            pair, row = int(((previous == a) & (targets == c)).sum()), int((previous == a).sum())
            total -= math.log((pair + k * unigram[c]) / (row + k))
        tried.append(math.exp(total / 20))
    assert found.bigram == pytest.approx(min(tried)) and found.strength == STRENGTHS[tried.index(min(tried))]
    assert torch.allclose(found.table.probabilities(3.0).sum(1), torch.ones(4, dtype=torch.float64))


def test_without_held_out_text_there_is_no_yardstick():
    none = torch.zeros(0, dtype=torch.int64)
    with pytest.raises(ValueError, match="test_fraction"):
        ngram_baselines(none, none, none, none, 3)
