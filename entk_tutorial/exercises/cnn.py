"""Exercises of the chapter on convolutions: checks that name the likely mistake, and solutions by computation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from entk_tutorial.data.sentences import encode
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.infinite import as_documents, cnn_constants, cnn_kernel
from entk_tutorial.infinite.cnn import windows

FOUR = ("very good", "very bad", "not good", "not bad")
SLOT_SCORES = {"not": (-3, -2, 1), "good": (4, 5, 7)}
"""The linear convolution in the exercise on padding, as scores of each word in slots 1, 2 and 3."""


def check_frozen_readout(answer: float) -> Answer:
    """Weight of a bigram over that of a word, ReLU, window 2, readout frozen.

    Example:
        >>> check_frozen_readout(0.801)
        Not yet. That is the ratio with all groups trained. Drop the readout's share, Phi.
    """
    if close(answer, _frozen_readout(), 5e-3):
        return Answer(True, "g = 0, 1/6, 1/2 for 0, 1, 2 matches: the second difference equals the first.")
    mistakes = {
        3.0: "That is g(2) / g(1), a ratio of kernel values. Weights are differences: g(2) - 2 g(1) + g(0) over "
        "g(1) - g(0).",
        0.801: "That is the ratio with all groups trained. Drop the readout's share, Phi.",
        0.345: "You kept the readout's share, Phi, and dropped the others. Frozen means: its share is gone.",
        2.0: "You divided g(2) - g(1) by g(1) - g(0). The bigram's weight is the second difference, "
        "g(2) - 2 g(1) + g(0).",
        0.5: "Both hidden groups, E and W, count, but they cannot change a ratio; look for a slip in the slopes: "
        "(pi - theta) / (2 pi) at angles of 90, 60 and 0 degrees.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 5e-3)), None)
    return Answer(False, found or "g is Q times the slope (pi - theta) / (2 pi), at Q = 0, 1/2, 1. Take differences.")


def _frozen_readout() -> float:
    kernel = cnn_kernel([encode(text) for text in FOUR]).without("v").ntk[0]
    both, one, none = float(kernel[0]), float(kernel[1]), float(kernel[3])
    return (both - 2 * one + none) / (one - none)


def check_longest_ngram(answer: float) -> Answer:
    """Largest number of slots whose joint filling a window of 4 with the activation u^2 can see.

    Example:
        >>> check_longest_ngram(4)
        Not yet. That is what fits into the window. The activation has to multiply that many slots.
    """
    if answer == _longest_ngram():
        return Answer(True, "A square multiplies two slots at a time, and no more: the degree limits the n-gram.")
    mistakes = {
        4: "That is what fits into the window. The activation has to multiply that many slots.",
        1: "Only affine activations are limited to single tokens; a square multiplies slots.",
        3: "Windows of 4 do hold triples, but which term of a square would multiply three slots?",
        0: "The bias counts no slot; single tokens and more are seen as well.",
    }
    return Answer(False, mistakes.get(int(answer), "A whole number from 0 to 4: the largest j with a weight above 0."))


def _longest_ngram() -> int:
    return max(j for j, weight in enumerate(cnn_constants(4, "quad")) if weight > 1e-12)


def check_negation_time(answer: float) -> Answer:
    """Time to learn the interaction over time to learn a word, GELU at unit variance.

    Example:
        >>> check_negation_time(3.53)
        Not yet. That is 2 w1 / w2. A word's eigenvalue holds the bigrams as well: 2 w1 + w2.
    """
    bias, word, pair = cnn_constants(2, "gelu")
    if close(answer, _negation_time(), 1e-2):
        return Answer(True, "1 + 2 / (bigram over word). For ReLU it is 3.5, whatever the variance.")
    mistakes = {
        2 * word / pair: "That is 2 w1 / w2. A word's eigenvalue holds the bigrams as well: 2 w1 + w2.",
        word / pair: "That is w1 / w2, the ratio of weights. The ratio of eigenvalues is (2 w1 + w2) / w2.",
        pair / word: "That is the ratio of weights, w2 / w1. Ask for the eigenvalues of the two patterns.",
        pair / (2 * word + pair): "That is the inverse: a small eigenvalue takes a long time.",
        (4 * bias + 4 * word + pair) / pair: "You compared with the constant pattern; compare with the word's.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 1e-2)), None)
    return Answer(False, found or "Times are inverse eigenvalues: (2 w1 + w2) / w2, from cnn_constants(2, 'gelu').")


def _negation_time() -> float:
    kernel = cnn_kernel([encode(text) for text in FOUR], activation="gelu").ntk.numpy()
    word, both = np.array([1, -1, 1, -1]) / 2, np.array([1, -1, -1, 1]) / 2
    return float(word @ kernel @ word / (both @ kernel @ both))


def check_padding(answer: float) -> Answer:
    """f(not good) - f(not) - f(good) of a linear convolution with window 3 and one zero at each end.

    Example:
        >>> check_padding(0)
        Not yet. The model adds up slots, but a word alone fills fewer slots than in a phrase. Write out the windows.
    """
    if close(answer, _padding()):
        return Answer(True, "Slot 1 of 'not' and slot 3 of 'good' are used in the phrase only: no interaction in it.")
    mistakes = {
        0.0: "The model adds up slots, but a word alone fills fewer slots than in a phrase. Write out the windows.",
        5.0: "You have the slots the wrong way round: the first word of a phrase moves left as the window moves right.",
        7.0: "The phrase has f = 7: from that subtract f(not) and f(good).",
        12.0: "You summed all slots. 'not good' with one zero at each end has two windows, each with one zero in it.",
        9.0: "You subtracted f(not) only.",
        2.0: "You subtracted f(good) only.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value)), None)
    return Answer(False, found or "Windows of 'not good': (0 not good), (not good 0). Of a word alone: (0 word 0).")


def _padding() -> float:
    table = np.array([*SLOT_SCORES.values(), (0, 0, 0)])  # the last row serves id -1, a zero slot
    cut = windows(as_documents([[0, 1], [0], [1]]), 3, 1, ())
    scores = table[cut.slots, np.arange(3)].sum(axis=2)  # (document, window)
    phrase, *parts = (scores * cut.valid).sum(axis=1)
    return float(phrase - sum(parts))


def check_small_variance(answer: float) -> Answer:
    """The number c in (bigram over word) = c nu for GELU, window 2, at small variance nu.

    Example:
        >>> check_small_variance(5 / 6)
        Not yet. That is right for an activation with equal first and second derivative at 0, such as SiLU.
    """
    if close(answer, _small_variance(), 5e-3):
        return Answer(True, "c = 20 / (3 pi): at the variance 0.0001 a bigram weighs 0.0002 of a word.")
    mistakes = {
        5 / 6: "That is right for an activation with equal first and second derivative at 0, such as SiLU.",
        5 / 6 * np.sqrt(8 / np.pi): "The ratio of derivatives enters squared: weights are squares of coefficients.",
        5 / 6 * 2 / np.pi: "You took the second derivative only; divide by the square of the first, 1/2.",
        5 / 6 * 2 / np.pi * 2: "The first derivative at 0 is 1/2, and it enters squared: a factor 4, not 2.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 5e-3)), None)
    return Answer(False, found or "phi'(0) = 1/2 and phi''(0) = 2 n(0) with n the normal density; put them into c.")


def _small_variance(nu: float = 1e-6) -> float:
    _, word, pair = cnn_constants(2, "gelu", sigma_w=nu**0.5)
    return pair / word / nu


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_frozen_readout": _frozen_readout,
    "check_longest_ngram": _longest_ngram,
    "check_negation_time": _negation_time,
    "check_padding": _padding,
    "check_small_variance": _small_variance,
}
