"""A generated sentiment corpus: words of known polarity, and a "not" that flips them, some only at test time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from entk_tutorial.data.corpus import Corpus

__all__ = ["TEST_GROUPS", "SentimentConfig", "SentimentCorpus", "sentiment_corpus"]

TEST_GROUPS = ("plain", "negated", "negated_held_out")
"""The kinds of test documents are those without "not", with it on words that training negates too, and with it on a
held-out word."""

POSITIVE = ("good", "great", "fine", "superb", "lovely", "clever", "warm", "fresh")
NEGATIVE = ("bad", "awful", "poor", "dull", "clumsy", "silly", "cold", "stale")
NEUTRAL = ("the", "a", "this", "film", "plot", "actor", "scene", "story", "camera", "ending", "music", "it")
_POOLS = {"positive": POSITIVE, "negative": NEGATIVE, "neutral": NEUTRAL}


@dataclass(frozen=True)
class SentimentConfig:
    """Sizes and rates of :func:`sentiment_corpus`.

    Attributes:
        positive: number of positive words; beyond the built-in ones they are numbered.
        negative: number of negative words.
        neutral: number of neutral words.
        held_out: number of positive and of negative words each that no training document negates.
        unseen: number of tokens that no document holds at all, for probes.
        train: number of training documents.
        test: number of test documents.
        length: tokens in each document.
        units: most sentiment units in a document; from 1 to that many, all equally likely.
        negated: probability that a unit is "not" and a word of the other polarity.
        imbalance: positive for each negative document in training; the test documents are balanced.

    Raises:
        ValueError: for sizes or rates out of range, or a length that does not hold the units.
    """

    positive: int = 8
    negative: int = 8
    neutral: int = 12
    held_out: int = 2
    unseen: int = 4
    train: int = 240
    test: int = 400
    length: int = 8
    units: int = 2
    negated: float = 0.35
    imbalance: float = 1.0

    def __post_init__(self) -> None:
        for name in ("positive", "negative", "neutral", "units", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}; expected 1 or more.")
        for name in ("train", "test"):
            if getattr(self, name) < 2:
                raise ValueError(f"{name}={getattr(self, name)}; expected 2 or more, one of each class.")
        if self.unseen < 0:
            raise ValueError(f"unseen={self.unseen}; expected 0 or more.")
        if not 0 <= self.held_out < min(self.positive, self.negative):
            raise ValueError(
                f"held_out={self.held_out} of {self.positive} positive and {self.negative} negative words; expected 0 "
                "or more, and one word less than there are, so that training negates some."
            )
        if self.length < 2 * self.units:
            raise ValueError(
                f"length={self.length} does not hold {self.units} units of two tokens; give it {2 * self.units} or "
                "more."
            )
        if not 0 <= self.negated <= 1:
            raise ValueError(f"negated={self.negated}; expected a probability.")
        if not (math.isfinite(self.imbalance) and self.imbalance > 0):
            raise ValueError(f"imbalance={self.imbalance}; expected a positive number, 1 for balanced classes.")
        if not 1 <= self.positives < self.train:
            raise ValueError(
                f"imbalance={self.imbalance} leaves one class of the {self.train} training documents empty; make it "
                "milder, or train larger."
            )

    @property
    def positives(self) -> int:
        """Number of positive training documents."""
        return round(self.train * self.imbalance / (1 + self.imbalance))


@dataclass(frozen=True)
class SentimentCorpus(Corpus):
    """A :class:`~entk_tutorial.data.corpus.Corpus` whose words have a known meaning.

    Attributes:
        polarity: (V,) int64: 1 for positive words, -1 for negative ones, 0 for all others.
        neutral: ids of the neutral words.
        negation: id of "not".
        held_out: ids of the words that no training document negates, positive ones first.
        unseen: ids that occur in no document.
        test_groups: kind of :data:`TEST_GROUPS` -> indices of test documents.
    """

    polarity: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    neutral: tuple[int, ...] = ()
    negation: int = -1
    held_out: tuple[int, ...] = ()
    unseen: tuple[int, ...] = ()
    test_groups: dict[str, list[int]] = field(default_factory=dict)


def sentiment_corpus(config: SentimentConfig | None = None, *, seed: int = 0) -> SentimentCorpus:
    """A corpus that needs no file and no network, drawn at random.

    A document of label y has one or more units. A unit is a word of polarity y; or, with probability ``negated``, "not"
    followed by a word of the other polarity. So the label always follows from any one unit, and a word alone tells it
    only as often as it is not negated. Units and neutral words stand in random order. In training, words that are
    negated are drawn from those not held out; in test documents from all. No test document is a training document.

    Token ids: positive words, negative words, neutral words, "not", unseen tokens; the held-out words are the last of
    their kind. Training and test documents come from generators of their own: more of one changes none of the other,
    except where a test document had to be drawn again.

    Args:
        config: sizes and rates; None means 28 words and "not" in 240 training and 400 test documents of 8 tokens.
        seed: of the documents.

    Raises:
        ValueError: if so few different documents exist that the test ones cannot be new.

    Example:
        >>> corpus = sentiment_corpus()
        >>> corpus.decode(corpus.train[0]), int(corpus.labels[0])
        ('it ending actor plot camera great music a', 1)
        >>> {group: len(rows) for group, rows in corpus.test_groups.items()}
        {'plain': 198, 'negated': 138, 'negated_held_out': 64}

    Chapter: book/text/negation
    """
    config = config or SentimentConfig()
    words: list[str] = []
    ids: dict[str, list[int]] = {}
    for kind, pool in _POOLS.items():
        size = getattr(config, kind)
        ids[kind] = list(range(len(words), len(words) + size))
        words += [pool[i] if i < len(pool) else f"{kind}{i}" for i in range(size)]
    negation = len(words)
    unseen = range(negation + 1, negation + 1 + config.unseen)
    words += ["not", *(f"unseen{i}" for i in range(config.unseen))]
    open_words = {kind: ids[kind][: len(ids[kind]) - config.held_out] for kind in ("positive", "negative")}
    held_out = tuple(i for kind in ("positive", "negative") for i in ids[kind] if i not in open_words[kind])

    draw = _Drawer(config, ids, negation)
    generator = torch.Generator().manual_seed(2 * seed)
    train, labels = draw.documents(config.train, config.positives, open_words, set(), generator)
    generator = torch.Generator().manual_seed(2 * seed + 1)
    test, test_labels = draw.documents(config.test, config.test // 2, ids, {tuple(d) for d in train}, generator)
    groups: dict[str, list[int]] = {group: [] for group in TEST_GROUPS}
    for i, document in enumerate(test):
        negated = {b for a, b in pairwise(document) if a == negation}
        groups["plain" if not negated else "negated_held_out" if negated & set(held_out) else "negated"].append(i)
    polarity = torch.zeros(len(words), dtype=torch.int64)
    polarity[ids["positive"]], polarity[ids["negative"]] = 1, -1
    return SentimentCorpus(
        words=tuple(words),
        train=train,
        labels=labels,
        test=test,
        test_labels=test_labels,
        source="generated; no rights attached",
        polarity=polarity,
        neutral=tuple(ids["neutral"]),
        negation=negation,
        held_out=held_out,
        unseen=tuple(unseen),
        test_groups=groups,
    )


@dataclass(frozen=True)
class _Drawer:
    config: SentimentConfig
    ids: dict[str, list[int]]
    negation: int

    def documents(
        self,
        number: int,
        positives: int,
        negatable: dict[str, list[int]],
        known: set[tuple[int, ...]],
        generator: torch.Generator,
    ) -> tuple[list[list[int]], Tensor]:
        """Documents that are not in ``known``, in random order of the labels."""
        labels = torch.tensor([1] * positives + [0] * (number - positives))
        labels = labels[torch.randperm(number, generator=generator)]
        found: list[list[int]] = []
        for label in labels.tolist():
            for _ in range(1000):
                document = self.document(bool(label), negatable, generator)
                if tuple(document) not in known:
                    break
            else:
                raise ValueError(
                    "1000 draws in a row gave training documents; too few different documents exist at this length and "
                    "number of words. Make documents longer."
                )
            found.append(document)
        return found, labels

    def document(self, label: bool, negatable: dict[str, list[int]], generator: torch.Generator) -> list[int]:
        def choose(items: list[int]) -> int:
            return items[int(torch.randint(len(items), (), generator=generator))]

        parts: list[list[int]] = []
        for _ in range(choose(list(range(1, self.config.units + 1)))):
            negated = float(torch.rand((), generator=generator)) < self.config.negated
            kind = "positive" if label != negated else "negative"
            parts.append([self.negation, choose(negatable[kind])] if negated else [choose(self.ids[kind])])
        missing = self.config.length - sum(map(len, parts))
        parts += [[choose(self.ids["neutral"])] for _ in range(missing)]
        order = torch.randperm(len(parts), generator=generator).tolist()
        return [token for i in order for token in parts[i]]
