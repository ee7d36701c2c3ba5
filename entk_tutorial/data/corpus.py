"""Labelled text as token ids: words, vocabulary, split, and the groups of tokens that lean to a class."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

__all__ = ["UNKNOWN", "Corpus", "TokenGroups", "build_corpus", "count_after", "token_groups", "words_of"]

UNKNOWN = "<unk>"
"""The token that stands for every word that is too rare for the vocabulary."""
# n't and 's are words of their own: "isn't good" then holds the negation as a token that other verbs share.
_WORD = re.compile(r"n't\b|'(?:s|d|m|re|ve|ll)\b|[^\W\d_]+?(?=n't\b)|[^\W\d_]+")


@dataclass(frozen=True)
class Corpus:
    """Labelled documents, split into training and test, with their vocabulary.

    Attributes:
        words: token id -> word.
        train: training documents as lists of token ids.
        labels: (len(train),) int64, 1 for positive and 0 for negative.
        test: test documents.
        test_labels: (len(test),) int64.
        source: where the text is from, and under which licence.
        dropped: documents left out because no word was found in them, or, without an unknown token, none that is in the
            vocabulary.

    Raises:
        ValueError: if labels and documents do not fit, a class is missing from training, a document is empty, or a
            token id is outside the vocabulary.

    Chapter: book/text/label-scores
    """

    words: tuple[str, ...]
    train: list[list[int]]
    labels: Tensor
    test: list[list[int]]
    test_labels: Tensor
    source: str = ""
    dropped: int = 0

    def __post_init__(self) -> None:
        for name, documents, labels in (("train", self.train, self.labels), ("test", self.test, self.test_labels)):
            if labels.shape != (len(documents),):
                raise ValueError(
                    f"{name}: {len(documents)} documents, but labels of shape {tuple(labels.shape)}; expected one each."
                )
            if not bool(((labels == 0) | (labels == 1)).all()):
                raise ValueError(f"{name}: labels {sorted(set(labels.tolist()))}; expected 0 and 1 only.")
            for i, document in enumerate(documents):
                if not document:
                    raise ValueError(f"{name} document {i} is empty; drop it, or give it a token that means 'empty'.")
                if not 0 <= min(document) <= max(document) < len(self.words):
                    raise ValueError(
                        f"{name} document {i} holds token id {max(document)} or {min(document)}, outside the "
                        f"vocabulary of {len(self.words)} words, ids 0 to {len(self.words) - 1}."
                    )
        _both_classes(self.labels.tolist(), "the training documents")

    @property
    def vocabulary(self) -> dict[str, int]:
        """Word -> token id."""
        return {word: i for i, word in enumerate(self.words)}

    @property
    def unknown(self) -> int | None:
        """Id of the token for rare words; None if the corpus has none."""
        return self.vocabulary.get(UNKNOWN)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text.

        Raises:
            ValueError: for a text without words, or a word that is not in the vocabulary of a corpus without an unknown
                token.
        """
        ids, found = self.vocabulary, words_of(text)
        if not found:
            raise ValueError(f"found no word in {text!r}; expected one or more.")
        if UNKNOWN not in ids:
            for word in found:
                if word not in ids:
                    raise ValueError(f"{word!r} is not in the vocabulary, and the corpus has no token for rare words.")
        return [ids[word] if word in ids else ids[UNKNOWN] for word in found]

    def decode(self, document: Sequence[int]) -> str:
        """The words of a document, separated by blanks."""
        return " ".join(self.words[i] for i in document)

    def counts(self) -> Tensor:
        """(V, 2) int64: how often each token occurs in negative and in positive training documents."""
        table = torch.zeros(len(self.words), 2, dtype=torch.int64)
        for document, label in zip(self.train, self.labels.tolist(), strict=True):
            table[:, label] += torch.bincount(torch.tensor(document), minlength=len(self.words))
        return table


def words_of(text: str) -> list[str]:
    """The words of a text in lower case: letters only; numbers and punctuation are dropped.

    ``n't`` and endings such as ``'s`` are words of their own.

    Example:
        >>> words_of("It isn't the 21st Century's ''Conan''.")
        ['it', 'is', "n't", 'the', 'st', 'century', "'s", 'conan']
    """
    return _WORD.findall(text.lower().replace("’", "'"))


