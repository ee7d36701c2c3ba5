"""Words, vocabulary, split and token groups, on texts small enough to count by hand."""

import pytest
import torch

from entk_tutorial.data.corpus import UNKNOWN, Corpus, build_corpus, count_after, token_groups, words_of

TEXTS = ["good film", "a good one", "bad film", "a bad one", "good good", "bad bad"]
LABELS = [1, 1, 0, 0, 1, 0]


def labels(*values):
    return torch.tensor(values)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Isn't it GOOD?", ["is", "n't", "it", "good"]),
        ("I can’t; won't.", ["i", "ca", "n't", "wo", "n't"]),
        ("''Conan''s movie's 2nd half...", ["conan", "'s", "movie", "'s", "nd", "half"]),
        ("café — naïve", ["café", "naïve"]),
        ("12 + 3 = 15!", []),
        ("ant want", ["ant", "want"]),
    ],
)
def test_words(text, expected):
    assert words_of(text) == expected


def test_vocabulary_is_counted_on_training_alone():
    texts = [f"shared w{chr(97 + i // 8)}{chr(97 + i % 8)}" for i in range(40)]
    corpus = build_corpus(texts, [0, 1] * 20, min_count=1, seed=3)
    known = {word for document in corpus.train for word in corpus.decode(document).split()}
    assert set(corpus.words) == known | {UNKNOWN} and len(corpus.test) == 8
    assert all(corpus.decode(document) == f"shared {UNKNOWN}" for document in corpus.test)


def test_split_is_of_the_seed_and_keeps_texts_with_their_labels():
    texts = [f"{word} {'x' * (i + 1)}" for i, word in enumerate(["bad", "good"] * 20)]
    first, again, other = (build_corpus(texts, [0, 1] * 20, min_count=1, seed=s) for s in (1, 1, 2))
    assert first.train == again.train and first.train != other.train
    for documents, wanted in ((first.train, first.labels), (first.test, first.test_labels)):
        for document, label in zip(documents, wanted.tolist(), strict=True):
            found = first.decode(document).split()[0]
            assert found in (["bad", "good"][label], UNKNOWN)
    assert len(first.train) == 32 and len(first.test) == 8


def test_rare_words_keep_their_place_or_are_dropped_as_told():
    texts = ["not so good"] + 5 * ["not good"] + ["bad bad bad bad bad", "strange"]
    kept = build_corpus(texts, [1] * 6 + [0, 0], test_fraction=0)
    assert kept.words == (UNKNOWN, "good", "not", "bad") and kept.unknown == 0
    assert kept.decode(kept.train[0]) == f"not {UNKNOWN} good" and kept.dropped == 0
    dropped = build_corpus(texts, [1] * 6 + [0, 0], test_fraction=0, unknown=False)
    assert dropped.words == ("good", "not", "bad") and dropped.unknown is None
    assert dropped.decode(dropped.train[0]) == "not good" and dropped.dropped == 1 and len(dropped.labels) == 7


def test_counts_by_class():
    corpus = build_corpus(TEXTS, LABELS, min_count=1, test_fraction=0)
    table = {word: corpus.counts()[i].tolist() for i, word in enumerate(corpus.words)}
    assert table == {UNKNOWN: [0, 0], "bad": [4, 0], "good": [0, 4], "a": [1, 1], "film": [1, 1], "one": [1, 1]}


@pytest.mark.parametrize(
    "plus, minus, group",
    [
        (6, 0, "positive"),
        (5, 0, None),  # not more than 5
        (6, 2, None),  # a rate of exactly .5
        (7, 2, "positive"),
        (0, 6, "negative"),
        (2, 6, None),
        (5, 5, "neutral"),
        (11, 9, None),  # a rate of exactly .1
        (22, 19, "neutral"),
        (56, 51, None),  # counts that differ by 5
        (55, 51, "neutral"),
    ],
)
def test_token_groups_follow_the_rule_at_its_borders(plus, minus, group):
    texts, marks = ["w"] * plus + ["pad"] + ["w"] * minus + ["fill"], [1] * (plus + 1) + [0] * (minus + 1)
    corpus = build_corpus(texts, marks, min_count=1, test_fraction=0)
    groups, token = token_groups(corpus), corpus.vocabulary["w"]
    for name in ("positive", "negative", "neutral"):
        assert (token in getattr(groups, name)) == (name == group)
    assert float(groups.rates[token]) == pytest.approx((plus - minus) / (plus + minus))


def test_the_token_for_rare_words_is_in_no_group():
    corpus = build_corpus(
        [f"rare{chr(97 + i)} good" for i in range(9)] + ["bad"] * 9, [1] * 9 + [0] * 9, test_fraction=0
    )
    groups = token_groups(corpus)
    assert float(groups.rates[0]) == 1 and groups.positive == (corpus.vocabulary["good"],)


def test_what_follows_a_negation():
    assert count_after([[0, 2, 1, 2], [1, 0], [0, 0, 2]], [0], 3).tolist() == [1, 0, 2]
    assert count_after([[0, 2, 1, 2]], [0, 1], 4).tolist() == [0, 0, 2, 0]


def test_encode_and_its_mistakes():
    corpus = build_corpus(TEXTS, LABELS, min_count=1, test_fraction=0)
    assert corpus.decode(corpus.encode("A GOOD plot.")) == f"a good {UNKNOWN}"
    with pytest.raises(ValueError, match="no word"):
        corpus.encode("12!")
    closed = build_corpus(TEXTS, LABELS, min_count=1, test_fraction=0, unknown=False)
    with pytest.raises(ValueError, match="'plot' is not in the vocabulary"):
        closed.encode("good plot")


@pytest.mark.parametrize(
    "texts, marks, options, message",
    [
        (TEXTS, LABELS[:-1], {}, "6 texts and 5 labels"),
        (TEXTS, [1, 1, 0, 0, 1, 2], {}, "label 5 is 2"),
        (TEXTS, [1] * 6, {}, "only label 1"),
        ([], [], {}, "no label"),
        (TEXTS, LABELS, {"test_fraction": 1.0}, "test_fraction=1.0"),
        (TEXTS, LABELS, {"min_count": 0}, "min_count=0"),
        (TEXTS, LABELS, {"min_count": 9}, "lower min_count"),
        (TEXTS, LABELS, {"min_count": 1, "max_vocabulary": 4}, "vocabulary overflow: 5 words"),
    ],
)
def test_mistakes(texts, marks, options, message):
    with pytest.raises(ValueError, match=message):
        build_corpus(texts, marks, **({"test_fraction": 0} | options))


@pytest.mark.parametrize(
    "train, marks, message",
    [
        ([[0], [1]], labels(0), "expected one each"),
        ([[0], [1]], labels(0, 3), "expected 0 and 1"),
        ([[0], []], labels(0, 1), "document 1 is empty"),
        ([[0], [2]], labels(0, 1), "outside the vocabulary of 2"),
        ([[0], [-1]], labels(0, 1), "outside the vocabulary"),
        ([[0], [1]], labels(1, 1), "only label 1"),
    ],
)
def test_a_corpus_that_cannot_be(train, marks, message):
    with pytest.raises(ValueError, match=message):
        Corpus(("a", "b"), train, marks, [], torch.zeros(0, dtype=torch.int64))
