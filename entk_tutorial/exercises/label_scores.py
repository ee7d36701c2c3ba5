"""Exercises of the chapter on label scores: checks that name the likely mistake, solutions by computation."""

from __future__ import annotations

from collections.abc import Callable

from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.experiments.token_kernel_error import predicted_constants

COUNTS = (7, 3)
"""Occurrences of a word in positive and in negative sentences."""
FREQUENT, RARE = (2000, 1800), (19, 1)
"""The same for a frequent and for a rare word."""
WORDS, ERROR = 4000, 0.5
"""Vocabulary, and the relative error of first-step scores that is asked for."""


def check_velocity(answer: float) -> Answer:
    """Starting velocity of a word with ``COUNTS``: linear model, all scales 1, sum pooling.

    Example:
        >>> check_velocity(8)
        Not yet. You left out the residual: at f = 0 it is 1/2 in size.
    """
    right = _velocity()
    if close(answer, right):
        return Answer(True, "A - B = 2, times half of the difference of counts.")
    plus, minus = COUNTS
    mistakes = {
        2 * right: "You left out the residual: at f = 0 it is 1/2 in size.",
        right / 2: "The linear kernel has two groups, embedding and readout: A - B is 2.",
        float(plus + minus): "Negative sentences pull down: take the difference of the counts.",
        right / (plus + minus): "The velocity counts occurrences; it does not divide by them.",
        -right: "The sign: positive sentences pull up.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value)), None)
    return Answer(False, found or "Take half of (A - B) times the difference of counts, with A - B = 2 and B = 0.")


def _velocity() -> float:
    return 0.5 * 2 * (COUNTS[0] - COUNTS[1])


def check_race(answer: float) -> Answer:
    """Starting velocity of the frequent word over that of the rare one, without a bias.

    Example:
        >>> check_race(0.0585)
        Not yet. That is the ratio of the polarity rates. The velocity does not divide by the number of occurrences.
    """
    right = _race()
    if close(answer, right, 1e-2):
        return Answer(True, "A word that says nearly nothing is eleven times as fast as one that says nearly all.")
    rates = [(p - m) / (p + m) for p, m in (FREQUENT, RARE)]
    mistakes = {
        rates[0] / rates[1]: "That is the ratio of the polarity rates. The velocity does not divide by the number of "
        "occurrences.",
        1 / right: "The other way round: frequent over rare.",
        sum(FREQUENT) / sum(RARE): "That is the ratio of all occurrences; negative ones count against.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 1e-2)), None)
    return Answer(False, found or "Divide the two differences of counts.")


def _race() -> float:
    return (FREQUENT[0] - FREQUENT[1]) / (RARE[0] - RARE[1])


def check_width(answer: float) -> Answer:
    """Width at which first-step scores of ``WORDS`` words, tanh, are off by ``ERROR``; to 5 %.

    Example:
        >>> check_width(4000)
        Not yet. As wide as the vocabulary gives an error of c itself, more than one half.
    """
    right, c = _width(), predicted_constants("tanh").centred
    if answer > 0 and abs(answer / right - 1) < 0.05:
        return Answer(True, "More than half as wide again as the vocabulary, and the scores are still off by one half.")
    mistakes = {
        float(WORDS): "As wide as the vocabulary gives an error of c itself, more than one half.",
        WORDS * c / ERROR: "The error falls like the root of the width: square c / error.",
        WORDS * (ERROR / c) ** 2: "Upside down: a smaller error needs a larger width.",
        (c / ERROR) ** 2: "You left out the vocabulary.",
    }
    found = next((text for value, text in mistakes.items() if answer > 0 and abs(answer / value - 1) < 0.02), None)
    return Answer(False, found or "Solve c sqrt(V / n) = error for n, with c of predicted_constants('tanh').")


def _width() -> float:
    return WORDS * (predicted_constants("tanh").centred / ERROR) ** 2


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_velocity": _velocity,
    "check_race": _race,
    "check_width": _width,
}
