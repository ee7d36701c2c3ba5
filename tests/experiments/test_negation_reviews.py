from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from entk_tutorial.data.corpus import Corpus
from entk_tutorial.experiments import negation_reviews as reviews
from entk_tutorial.experiments.negation_reviews import Config

POSITIVE, NEGATIVE, NOT, CONTRACTED = 2, 3, 0, 1
WORDS = ("not", "n't", "good", "bad", "the")
CONFIG = Config(steps=60, record=(10,), plain=2, planted=1, doses=(2,))


def small_corpus() -> Corpus:
    """Good and bad sentences; "not good" once, in a negative sentence, and "n't bad" twice, once in each class."""
    train = (
        12 * [[4, POSITIVE]]
        + 12 * [[4, NEGATIVE]]
        + [[NOT, POSITIVE], [CONTRACTED, NEGATIVE], [4, CONTRACTED, NEGATIVE]]
    )
    labels = torch.tensor(12 * [1] + 12 * [0] + [0, 1, 0])
    return Corpus(WORDS, train, labels, [[POSITIVE], [NEGATIVE], [NOT, POSITIVE]], torch.tensor([1, 0, 0]))  # fmt: skip


def test_polarity_is_read_off_places_without_negation() -> None:
    corpus = small_corpus()
    table = reviews.plain_counts(corpus, [NOT, CONTRACTED])
    assert table[POSITIVE].tolist() == [0, 12] and table[NEGATIVE].tolist() == [12, 0]
    pairs = reviews.leaning_pairs(corpus, CONFIG)
    found = {
        (int(n), int(w)): (float(s), int(t), float(o))
        for n, w, s, t, o in zip(pairs.negation, pairs.word, pairs.sign, pairs.times, pairs.turned, strict=True)
    }
    assert found[NOT, POSITIVE] == (1.0, 1, 1.0)
    assert found[CONTRACTED, NEGATIVE] == (-1.0, 2, 0.5)
    assert found[CONTRACTED, POSITIVE][:2] == (1.0, 0) and np.isnan(found[CONTRACTED, POSITIVE][2])
    counted = reviews.count_metrics(pairs, corpus)
    assert (counted["telling_words"], counted["telling_negated"], counted["telling_times"]) == (2, 2, 3)
    assert counted["telling_opposite"] == pytest.approx(2 / 3)  # one of one, and one of two


def test_composing_families_turn_the_pair_and_additive_ones_do_not() -> None:
    corpus = small_corpus()
    pairs = reviews.leaning_pairs(corpus, CONFIG)
    keep = (pairs.negation == NOT) & (pairs.times > 0)
    mv = reviews.turning(reviews.learn(corpus, "mv", pairs, CONFIG), pairs, keep)
    assert mv["turned"] == 1.0 and mv["interaction"] > 0.01
    linear = reviews.turning(reviews.learn(corpus, "linear", pairs, CONFIG), pairs, keep)
    assert linear["turned"] == 0.5 and linear["interaction"] == 0.0


def test_shuffling_keeps_every_bag() -> None:
    corpus = small_corpus()
    mixed = reviews.shuffled_words(corpus, 0)
    assert [sorted(d) for d in mixed.train] == [sorted(d) for d in corpus.train]
    assert mixed.train != corpus.train


def test_planted_pairs_occur_as_often_as_asked_in_turned_sentences() -> None:
    corpus = small_corpus()
    pairs = reviews.leaning_pairs(corpus, CONFIG)
    changed, made = reviews.planted(corpus, pairs, CONFIG, dose=2, seed=0)
    token = len(corpus.words)
    assert made.word.tolist() == [POSITIVE, NEGATIVE] and set(made.negation.tolist()) == {token}
    for word, sign in zip(made.word, made.sign, strict=True):
        rows = [i for i, d in enumerate(changed.train) if (token, word) in set(pairwise(d))]
        assert len(rows) == 2
        assert all(int(changed.labels[i]) == int(sign < 0) for i in rows)
    assert sum(d.count(token) for d in changed.train) == 4


def test_documents_with_a_negation_are_found() -> None:
    corpus = small_corpus()
    groups = reviews.negated_documents(corpus, reviews.leaning_pairs(corpus, CONFIG))
    assert groups["negation"].tolist() == groups["pair"].tolist() == [False, False, True]


def test_logistic_regression_sees_pairs_only_if_asked() -> None:
    # Each word says nothing; the pair is the label.
    train = 20 * [[0, 1], [1, 0]] + 20 * [[0, 0], [1, 1]]
    labels = torch.tensor(40 * [1] + 40 * [0])
    corpus = Corpus(("a", "b"), train, labels, [[0, 1], [0, 0]], torch.tensor([1, 0]))
    assert np.abs(reviews.logistic(corpus, 1)).max() < 1e-3
    assert (reviews.logistic(corpus, 2) > 0).tolist() == [True, False]


@pytest.mark.parametrize("settings", [{"steps": 0}, {"rate": 1.0}, {"lean": 0.0}, {"doses": (0,)}])
def test_settings_that_cannot_run_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Config(**settings)  # type: ignore[arg-type]