def build_corpus(
    texts: Sequence[str],
    labels: Sequence[int],
    *,
    seed: int = 0,
    min_count: int = 5,
    test_fraction: float = 0.2,
    unknown: bool = True,
    max_vocabulary: int = 20_000,
    source: str = "",
) -> Corpus:
    """Split labelled texts at random and number the words that training texts hold often enough.

    The vocabulary is counted on the training part alone, and sorted by count, then alphabet. With ``unknown`` id 0
    stands for all other words, so that neighbours stay neighbours; without, they are dropped, and what surrounded them
    becomes adjacent.

    Args:
        texts: at least one of each class.
        labels: 1 for positive, 0 for negative, one a text.
        seed: of the split.
        min_count: fewest occurrences of a word in the training texts.
        test_fraction: share of the texts that is left out of training; 0 for none.
        unknown: whether rare words become one token.
        max_vocabulary: most tokens to accept. A dense kernel between V tokens takes 8 V^2 bytes.
        source: kept in the corpus.

    Raises:
        ValueError: for texts and labels that do not fit, labels other than 0 and 1, a class without training texts,
            numbers out of range, and more frequent words than ``max_vocabulary``.

    Example:
        >>> corpus = build_corpus(["good film", "bad film"], [1, 0], min_count=1, test_fraction=0)
        >>> corpus.words, len(corpus.train), corpus.encode("good plot")
        (('<unk>', 'film', 'bad', 'good'), 2, [3, 0])
    """
    if len(texts) != len(labels):
        raise ValueError(f"found {len(texts)} texts and {len(labels)} labels; expected one label a text.")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction={test_fraction}; expected a number from 0 to less than 1.")
    _at_least_one("min_count", min_count)
    _check_labels(labels)
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    cut = round(test_fraction * len(texts))
    # Sorted again: which texts are in a part is random, their order within it is the file's.
    parts = [[(words_of(texts[i]), int(labels[i])) for i in sorted(part)] for part in (order[cut:], order[:cut])]
    counts = Counter(word for words, _ in parts[0] for word in words)
    words = vocabulary_of(counts, min_count=min_count, unknown=unknown, most=max_vocabulary)
    ids = {word: i for i, word in enumerate(words)}
    documents: list[list[list[int]]] = []
    kept: list[Tensor] = []
    for part in parts:
        rows = [([ids.get(w, 0) for w in found if unknown or w in ids], label) for found, label in part]
        rows = [row for row in rows if row[0]]
        documents.append([row[0] for row in rows])
        kept.append(torch.tensor([row[1] for row in rows], dtype=torch.int64))
    dropped = len(texts) - sum(map(len, documents))
    return Corpus(words, documents[0], kept[0], documents[1], kept[1], source, dropped)


def vocabulary_of(
    counts: Counter[str], *, min_count: int = 1, unknown: bool = True, most: int = 20_000
) -> tuple[str, ...]:
    """Words by count, most frequent first, and :data:`UNKNOWN` before them if wanted; ties in alphabetical order."""
    frequent = sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
    if not frequent:
        raise ValueError(f"no word occurs {min_count} times in the training texts; lower min_count.")
    if len(frequent) + unknown > most:
        raise ValueError(
            f"vocabulary overflow: {len(frequent)} words occur at least {min_count} times, and at most "
            f"{most - unknown} are accepted. Raise min_count, or the limit if the memory for kernels between tokens "
            "allows it."
        )
    return (UNKNOWN, *frequent) if unknown else tuple(frequent)


@dataclass(frozen=True)
class TokenGroups:
    """Tokens by the class they lean to; a token may be in none.

    Attributes:
        positive: token ids with rate over .5 and more than 5 occurrences in positive documents.
        negative: token ids with rate under -.5 and more than 5 occurrences in negative documents.
        neutral: token ids with a rate between -.1 and .1 and counts that differ by less than 5.
        rates: (V,) float64, (f+ - f-)/(f+ + f-); not a number where a token does not occur.
    """

    positive: tuple[int, ...]
    negative: tuple[int, ...]
    neutral: tuple[int, ...]
    rates: Tensor


def token_groups(corpus: Corpus) -> TokenGroups:
    r"""Groups of tokens by how often they occur in documents of each class, by the rule of [Sun, Li & Lu 2023].

    .. math:: r_a = \frac{f_a^+-f_a^-}{f_a^++f_a^-}

    with the counts :math:`f_a^\pm` of token a in positive and negative training documents. The token for rare words
    belongs to no group.

    Example:
        >>> corpus = build_corpus(6 * ["good film"] + 6 * ["bad film"], 6 * [1] + 6 * [0], test_fraction=0)
        >>> groups = token_groups(corpus)
        >>> [[corpus.words[i] for i in group] for group in (groups.positive, groups.negative, groups.neutral)]
        [['good'], ['bad'], ['film']]

    Chapter: book/text/label-scores
    """
    negative, positive = corpus.counts().double().unbind(1)
    difference, total = positive - negative, positive + negative
    rates = difference / total  # 0/0 is not a number, and every comparison with it is false
    grouped = torch.tensor([word != UNKNOWN for word in corpus.words])
    masks = (
        (rates > 0.5) & (positive > 5),
        (rates < -0.5) & (negative > 5),
        (rates.abs() < 0.1) & (difference.abs() < 5),
    )
    members = [tuple(torch.nonzero(mask & grouped)[:, 0].tolist()) for mask in masks]
    return TokenGroups(members[0], members[1], members[2], rates)


def count_after(documents: Sequence[Sequence[int]], first: Sequence[int], size: int) -> Tensor:
    """(size,) int64: how often each token follows one of the tokens ``first`` immediately.

    With the negations as ``first`` it tells how much of "not w" a model could have seen.

    Example:
        >>> count_after([[0, 1, 2], [0, 2]], [0], 3).tolist()
        [0, 1, 1]
    """
    _at_least_one("size", size)
    leading = set(first)
    following = [b for document in documents for a, b in pairwise(document) if a in leading]
    return torch.bincount(torch.tensor(following, dtype=torch.int64), minlength=size)


def _check_labels(labels: Sequence[int]) -> None:
    for i, label in enumerate(labels):
        if label not in (0, 1):
            raise ValueError(f"label {i} is {label!r}; expected 0 (negative) or 1 (positive).")
    _both_classes(labels, "the texts")


def _both_classes(labels: Sequence[int], where: str) -> None:
    if len(set(labels)) < 2:
        found = f"only label {labels[0]}" if len(labels) else "no label"
        raise ValueError(f"{where} have {found}; expected both 0 (negative) and 1 (positive).")


def _at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name}={value}; expected 1 or more.")
