"""Exercises of the chapter on the MLP text models: checks that name the likely mistake, solutions by computation."""

from __future__ import annotations

import math
from collections.abc import Callable

from entk_tutorial.data.sentences import encode, toy_reviews
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.infinite import activation_mean, dual_activation, label_scores, mlp_constants, mlp_kernel

NEAR = 2e-3  # relative to 1; enough for an answer with three decimals


def check_frozen(answer: float) -> Answer:
    """B / (A - B) for relu when the embedding is frozen, in NTK parametrisation.

    Example:
        >>> check_frozen(0.1187)
        Not yet. That is the ratio with all groups trained; the embedding's share of A is gone.
    """
    if close(answer, _frozen(), NEAR):
        return Answer(True, "A loses nu/2, B loses nothing: the bias lives in the readout.")
    mistakes = {
        _relu_ratio("E", "W"): "You froze the hidden layer as well; nu/2 of A comes from W.",
        _relu_ratio(): "That is the ratio with all groups trained; the embedding's share of A is gone.",
        1 / (2 * math.pi): "That is B / A. The question is about B / (A - B).",
        0.0: "B would be 0 if the readout were frozen. The embedding has no part in it.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, NEAR)), None)
    return Answer(False, found or "Add up what v and W contribute to A: E phi^2 + nu E phi'^2. Then B = mu^2.")


def _relu_ratio(*frozen: str) -> float:
    kernel = mlp_kernel([[0], [1]])
    table = kernel.without(*frozen).ntk if frozen else kernel.ntk
    return float(table[0, 1] / (table[0, 0] - table[0, 1]))


def _frozen() -> float:
    return _relu_ratio("E")


def check_leaky(answer: float) -> Answer:
    """B / (A - B) for u if u > 0, u / 2 otherwise.

    Example:
        >>> check_leaky(0.1187)
        Not yet. That is relu itself, with slope 0 below.
    """
    if close(answer, _leaky(), 2e-4):
        return Answer(True, "Half of the leak removes more than four fifths of the bias.")
    mean, square = 0.5 / math.sqrt(2 * math.pi), 0.5 * (1 + 0.25)
    mistakes = {
        _relu_ratio(): "That is relu itself, with slope 0 below.",
        mean**2 / (3 * square): "That is B / A. The question is about B / (A - B).",
        mean**2 / (square - mean**2): "That is the readout's ratio alone; W and E add 2 nu E phi'^2 to A.",
        mean / (3 * square - mean): "B is the square of the mean mu.",
        9 * mean**2 / (3 * square - 9 * mean**2): "Check the mean: below 0 the function is negative, so the two halves "
        "partly cancel: (1 - 1/2) / sqrt(2 pi).",
        0.0: "The function is not odd: its slopes differ on the two sides.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 2e-4)), None)
    return Answer(False, found or "At nu = 1: mu = (1 - 1/2) / sqrt(2 pi), and both second moments are (1 + 1/4) / 2.")


def _leaky(slope: float = 0.5) -> float:
    """From relu's own duals: leaky(u) = relu(u) - slope relu(-u), and -u has covariance -1 with u."""
    same, mirror = dual_activation("relu", 1.0, 1.0, 1.0), dual_activation("relu", 1.0, 1.0, -1.0)
    square = (1 + slope**2) * float(same.value) - 2 * slope * float(mirror.value)
    derivative = (1 + slope**2) * float(same.derivative) + 2 * slope * float(mirror.derivative)
    bias = ((1 - slope) * float(activation_mean("relu", 1.0))) ** 2
    return bias / (square + 2 * derivative - bias)


def check_unseen(answer: float) -> Answer:
    """Starting velocity of an unseen word's score: relu, all scales 1, sum pooling, three positive blocks to one.

    Example:
        >>> check_unseen(0)
        Not yet. With relu it is not 0: the readout's E phi is positive, and the classes are unbalanced.
    """
    right = _unseen()
    if close(answer, right, NEAR):
        return Answer(True, "Half of B times the excess of tokens in the positive class.")
    mistakes = {
        2 * right: "You left out the one half: the residual at f = 0 is y - 1/2.",
        16 / 40 * right: "That is mean pooling, which counts documents. Under the sum, tokens count.",
        1.5 * right: "You counted the positive class only; the negative one pulls the other way.",
        -right: "The sign: the positive class has more tokens, and pulls up.",
        right * 2 * math.pi: "You took B = 1. For relu at nu = 1 it is 1 / (2 pi).",
        right * math.sqrt(2 * math.pi): "B is the square of the mean 1 / sqrt(2 pi).",
        0.0: "With relu it is not 0: the readout's E phi is positive, and the classes are unbalanced.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, NEAR)), None)
    return Answer(False, found or "B (L+ - L-) / 2, with L the number of tokens in a class.")


def _unseen() -> float:
    documents, labels = toy_reviews(3, 1)
    return float(label_scores(mlp_kernel([encode("plot")], documents).ntk, labels))


def check_shift(answer: float) -> Answer:
    """The constant to subtract from relu so that its mean is 0 at variance 2.

    Example:
        >>> check_shift(0.3989)
        Not yet. That is the mean at variance 1; it grows like the root of the variance.
    """
    right = _shift()
    if close(answer, right, NEAR):
        return Answer(
            True, "At this variance only: at 1/2 the mean of the shifted function is negative, and B > 0 again."
        )
    mistakes = {
        right / math.sqrt(2): "That is the mean at variance 1; it grows like the root of the variance.",
        right * math.sqrt(2): "The mean grows like the root of the variance, not like the variance.",
        right**2: "That is B itself, the square of the mean.",
        -right: "The sign: phi(u) = max(u, 0) - m needs a positive m.",
        1.0: "That is E phi^2. The bias needs the mean.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, NEAR)), None)
    return Answer(False, found or "Take the mean of max(u, 0) for a Gaussian u of variance 2.")


def _shift() -> float:
    return float(activation_mean("relu", 2.0))


def check_factor(answer: float) -> Answer:
    """By which factor GELU's B / (A - B) is smaller than relu's when both scales are 1/10.

    Example:
        >>> check_factor(56)
        Not yet. That is for nu = 1/100. Both scales enter squared: nu = sigma_w^2 sigma_e^2.
    """
    right = _factor()
    if answer > 0 and abs(math.log(answer / right)) < 0.03:
        return Answer(True, "At such a scale GELU is tanh for every practical purpose.")
    mistakes = {
        right / 100: "That is for nu = 1/100. Both scales enter squared: nu = sigma_w^2 sigma_e^2.",
        1 / right: "The question is how many times smaller: the inverse of that.",
        _factor("silu"): "That is SiLU, whose ratio is nu / 12.",
    }
    near = (text for value, text in mistakes.items() if answer > 0 and abs(math.log(answer / value)) < 0.03)
    return Answer(False, next(near, "GELU: 2 nu / (3 pi) at small nu. Relu: 1 / (3 pi - 1) at every nu. Divide."))


def _factor(activation: str = "gelu") -> float:
    same, different = mlp_constants(activation, sigma_e=0.1, sigma_w=0.1)
    return _relu_ratio() * (same - different) / different


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_frozen": _frozen,
    "check_leaky": _leaky,
    "check_unseen": _unseen,
    "check_shift": _shift,
    "check_factor": _factor,
}
