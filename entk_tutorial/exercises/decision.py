"""Exercises of the chapter on decisions: checks that name the likely mistake; solutions by computation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.infinite.blocks import bigram_split

WORDS = {"not": -0.3, "good": 0.9, "film": 0.1}
"""Label scores of the words of "not good film" in a matrix-vector model."""
PAIRS = {("not", "good"): -1.4, ("good", "film"): 0.2}
"""What it says of the pairs in it."""
ENTRY = 6.0
"""Weight of the pair (0, 1) in a table of two words, where all other weights are 0."""
LOGIT, FILLER = -1.0, 0.1
"""Logit of a document of eight words in a ReLU MLP, and its score of a word that training never saw."""
LENGTH, CONSTANT = 8, 0.2
"""Number of words, and what a CNN with a pad token says of every document alike."""


def check_without_pairs(answer: float) -> Answer:
    """Logit of "not good film" without the pairs, from :data:`WORDS` and :data:`PAIRS`.

    Example:
        >>> check_without_pairs(-0.5)
        Not yet. That is the whole logit, pairs included.
    """
    if close(answer, _without_pairs()):
        return Answer(True, "From -0.5 to 0.7: the decision rests on the pairs, and flips without them.")
    mistakes = {
        -0.5: "That is the whole logit, pairs included.",
        -1.2: "That is the part of the pairs, which is to be taken away.",
        -1.7: "Taking away a negative part makes the logit larger: -0.5 - (-1.2).",
        2.1: "Only one of the two pairs was taken away, and with the wrong sign.",
        0.9: 'The score of "not" belongs to the words: it stays.',
        1.0: 'The score of "not" belongs to the words: it stays.',
    }
    return _verdict(answer, mistakes, "Add the three label scores; leave both pairs out.")


def _without_pairs() -> float:
    return math.fsum(WORDS.values())


def check_pure_pair(answer: float) -> Answer:
    """What is left of the pair (0, 1) after the analysis of variance, two words equally frequent, one weight not 0.

    Example:
        >>> check_pure_pair(6)
        Not yet. That is the weight itself; the words can explain a part of it.
    """
    if close(answer, _pure_pair()):
        return Answer(True, "A quarter of the weight: the rest is mean, first word and second word, 1.5 each.")
    mistakes = {
        6.0: "That is the weight itself; the words can explain a part of it.",
        4.5: "You took the mean away; each of the two words explains something, too.",
        3.0: "You took the mean and one word away; the other word explains as much.",
        0.0: "A sum of a mean and two word effects cannot give 6 in one place and 0 in three.",
        -1.5: "Row and column effects are what is left after the mean; you took the mean away three times.",
    }
    return _verdict(answer, mistakes, "w - mean - (row mean - mean) - (column mean - mean).")


def _pure_pair() -> float:
    docs = [[0, 1]]
    found = bigram_split(docs, torch.tensor([ENTRY], dtype=torch.float64), 1.0, torch.ones(2))
    return float(found.split(docs)["bigrams"][0])


def check_fillers(answer: float) -> Answer:
    """Fewest unseen words that turn a document of logit :data:`LOGIT` positive at :data:`FILLER` each.

    Example:
        >>> check_fillers(10)
        Not yet. Ten bring the logit to 0 exactly, which is no decision yet.
    """
    if close(answer, _fillers()):
        return Answer(True, "Eleven words that mean nothing, and the review is called positive.")
    mistakes = {
        10.0: "Ten bring the logit to 0 exactly, which is no decision yet.",
        3.0: "The eight words of the document are in its logit already; only new ones count.",
        19.0: "That is the number of all words; the question is how many are added.",
        1.0: "One word adds 0.1.",
    }
    return _verdict(answer, mistakes, "Each word adds 0.1 to -1, whatever stands before it.")


def _fillers() -> float:
    return float(math.floor(round(-LOGIT / FILLER, 9)) + 1)


def check_constant(answer: float) -> Answer:
    """By how much the sum of label scores exceeds the logit, from a constant that each single word carries.

    Example:
        >>> check_constant(1.6)
        Not yet. The document's own logit holds the constant once.
    """
    if close(answer, _constant()):
        return Answer(True, "Seven times too often: a sum of label scores is no logit where a constant is learned.")
    mistakes = {
        1.6: "The document's own logit holds the constant once.",
        0.2: "Each of the eight label scores holds it.",
        0.0: "Each single word is a document, so its score holds the constant.",
        -1.4: "The sum is the larger one.",
    }
    return _verdict(answer, mistakes, "Count how often the constant is in the sum, and how often in the logit.")


def _constant() -> float:
    return (LENGTH - 1) * CONSTANT


def _verdict(answer: float, mistakes: dict[float, str], otherwise: str) -> Answer:
    return Answer(False, next((text for value, text in mistakes.items() if close(answer, value)), otherwise))


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_without_pairs": _without_pairs,
    "check_pure_pair": _pure_pair,
    "check_fillers": _fillers,
    "check_constant": _constant,
}
