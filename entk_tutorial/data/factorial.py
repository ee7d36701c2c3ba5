"""Sentences written from four crossed factors, so that it is known what there is to find in them."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["FACTORS", "TOPICS", "FactorialSentences", "factorial_sentences"]

TOPICS: dict[str, tuple[str, ...]] = {
    "food": ("soup", "bread", "salad", "pasta", "cheese", "dessert"),
    "weather": ("rain", "wind", "storm", "sunshine", "snow", "fog"),
    "film": ("movie", "plot", "actor", "sequel", "screenplay", "director"),
    "music": ("song", "melody", "orchestra", "concert", "singer", "album"),
    "sport": ("match", "striker", "goalkeeper", "tournament", "referee", "race"),
    "travel": ("flight", "hotel", "airport", "train", "cruise", "ferry"),
    "health": ("doctor", "clinic", "medicine", "nurse", "hospital", "therapy"),
    "computing": ("laptop", "software", "keyboard", "server", "browser", "printer"),
}
"""Topic -> nouns that stand for it."""
ADJECTIVES = {
    1: ("good", "great", "wonderful", "excellent", "lovely", "superb", "pleasant", "nice"),
    -1: ("bad", "terrible", "awful", "horrible", "nasty", "dreadful", "poor", "unpleasant"),
}
ADVERBS = {1: ("not", "never", "hardly", "scarcely"), -1: ("really", "truly", "clearly", "quite")}
VERBS = {1: ("was", "seemed", "looked", "remained"), -1: ("is", "seems", "looks", "remains")}
FRAMES = ("the", "this", "that", "our", "their")
FACTORS = ("topic", "sentiment", "negation", "tense", "polarity")
"""Names of the features. Polarity, the product of sentiment and negation, is what a sentence says in the end."""


@dataclass(frozen=True)
class FactorialSentences:
    """Sentences and what each was written from.

    Attributes:
        texts: the sentences, lower case, no full stop.
        topic: (N,) index into :data:`TOPICS`.
        sentiment: (N,) 1 for a positive adjective, -1 for a negative one.
        negation: (N,) 1 with a negating adverb, -1 with another one.
        tense: (N,) 1 for past, -1 for present.
        frame: (N,) which of five determiners: no factor of interest, a nuisance.
    """

    texts: tuple[str, ...]
    topic: Tensor
    sentiment: Tensor
    negation: Tensor
    tense: Tensor
    frame: Tensor

    @property
    def polarity(self) -> Tensor:
        """(N,) sentiment turned by negation, 1 where the sentence praises."""
        return -self.sentiment * self.negation

    def features(self) -> dict[str, Tensor]:
        """Factor -> (N, k) float64 feature values; k is 7 for topic and 1 for the others.

        All five are centred and orthogonal to each other, since the design is balanced: no overlap with one of them is
        bought with another.
        """
        one_hot = torch.nn.functional.one_hot(self.topic, len(TOPICS)).double()
        columns = {name: getattr(self, name).double()[:, None] for name in FACTORS[1:]}
        return {"topic": (one_hot - one_hot.mean(0))[:, :-1], **columns}


def factorial_sentences(per_cell: int = 4, *, seed: int = 0) -> FactorialSentences:
    """All 8 x 2 x 2 x 2 combinations of topic, sentiment, negation and tense, each ``per_cell`` times.

    Nouns, adjectives, adverbs, verbs and determiners are drawn anew for each sentence, several words for each level, so
    that no factor is one word. Every sentence has an adverb, so that negated ones are not the longer ones.

    Args:
        per_cell: sentences a combination; N = 64 times that.
        seed: of the private generator.

    Raises:
        ValueError: if ``per_cell`` is below 1.

    Example:
        >>> drawn = factorial_sentences(1)
        >>> len(drawn.texts), int(drawn.polarity.sum())
        (64, 0)
        >>> f = drawn.features()
        >>> float((f["polarity"].T @ f["sentiment"]).abs())      # balanced: the product is orthogonal to its factors
        0.0

    Chapter: book/beyond/your-own-model
    """
    if per_cell < 1:
        raise ValueError(f"per_cell={per_cell}; at least one sentence a combination is expected.")
    generator = torch.Generator().manual_seed(seed)

    def pick(words: tuple[str, ...]) -> str:
        return words[int(torch.randint(len(words), (1,), generator=generator))]

    texts, rows = [], []
    for topic, sentiment, negation, tense in itertools.product(range(len(TOPICS)), (1, -1), (1, -1), (1, -1)):
        for _ in range(per_cell):
            frame = pick(FRAMES)
            noun = pick(list(TOPICS.values())[topic])
            texts.append(
                " ".join((frame, noun, pick(VERBS[tense]), pick(ADVERBS[negation]), pick(ADJECTIVES[sentiment])))
            )
            rows.append((topic, sentiment, negation, tense, FRAMES.index(frame)))
    order = torch.randperm(len(texts), generator=generator)
    table = torch.tensor(rows)[order]
    return FactorialSentences(tuple(texts[i] for i in order.tolist()), *table.T.contiguous().unbind(0))
