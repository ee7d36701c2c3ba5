"""Exercises on eigenspaces of text models: checks that name the likely mistake; solutions by computation."""

from __future__ import annotations

from collections.abc import Callable

import torch

from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.features.alignment import overlap_chance
from entk_tutorial.features.ngrams import ngram_blocks

WORDS, DOCUMENTS, WIDTH = 13, 500, 32
"""Vocabulary, documents of one length, and width of the exercise on rank."""
SMALL_WORDS, SMALL_LENGTH = 5, 4
"""Vocabulary and length of the exercise on dimensions, which has all documents of that length."""
ADDITIVE, PAIRS, WINDOW = 72, 114, 6
"""Dimensions of sums over places and of pure bigrams, and number of leading functions, in the exercise on chance."""
DOT = -0.4
"""What training has made of the scalar product of the vectors of "good" and "bad", over the width."""


def check_rank(answer: float) -> Answer:
    """How many eigenvalues of a per-token MLP's kernel over the documents can be larger than 0.

    Example:
        >>> check_rank(500)
        Not yet. That is the size of the kernel. Its eigenvectors are linear functions of
        word counts, and there are 13 counts.
    """
    if close(answer, _rank()):
        return Answer(True, "One for each word: the constant is among them, as the sum of all counts over the length.")
    mistakes = {
        500.0: "That is the size of the kernel. Its eigenvectors are linear functions of word counts, and there are 13 "
        "counts.",
        32.0: "The width bounds the rank of the readout's part only; all parts together are linear in the counts.",
        12.0: "The constant need not be left out: documents of one length hold it among the counts.",
        14.0: "The constant is no extra: over documents of one length it is a sum of counts.",
        169.0: "Those are pairs. The kernel is bilinear in the counts, but its eigenvectors are linear in them.",
    }
    return _verdict(answer, mistakes, "K = X k X^T with X the (500, 13) counts: what is the largest rank?")


def _rank() -> float:
    return float(min(WORDS, DOCUMENTS))


def check_pure_pairs(answer: float) -> Answer:
    """Dimension of the pure bigrams over all documents of four words from a vocabulary of five.

    Example:
        >>> check_pure_pairs(25)
        Not yet. Those are all pairs; their sums over either word are functions of single
        places.
    """
    if close(answer, _pure_pairs()):
        return Answer(True, "One for each pair of contrasts: four among first words times four among second ones.")
    mistakes = {
        25.0: "Those are all pairs; their sums over either word are functions of single places.",
        24.0: "You took out the constant only.",
        20.0: "You took out the counts of one of the two words; the other one's go, too.",
        10.0: "Pairs are ordered here, and a word may follow itself.",
        48.0: "That tells the three places of a pair apart; a bigram count adds them up.",
    }
    return _verdict(answer, mistakes, "Count functions g(a, b) that average to 0 over a and over b.")


def _pure_pairs() -> float:
    documents = torch.cartesian_prod(*[torch.arange(SMALL_WORDS)] * SMALL_LENGTH)
    return float(ngram_blocks(documents, SMALL_WORDS).bigrams.shape[1])


def check_chance(answer: float) -> Answer:
    """Chance share of one pure bigram function in the six leading functions beyond sums of a CNN with window 2.

    Example:
        >>> check_chance(6 / 500)
        Not yet. These directions are not random over all documents: which space do they
        live in, whatever the weights?
    """
    if close(answer, _chance(), 1e-4):
        return Answer(True, "They are pure bigrams by architecture, so the fair lottery is among those.")
    mistakes = {
        WINDOW / DOCUMENTS: "These directions are not random over all documents: which space do they live in, whatever "
        "the weights?",
        WINDOW / (DOCUMENTS - ADDITIVE): "That holds for a model with functions beyond pairs; a CNN with window 2 has "
        "none.",
        WINDOW**2 / PAIRS: "That is the overlap with a space of six dimensions; here it is one function.",
        1 / PAIRS: "That is for one leading function; there are six.",
    }
    return next(
        (Answer(False, text) for value, text in mistakes.items() if close(answer, value, 1e-4)),
        Answer(False, "Six of how many dimensions?"),
    )


def _chance() -> float:
    return overlap_chance(WINDOW, 1, DOCUMENTS, excluded=DOCUMENTS - PAIRS)


def check_matrix_kernel(answer: float) -> Answer:
    r"""The kernel of MV's matrices between "not good" and "not bad", where :math:`e\cdot e'/n=-0.4`, all scales 1.

    Example:
        >>> check_matrix_kernel(0.4)
        Not yet. The sign of the scalar product stays: a step on "not good" moves "not bad"
        the other way.
    """
    if close(answer, DOT):
        return Answer(True, "The matrix of not itself does not enter: its gradient knows only what is around it.")
    mistakes = {
        0.4: 'The sign of the scalar product stays: a step on "not good" moves "not bad" the other way.',
        0.0: "That is before training, when different words are orthogonal in the limit.",
        1.0: "The first words agree, but the second ones count, too.",
        -0.8: "There is one pair in each document, so one term.",
    }
    return _verdict(answer, mistakes, "Its gradient with respect to M_not is v e^T / n, up to scales.")


def _matrix_kernel() -> float:
    n = 8
    v = torch.ones(n, dtype=torch.float64)
    good = torch.ones(n, dtype=torch.float64)
    bad = DOT * good
    return float(torch.outer(v, good).mul(torch.outer(v, bad)).sum()) / n**2


def _verdict(answer: float, mistakes: dict[float, str], otherwise: str) -> Answer:
    return Answer(False, next((text for value, text in mistakes.items() if close(answer, value)), otherwise))


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_rank": _rank,
    "check_pure_pairs": _pure_pairs,
    "check_chance": _chance,
    "check_matrix_kernel": _matrix_kernel,
}
