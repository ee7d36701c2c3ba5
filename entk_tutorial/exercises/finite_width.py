"""Exercises of the chapter on finite width: checks that name the likely mistake, and solutions by computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from entk_tutorial.empirical import cliffs, top_eigenpairs
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.experiments.finite_width import holm_rejections
from entk_tutorial.experiments.token_kernel_error import predicted_constants
from entk_tutorial.infinite import mlp_constants

HOLM_P = (0.0004, 0.0012, 0.002, 0.3)
"""The p-values of the exercise on Holm's procedure, at the level 0.0027."""


def check_width(answer: float) -> Answer:
    """Width at which the kernel of 5,000 tokens has a relative error of 0.1, tanh, variance 1.

    Example:
        >>> check_width(40)
        Not yet. That is c^2 / error^2, as for one token: the error grows like sqrt(V).
    """
    right = _width()
    if close(answer, right, 0.05):
        return Answer(True, "Forty times as many neurons as tokens: theory of single token scores needs n >> V.")
    c = predicted_constants("tanh").centred
    mistakes = {
        c**2 / 0.01: "That is c^2 / error^2, as for one token: the error grows like sqrt(V).",
        c**2 * 5000 / 0.1: "Divide by the square of the error: n = (c / 0.1)^2 V.",
        c * 5000 / 0.01: "The constant c is squared as well.",
        5000 / 0.01: "You left out the constant c of tanh.",
        c**2 * 5000: "That is the width for an error of 1.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 0.05)), None)
    return Answer(False, found or "Solve c sqrt(V / n) = 0.1 for n, with the c of tanh in the table.")


def _width() -> float:
    return predicted_constants("tanh").centred ** 2 * 5000 / 0.1**2


def check_linear_constant(answer: float) -> Answer:
    """The constant c of the error law for the identity as activation.

    Example:
        >>> check_linear_constant(1 / 3)
        Not yet. You left out the overlap of the embeddings, which enters through readout and W alike: 4 in the root.
    """
    if close(answer, _linear_constant(), 0.005):
        return Answer(True, "The square root of 1 + 4, over A = 3: odd activations come close to it.")
    mistakes = {
        1 / 3: "You left out the overlap of the embeddings, which enters through readout and W alike: 4 in the root.",
        2**0.5 / 3: "The overlap enters twice with the same sign, through readout and W: (1 + 1)^2 = 4, not 1.",
        3**0.5 / 3: "The two shares of the overlap are the same random number: add them before you square.",
        5**0.5: "Divide by A - B, the size of the diagonal: 3 for the linear model.",
        5 / 3: "Take the square root of the variance.",
        5**0.5 / 2: "A has three parts here, for v, W and E: 3, not 2.",
    }
    return _verdict(answer, mistakes, "Put Phi = 1, mu = 0 and E phi' = 1 into the formula; A = 3.", 0.005)


def _linear_constant() -> float:
    """From the definition: A of the linear MLP, and the variance of an off-diagonal entry."""
    a, b = mlp_constants("linear")
    return float((1 + 4) ** 0.5 / (a - b))


def check_holm(answer: int) -> Answer:
    """How many of the p-values of :data:`HOLM_P` Holm's procedure rejects at the level 0.0027.

    Example:
        >>> check_holm(3)
        Not yet. Three are below 0.0027 one by one; but four were tested.
    """
    if answer == _holm():
        return Answer(True, "0.0004 * 4 passes; 0.0012 * 3 does not, and the procedure stops there.")
    mistakes: dict[float, str] = {
        3: "Three are below 0.0027 one by one; but four were tested.",
        2: "0.0012 * 3 is above the level: after the first rejection three hypotheses are left.",
        0: "0.0004 * 4 is below the level.",
        4: "0.3 is no evidence against anything.",
    }
    return _verdict(answer, mistakes, "Sort; multiply the k-th smallest by how many are left; stop at the first miss.")


def _holm() -> int:
    return holm_rejections(HOLM_P)


def check_cliff(answer: Sequence[float]) -> Answer:
    """Index and height of the first cliff of the infinitely wide modular MLP at p = 113.

    Example:
        >>> check_cliff((57, 15.5))
        Not yet. Those are the numbers of p = 29.
    """
    if len(answer) != 2:
        return Answer(False, "Two numbers are asked for: the index and the eigenvalue ratio there.")
    index, ratio = (float(x) for x in answer)
    right = _cliff()
    if close(index, right[0]) and close(ratio, right[1], 1e-3):
        return Answer(True, "No training, no task: the geometry of two one-hot vectors.")
    if close(index, 57) and close(ratio, 15.5, 1e-3):
        return Answer(False, "Those are the numbers of p = 29.")
    if close(index, 224) or close(index, 226):
        return Answer(False, "Count again: one constant, and 2 (p - 1) functions of one digit before the drop.")
    if not close(index, right[0]):
        return Answer(False, "The drop comes after 1 + 2 (p - 1) = 2p - 1 eigenvalues.")
    if close(ratio, 113, 1e-3) or close(ratio, 115, 1e-3):
        return Answer(False, "The eigenvalues are b (p + 2) and 2 b: divide.")
    return Answer(False, "The index is right; the ratio is (p + 2) / 2.")


def _cliff(p: int = 113) -> tuple[float, float]:
    """Eigenvalues of a + b s^2 without its p^4 entries: it acts on functions of (n, m) through row and column sums."""
    small = 5  # the dense matrix at a small p fixes the pattern of multiplicities ...
    x = torch.eye(small, dtype=torch.float64)
    pairs = torch.cat([x.repeat_interleave(small, 0), x.repeat(small, 1)], 1)
    values = top_eigenpairs(1 + 1.5 * (pairs @ pairs.T).square(), small**2).values
    index = next(i for i in range(2, small**2) if cliffs(values).ratio(i) > 1.001)
    # ... and one centred function of n, one with both sums zero, give the two eigenvalues at p.
    g = torch.zeros(p, p, dtype=torch.float64)
    g[0], g[1] = 1.0, -1.0
    h = torch.zeros(p, p, dtype=torch.float64)
    h[:2, :2] = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    top, low = (
        float((1.5 * (f.sum(1, keepdim=True) + f.sum(0, keepdim=True) + 2 * f) + f.sum())[0, 0]) for f in (g, h)
    )
    return 2 * p - 1 if index == 2 * small - 1 else float("nan"), top / low


def _verdict(answer: float, mistakes: Mapping[float, str], otherwise: str, tolerance: float = 1e-6) -> Answer:
    found = next((text for value, text in mistakes.items() if close(answer, value, tolerance)), otherwise)
    return Answer(False, found)


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_width": _width,
    "check_linear_constant": _linear_constant,
    "check_holm": _holm,
    "check_cliff": _cliff,
}
