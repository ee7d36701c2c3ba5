"""Exercises of the chapter on the activation bias: checks that name the likely mistake, solutions by computation."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import brentq

from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.infinite import mlp_constants

NEAR = 2e-3


def check_raw(answer: float) -> Answer:
    """B / (A - B) of relu for raw weights, with embedding and hidden scale .1 and readout scale .3.

    Example:
        >>> check_raw(0.1187)
        Not yet. That is for scaled weights, or for equal scales.
    """
    if close(answer, _raw(), 3e-4):
        return Answer(True, "A larger raw readout speeds up W and E, which carry no bias.")
    mistakes = {0.1187: "That is for scaled weights, or for equal scales."}
    found = next((text for value, text in mistakes.items() if close(answer, value, 3e-4)), None)
    return Answer(False, found or "Divide each group's kernel by the variance of its weights, then add them up.")


def _raw(v: float = 0.3) -> float:
    nu = 0.1**4
    bias = nu / (2 * math.pi)
    return bias / (nu / 2 - bias + 0.5 * v**2 * (0.1**2 + 0.1**2))


def check_half(answer: float) -> Answer:
    """The variance at which GELU's B / (A - B) is half of relu's.

    Example:
        >>> check_half(0.01)
        Not yet. GELU's ratio at this variance is smaller than half of relu's: go up.
    """
    if answer <= 0:
        return Answer(False, "A variance is positive.")
    if abs(math.log(answer / _half())) < 0.03:
        return Answer(True, "Below it GELU is nearer to tanh, above it nearer to relu.")
    side = "smaller than half of relu's: go up." if answer < _half() else "larger than half of relu's: go down."
    return Answer(False, f"GELU's ratio at this variance is {side}")


def _ratio(activation: str, nu: float) -> float:
    same, different = mlp_constants(activation, sigma_w=nu**0.5)
    return different / (same - different)


def _half() -> float:
    return float(brentq(lambda nu: _ratio("gelu", nu) - 0.5 * _ratio("relu", nu), 1e-3, 10))


def check_mean(answer: float) -> Answer:
    """Starting velocity of an unseen word: relu, all scales 1, mean pooling, 192 positive and 48 negative documents.

    Example:
        >>> check_mean(0)
        Not yet. With relu and unequal classes it is not 0.
    """
    right = _mean()
    if close(answer, right, 1e-2):
        return Answer(True, "Half of B times the excess of positive documents.")
    mistakes = {
        2 * right: "The residual at f = 0 is one half.",
        8 * right: "That is sum pooling: tokens, not documents.",
        0.0: "With relu and unequal classes it is not 0.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 1e-2)), None)
    return Answer(False, found or "B (N+ - N-) / 2, with the numbers of documents and B = 1 / (2 pi).")


def _mean() -> float:
    return 0.5 * mlp_constants("relu")[1] * (192 - 48)


SOLUTIONS: dict[str, Callable[[], object]] = {"check_raw": _raw, "check_half": _half, "check_mean": _mean}
