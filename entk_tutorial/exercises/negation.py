"""Exercises of the chapter on negation: checks that name the likely mistake; solutions by computation."""

from __future__ import annotations

from collections.abc import Callable

import torch

from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.infinite import double_difference

ADDED = {"not": -0.9, "good": 0.5, "great": 1.4, "bad": -0.7}
"""Scores of a model that adds them up."""
PAIRS = (-0.8, -0.3, 0.9, 0.1)
"""Outputs on "not good", "not u", "z good" and "z u"."""
HELD_OUT = (-0.4, 1.1, 0.0)
"""Outputs of MV on "not u", "z w" and "z u" for a word w that training never negates."""
TURNED, NUMBER = 14, 46
"""Pairs of a negation and a telling word whose double difference points to negation, and all such pairs."""


def check_additive_flips(answer: float) -> Answer:
    """How many of good, great and bad an additive model with the scores :data:`ADDED` flips.

    Example:
        >>> check_additive_flips(2)
        Not yet. Great keeps its sign: 1.4 - 0.9 is still positive.
    """
    if close(answer, _additive_flips()):
        return Answer(True, "Only good: a dislike of not outvotes weak positive words, without any composition.")
    mistakes = {
        0.0: "A model that adds can flip: 0.5 - 0.9 is negative.",
        2.0: "Great keeps its sign: 1.4 - 0.9 is still positive.",
        3.0: "Bad becomes more negative still, and great stays positive.",
    }
    return _verdict(answer, mistakes, "Add the score of not to each word, and compare signs.")


def _additive_flips() -> float:
    words = [score for word, score in ADDED.items() if word != "not"]
    return float(sum(score * (score + ADDED["not"]) < 0 for score in words))


def check_double_difference(answer: float) -> Answer:
    """Double difference of the four outputs :data:`PAIRS`.

    Example:
        >>> check_double_difference(-1.4)
        Not yet. You left out "z u", which belongs in with a plus.
    """
    if close(answer, _double_difference()):
        return Answer(True, "After not, good says 1.3 less than it says elsewhere.")
    mistakes = {
        -1.4: 'You left out "z u", which belongs in with a plus.',
        -1.5: 'The sign of "z u" is plus: it was subtracted twice.',
        -1.7: 'That compares "not good" with "z good" alone; the score of not itself is still in it.',
        1.3: "The sign is the other way round.",
        -0.1: "That adds all four outputs.",
    }
    return _verdict(answer, mistakes, "f(not good) - f(not u) - f(z good) + f(z u).")


def _double_difference() -> float:
    return float(double_difference(torch.tensor(PAIRS, dtype=torch.float64)))


def check_held_out(answer: float) -> Answer:
    """Output of MV on "not w" for a held-out word w, from the outputs :data:`HELD_OUT`.

    Example:
        >>> check_held_out(-1.1)
        Not yet. That is true negation; a pair never seen has no weight of its own.
    """
    if close(answer, _held_out()):
        return Answer(True, "The pair has no weight, so the outputs add, and the word keeps its sign.")
    mistakes = {
        -1.1: "That is true negation; a pair never seen has no weight of its own.",
        -1.5: "That turns the word and adds not; nothing turns a word whose pair was never seen.",
        1.1: "Not has a score of its own, which is added.",
        -0.4: "The word keeps what it says elsewhere, 1.1.",
        0.0: "The bigram says nothing, but the words do.",
    }
    return _verdict(answer, mistakes, "Set the double difference to 0 and solve for f(not w).")


def _held_out() -> float:
    not_u, z_w, z_u = HELD_OUT
    return not_u + z_w - z_u


def check_sign_test(answer: float) -> Answer:
    """Standard deviations between :data:`TURNED` of :data:`NUMBER` and the mean of as many coin tosses.

    Example:
        >>> check_sign_test(2.65)
        Not yet. Fourteen is fewer than half: the sign is minus.
    """
    if close(answer, _sign_test(), 1e-2):
        return Answer(True, "A coin would rarely do that; but pairs that share sentences and words are no coins.")
    mistakes = {
        -_sign_test(): "Fourteen is fewer than half: the sign is minus.",
        -9.0: "That is the distance in pairs; divide by the standard deviation.",
        -1.33: "The standard deviation is half the root of the number, not the root.",
        -0.78: "You divided by the variance, 11.5; take its root.",
    }
    wrong = (text for value, text in mistakes.items() if close(answer, value, 1e-2))
    return Answer(False, next(wrong, "(observed - n/2) / (root of n / 2)."))


def _sign_test() -> float:
    return (TURNED - NUMBER / 2) / (NUMBER**0.5 / 2)


def _verdict(answer: float, mistakes: dict[float, str], otherwise: str) -> Answer:
    return Answer(False, next((text for value, text in mistakes.items() if close(answer, value)), otherwise))


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_additive_flips": _additive_flips,
    "check_double_difference": _double_difference,
    "check_held_out": _held_out,
    "check_sign_test": _sign_test,
}
