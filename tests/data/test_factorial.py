from __future__ import annotations

import pytest
import torch

from entk_tutorial.data.factorial import ADJECTIVES, ADVERBS, FACTORS, TOPICS, VERBS, factorial_sentences


def test_every_combination_as_often_as_asked():
    drawn = factorial_sentences(3, seed=1)
    cells = torch.stack([drawn.topic, drawn.sentiment, drawn.negation, drawn.tense], 1)
    _, counts = cells.unique(dim=0, return_counts=True)
    assert len(drawn.texts) == 192
    assert counts.tolist() == [3] * 64


def test_words_say_what_the_factors_say():
    drawn = factorial_sentences(2, seed=2)
    nouns = list(TOPICS.values())
    for i, text in enumerate(drawn.texts):
        _, noun, verb, adverb, adjective = text.split()
        assert noun in nouns[int(drawn.topic[i])]
        assert verb in VERBS[int(drawn.tense[i])]
        assert adverb in ADVERBS[int(drawn.negation[i])]
        assert adjective in ADJECTIVES[int(drawn.sentiment[i])]
        praises = (adjective in ADJECTIVES[1]) != (adverb in ADVERBS[1])
        assert int(drawn.polarity[i]) == (1 if praises else -1)


def test_features_are_centred_and_orthogonal():
    features = factorial_sentences(2, seed=0).features()
    assert list(features) == list(FACTORS)
    assert [f.shape[1] for f in features.values()] == [7, 1, 1, 1, 1]
    for name, f in features.items():
        assert float(f.mean(0).abs().max()) < 1e-12
        for other, g in features.items():
            assert name == other or float((f.T @ g).abs().max()) < 1e-9


def test_seeds_draw_anew():
    assert factorial_sentences(1, seed=0).texts == factorial_sentences(1, seed=0).texts
    assert factorial_sentences(1, seed=0).texts != factorial_sentences(1, seed=1).texts
    with pytest.raises(ValueError, match="per_cell=0"):
        factorial_sentences(0)
