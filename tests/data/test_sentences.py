"""The toy sentences hold the contrasts that the chapters rely on."""

import pytest

from entk_tutorial.data.sentences import encode, faint_praise, toy_reviews, toy_sentences
from entk_tutorial.infinite.tokens import as_documents


def test_ids_and_texts_agree():
    documents, texts, vocabulary = toy_sentences()
    words = {i: word for word, i in vocabulary.items()}
    assert sorted(words) == list(range(6))
    assert [" ".join(words[i] for i in document) for document in documents] == texts
    assert len(set(texts)) == len(documents) == len(as_documents(documents)) == 8


def test_the_contrasts_are_there():
    documents, texts, vocabulary = toy_sentences()
    document = dict(zip(texts, documents, strict=True))
    assert document["not good"] == document["good not"][::-1]
    assert document["good movie good movie"] == 2 * document["good movie"]
    assert document["very very good"][0] == document["very very good"][1]
    assert {len(d) for d in documents} == {1, 2, 3, 4}
    assert not any(vocabulary["plot"] in d for d in documents)


def test_every_call_gives_fresh_lists():
    documents, texts, vocabulary = toy_sentences()
    documents[0].append(3)
    texts.clear()
    vocabulary.clear()
    again = toy_sentences()
    assert again[0][0] == [0] and len(again[1]) == 8 and len(again[2]) == 6


@pytest.mark.parametrize("text, message", [("", "no word"), ("  ", "no word"), ("good film", "'film' is not in")])
def test_texts_that_cannot_be_encoded(text, message):
    with pytest.raises(ValueError, match=message):
        encode(text)


def differences(documents, labels):
    """Occurrences of each word in positive documents, less those in negative ones."""
    count = [0] * 6
    for document, label in zip(documents, labels.tolist(), strict=True):
        for word in document:
            count[word] += 1 if label else -1
    return count


def test_faint_praise_has_the_counts_that_the_chapter_tells():
    documents, labels = faint_praise()
    assert len(documents) == len(labels) == 14 and int(labels.sum()) == 7
    assert differences(documents, labels) == [4, -4, -1, 0, 0, 1]


@pytest.mark.parametrize("positive, negative", [(1, 1), (4, 1), (2, 3)])
def test_reviews_are_mirrored_and_as_unbalanced_as_asked(positive, negative):
    documents, labels = toy_reviews(positive, negative)
    extra = positive - negative
    assert len(documents) == 8 * (positive + negative) and int(labels.sum()) == 8 * positive
    # a positive block holds 6 "good", 2 "bad", 4 "very", 8 "movie"; a negative one exchanges the first two
    assert differences(documents, labels) == [
        6 * positive - 2 * negative,
        2 * positive - 6 * negative,
        0,
        4 * extra,
        8 * extra,
        0,
    ]


def test_reviews_need_both_classes():
    with pytest.raises(ValueError, match="at least one block of each class"):
        toy_reviews(1, 0)
