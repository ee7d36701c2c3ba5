"""The generated corpus keeps its promises: labels follow from units, held-out words, balance, seeds."""

from itertools import chain, pairwise

import pytest
import torch

from entk_tutorial.data.sentiment import TEST_GROUPS, SentimentConfig, sentiment_corpus
from entk_tutorial.infinite import kernel_gradient_descent, linear_kernel, mv_kernel


def units(corpus, document):
    """Sign of each unit: of the word, or its opposite after "not"."""
    polarity = corpus.polarity.tolist()
    negated = {i + 1 for i, token in enumerate(document) if token == corpus.negation}
    return [-polarity[t] if i in negated else polarity[t] for i, t in enumerate(document) if polarity[t]]


def negated_words(corpus, documents):
    return {b for document in documents for a, b in pairwise(document) if a == corpus.negation}


@pytest.mark.parametrize("seed", range(3))
def test_every_unit_has_the_sign_of_the_label(seed):
    corpus = sentiment_corpus(seed=seed)
    for documents, labels in ((corpus.train, corpus.labels), (corpus.test, corpus.test_labels)):
        for document, label in zip(documents, labels.tolist(), strict=True):
            assert len(document) == 8 and len(units(corpus, document)) in (1, 2)
            assert set(units(corpus, document)) == {1 if label else -1}


def test_sizes_and_token_kinds():
    corpus = sentiment_corpus()
    assert len(corpus.train) == 240 and len(corpus.test) == 400 and len(corpus.words) == 29 + 4
    assert [int((corpus.polarity == sign).sum()) for sign in (1, -1)] == [8, 8] and len(corpus.neutral) == 12
    assert corpus.words[corpus.negation] == "not" and len(set(corpus.words)) == len(corpus.words)
    used = {token for document in corpus.train + corpus.test for token in document}
    assert used == set(range(29)) and set(corpus.unseen) == set(range(29, 33))


@pytest.mark.parametrize("seed", range(3))
def test_held_out_words_are_negated_in_no_training_document(seed):
    corpus = sentiment_corpus(seed=seed)
    sentiment_words = {i for i, p in enumerate(corpus.polarity.tolist()) if p}
    assert [corpus.polarity.tolist()[i] for i in corpus.held_out] == [1, 1, -1, -1]
    assert negated_words(corpus, corpus.train) == sentiment_words - set(corpus.held_out)
    assert negated_words(corpus, corpus.test) == sentiment_words
    assert set(corpus.held_out) <= {token for document in corpus.train for token in document}
    groups = corpus.test_groups
    assert list(groups) == list(TEST_GROUPS) and sorted(chain(*groups.values())) == list(range(400))
    chosen = {group: [corpus.test[i] for i in rows] for group, rows in groups.items()}
    assert not any(corpus.negation in document for document in chosen["plain"])
    assert not negated_words(corpus, chosen["negated"]) & set(corpus.held_out)
    assert all(negated_words(corpus, [d]) & set(corpus.held_out) for d in chosen["negated_held_out"])


def test_a_third_of_the_units_is_negated():
    corpus = sentiment_corpus(SentimentConfig(train=2000), seed=1)
    number = sum(len(units(corpus, document)) for document in corpus.train)
    share = sum(document.count(corpus.negation) for document in corpus.train) / number
    assert abs(share - 0.35) < 3 * (0.35 * 0.65 / number) ** 0.5


@pytest.mark.parametrize("imbalance, positives", [(1, 120), (2, 160), (4, 192), (0.25, 48)])
def test_imbalance_is_exact_in_training_and_absent_in_test(imbalance, positives):
    corpus = sentiment_corpus(SentimentConfig(imbalance=imbalance), seed=2)
    assert int(corpus.labels.sum()) == positives and int(corpus.test_labels.sum()) == 200


def test_seeds():
    first, again, other = (sentiment_corpus(seed=s) for s in (0, 0, 1))
    assert first.train == again.train and torch.equal(first.test_labels, again.test_labels)
    assert first.train != other.train and first.test != other.test
    known = {tuple(document) for document in first.train}
    assert not known & {tuple(document) for document in first.test}
    larger = sentiment_corpus(SentimentConfig(train=300), seed=0)
    assert larger.test == first.test


def test_no_sum_of_words_suffices_and_pairs_do():
    """What the corpus is for: products of neighbours tell the label where counts of words do not."""
    accuracy = {"linear": [], "mv": []}
    for seed in range(2):
        corpus = sentiment_corpus(seed=seed)
        for name, kernel in (("linear", linear_kernel), ("mv", mv_kernel)):
            train, test = kernel(corpus.train).ntk, kernel(corpus.test, corpus.train).ntk
            rate = 2 / float(torch.linalg.eigvalsh(train)[-1])
            run = kernel_gradient_descent(train, corpus.labels, "logistic", lr=rate, steps=300)
            right = ((test @ run.coefficients > 0) == corpus.test_labels.bool()).double()
            accuracy[name].append(float(right.mean()))
            if name == "mv":  # what no training document negates is got wrong after "not"
                held_out = right[corpus.test_groups["negated_held_out"]].mean()
                assert right[corpus.test_groups["negated"]].mean() > 0.75 > 0.5 > held_out
    assert all(m > x + 0.1 for m, x in zip(accuracy["mv"], accuracy["linear"], strict=True)), accuracy


@pytest.mark.parametrize(
    "setting, message",
    [
        ({"positive": 0}, "positive=0"),
        ({"train": 1}, "train=1"),
        ({"unseen": -1}, "unseen=-1"),
        ({"held_out": 8}, "held_out=8"),
        ({"length": 3}, "does not hold 2 units"),
        ({"negated": 1.5}, "negated=1.5"),
        ({"imbalance": 0.0}, "imbalance=0"),
        ({"imbalance": float("nan")}, "imbalance=nan"),
        ({"imbalance": 1000.0}, "one class"),
    ],
)
def test_mistakes(setting, message):
    with pytest.raises(ValueError, match=message):
        SentimentConfig(**setting)


def test_too_few_different_documents():
    config = SentimentConfig(positive=1, negative=1, neutral=1, held_out=0, length=2, units=1, negated=0.0)
    with pytest.raises(ValueError, match="Make documents longer"):
        sentiment_corpus(config)
