"""Exercises of the chapter on scaling up: checks that name the likely mistake; solutions by computation."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from entk_tutorial.exercises.base import Answer, close, number
from entk_tutorial.features.family_means import family_means
from entk_tutorial.features.windows import modular_windows

NEXT_PRIME = 197
"""The modulus of the first two exercises."""
MEMORY = 8.0
"""Gigabytes of memory that the second exercise has."""
WAVES = 101
"""The modulus of the third."""
GRADIENT = 0.16
"""First gradient of the fourth, in units of Adam's epsilon, with the loss averaged over 113 classes."""


def check_places(answer: tuple[float, float]) -> Answer:
    """Where the two cliffs should fall at p = 197, counted from 1.

    Example:
        >>> check_places((392, 784))
        Not yet. You left the constant mode out: it is index 1 and moves both cliffs
        by one.

    Raises:
        ValueError: an answer that is no pair of numbers.
    """
    try:
        first, second = (number(a) for a in answer)
    except (TypeError, ValueError) as error:
        raise ValueError("give two numbers, (first, second)") from error
    right = _places()
    if (first, second) == right:
        return Answer(True, "1 + 2(p - 1) and 1 + 4(p - 1): a constant, then four families of p - 1 functions.")
    p = NEXT_PRIME
    mistakes = {
        (2.0 * p - 2, 4.0 * p - 4): "You left the constant mode out: it is index 1 and moves both cliffs by one.",
        (2.0 * p, 4.0 * p): "A family has p - 1 functions, not p: the constant is in none of them.",
        (p + 0.0, 2.0 * p - 1): "A window holds two families: n and m, then sum and difference.",
        (right[0], 3.0 * p - 2): "The second window holds two families, sum and difference.",
    }
    return Answer(False, mistakes.get((first, second), "A constant, then windows of 2(p - 1) eigenvectors."))


def _places() -> tuple[float, float]:
    windows = modular_windows(NEXT_PRIME)
    return float(windows.edge1), float(windows.edge2)


def check_largest(answer: float) -> Answer:
    """The largest p whose kernel table on all pairs fits into 8 GB in single precision.

    Example:
        >>> check_largest(44721)
        Not yet. That is N: the table has one row for each of N = p*p pairs, not for
        each digit.
    """
    right = _largest()
    if close(answer, right):
        return Answer(True, "p^4 numbers of 4 bytes. Twice the memory buys a p that is 19 % larger.")
    n = math.isqrt(int(MEMORY * 1e9 / 4))
    mistakes = {
        float(n): "That is N: the table has one row for each of N = p*p pairs, not for each digit.",
        float(math.isqrt(math.isqrt(int(MEMORY * 1e9 / 8)))): "Single precision takes 4 bytes a number, not 8.",
        float(math.isqrt(math.isqrt(int(MEMORY * 1e9)))): "A number in single precision takes 4 bytes.",
        right + 1: "That one needs a little more than 8 GB: round down.",
        float(math.isqrt(math.isqrt(int(2 * MEMORY * 1e9 / 4)))): "The whole table is stored, both halves of it.",
    }
    return Answer(False, mistakes.get(number(answer), "N = p^2 rows and columns, 4 bytes each: solve 4 p^4 = 8e9."))


def _largest() -> float:
    return float(math.isqrt(math.isqrt(int(MEMORY * 1e9 / 4))))


def check_waves(answer: float) -> Answer:
    """Mean eigenvalue of the sum family over that of the rest, for one-wave neurons with balance 1 at p = 101.

    Example:
        >>> check_waves(25.25)
        Not yet. The sum family has its share of the first layer's kernel as well: add
        1.
    """
    right = _waves()
    if close(answer, right, 1e-4):
        return Answer(True, "1 + p/4. At p = 29 it would be 8.25: the gap grows with the modulus.")
    p = WAVES
    mistakes = {
        p / 4: "The sum family has its share of the first layer's kernel as well: add 1.",
        1 + p / 2: "A product of two waves is half a wave in n + m and half a one in n - m.",
        2.0: "That is the other ratio, n over sum, which does not depend on p.",
        1 + (p - 1) / 4: "Nearly: the second layer's part is p/(2(p - 1)H), the first layer's 2/((p - 1)H).",
    }
    otherwise = "Put s = ab and a = b = w = 1 into the two formulas and divide."
    return Answer(False, next((text for value, text in mistakes.items() if close(answer, value, 1e-4)), otherwise))


def _waves() -> float:
    angle = 2 * math.pi * torch.arange(WAVES, dtype=torch.float64) / WAVES
    wave = (math.sqrt(2) * torch.cos(angle)).repeat(2)[None]
    means = family_means(wave, torch.ones(WAVES, 1, dtype=torch.float64))
    return means["sum"] / means["rest"]


def check_epsilon(answer: float) -> Answer:
    """Size of Adam's first update over lr, when the gradient is .16 epsilon and the loss is averaged over classes.

    Example:
        >>> check_epsilon(1)
        Not yet. That is Adam without its epsilon: the gradient divided by its own size.
    """
    right = _epsilon()
    if close(answer, right, 0.006):
        return Answer(True, "Summed over the 113 classes the gradient is 18 epsilon, and the step 0.95 of lr.")
    mistakes = {
        1.0: "That is Adam without its epsilon: the gradient divided by its own size.",
        GRADIENT: "Epsilon is added to the gradient's size, it does not replace it.",
        1 / (1 + GRADIENT): "Turn it round: the gradient is above the line, gradient plus epsilon below.",
        0.9476: "That is the step after the loss is summed over classes.",
    }
    otherwise = "The first step is |g| / (|g| + epsilon), with |g| = 0.16 epsilon."
    return Answer(False, next((text for value, text in mistakes.items() if close(answer, value, 0.006)), otherwise))


def _epsilon() -> float:
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight], lr=1.0, eps=1.0)
    weight.grad = torch.full_like(weight, GRADIENT)
    optimizer.step()
    return float(weight.detach().abs())


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_places": _places,
    "check_largest": _largest,
    "check_waves": _waves,
    "check_epsilon": _epsilon,
}
