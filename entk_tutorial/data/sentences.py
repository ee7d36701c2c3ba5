"""Short sentences and labelled reviews over six words: documents small enough to read a kernel by eye."""

from __future__ import annotations

import torch
from torch import Tensor

WORDS = ("good", "bad", "not", "very", "movie", "plot")
"""The vocabulary; a word's id is its place. No sentence uses the last one."""

SENTENCES = (
    "good",
    "good movie",
    "bad movie",
    "not good",
    "good not",
    "not bad movie",
    "very very good",
    "good movie good movie",
)


def toy_sentences() -> tuple[list[list[int]], list[str], dict[str, int]]:
    """Sentences to draw a kernel on.

    They contain what tells one family of kernels from another: "not good" and "good not" (one bag, two orders), a
    sentence and its repetition, a word that follows itself, lengths from 1 to 4, and a word of the vocabulary
    ("plot") that no sentence uses.

    Returns:
        The documents as lists of token ids, their readable texts in the same order, and the vocabulary (word -> id,
        6 words, ids from 0). Fresh lists on every call.

    Example:
        >>> documents, texts, vocabulary = toy_sentences()
        >>> texts[5], documents[5], vocabulary["bad"]
        ('not bad movie', [2, 1, 4], 1)

    Chapter: book/infinite/linear.
    """
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    return [encode(text) for text in SENTENCES], list(SENTENCES), vocabulary


def encode(text: str) -> list[int]:
    """The token ids of a text in the words of :func:`toy_sentences`.

    Args:
        text: words of the vocabulary, separated by blanks.

    Raises:
        ValueError: for a text without words, or with a word that is not in the vocabulary.

    Example:
        >>> encode("very bad plot")
        [3, 1, 5]
    """
    words = text.split()
    if not words:
        raise ValueError(f"found no word in {text!r}; expected one or more of: {', '.join(WORDS)}.")
    for word in words:
        if word not in WORDS:
            raise ValueError(f"{word!r} is not in the vocabulary; expected one of: {', '.join(WORDS)}.")
    return [WORDS.index(word) for word in words]


def faint_praise() -> tuple[list[list[int]], Tensor]:
    """Fourteen labelled documents of two words in which a word's counts and its meaning point opposite ways.

    "plot" stands in three positive and two negative documents. But beside "good", which is otherwise always positive,
    it is what lowers the odds.

    Returns:
        The documents, and their labels (14,) int64, 1 for positive.

    Example:
        >>> documents, labels = faint_praise()
        >>> sum(encode("plot")[0] in d for d, y in zip(documents, labels, strict=True) if y == 1)
        3

    Chapter: book/infinite/linear.
    """
    positive = 4 * ["good movie"] + 3 * ["good plot"]
    negative = 4 * ["bad movie"] + 2 * ["good plot"] + ["not good"]
    return _labelled(positive, negative)


def toy_reviews(positive: int = 1, negative: int = 1) -> tuple[list[list[int]], Tensor]:
    """Labelled reviews, as many positive ones as wanted, that no sum of word scores can fit.

    A block holds eight documents, "good movie" and "very good movie" three times each and their opposites once each
    when positive, and the mirror image (good and bad exchanged) when negative: one word in four misleads. "not" and
    "plot" are never seen.

    Args:
        positive: number of positive blocks.
        negative: number of negative blocks.

    Returns:
        The documents, and their labels (8 * (positive + negative),) int64, 1 for positive.

    Raises:
        ValueError: if one of the classes would be empty.

    Example:
        >>> documents, labels = toy_reviews(4, 1)
        >>> len(documents), int(labels.sum())
        (40, 32)

    Chapter: book/infinite/mlp.
    """
    if positive < 1 or negative < 1:
        raise ValueError(f"found positive={positive}, negative={negative}; expected at least one block of each class.")
    good, bad = ["good movie", "very good movie"], ["bad movie", "very bad movie"]
    return _labelled(positive * (3 * good + bad), negative * (3 * bad + good))


def _labelled(positive: list[str], negative: list[str]) -> tuple[list[list[int]], Tensor]:
    labels = torch.tensor([1] * len(positive) + [0] * len(negative))
    return [encode(text) for text in positive + negative], labels
