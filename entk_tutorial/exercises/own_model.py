"""Exercises of the chapter on a reader's own model: checks that name the likely mistake; solutions by computation."""

from __future__ import annotations

from collections.abc import Callable

import torch

from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.features.alignment import overlap_chance
from entk_tutorial.survey import SamplingError

OUTPUTS, DIRECTIONS = 384, 8
SAMPLE, TOPICS = 192, 7
QUARTER, HALF = 0.24, 0.18
"""Mean distances of the eigenspaces of quarters from halves, and of halves from the whole."""
HIDDEN = ((1.0, 1.0), (2.0, 1.0))
"""Pooled hidden vectors of two inputs, before a linear head with bias and two outputs."""


def check_scale(answer: float) -> Answer:
    """By which factor A = 8 directions with entries of variance 1 overstate the trace over 384 outputs, on average.

    Example:
        >>> check_scale(48)
        Not yet. The number of outputs cancels: each direction already sums over all of
        them.
    """
    if close(answer, _scale()):
        return Answer(True, "Each direction alone has the whole trace as its mean; eight of them add up.")
    mistakes = {
        1.0: "That is so with entries of variance 1/A; here it is 1.",
        OUTPUTS / DIRECTIONS: "The number of outputs cancels: each direction already sums over all of them.",
        1 / DIRECTIONS: "The other way round: more directions, more terms.",
        float(OUTPUTS): "The outputs are summed over in the trace, too.",
        float(
            DIRECTIONS**2
        ): "The variance of an entry enters once: K is quadratic in r, its mean linear in the variance.",
    }
    return _verdict(answer, mistakes, "The mean of r' K r is the sum over c of K_cc times the variance of an entry.")


def _scale() -> float:
    # The mean of sum_a r_a' K r_a for K = identity, over its trace.
    mean_of_one = torch.eye(OUTPUTS, dtype=torch.float64).trace() * 1.0
    return float(DIRECTIONS * mean_of_one / OUTPUTS)


def check_chance(answer: float) -> Answer:
    """Overlap by chance of 16 centred directions with the seven dimensions of topic, over 192 sentences.

    Example:
        >>> check_chance(16 / 191)
        Not yet. That is the share, the overlap divided by seven; the overlap was asked
        for.
    """
    if close(answer, _chance(), 1e-4):
        return Answer(True, "About six tenths of one dimension, out of seven.")
    mistakes = {
        16 / (SAMPLE - 1): "That is the share, the overlap divided by seven; the overlap was asked for.",
        16 * TOPICS / SAMPLE: "Both avoid the constant: one dimension less is left for them.",
        16 * (TOPICS + 1) / (SAMPLE - 1): "Eight topics have seven dimensions once centred.",
        16 / TOPICS: "Chance depends on how many inputs there are.",
    }
    return _verdict(answer, mistakes, "d k / (N - 1), see overlap_chance with excluded=1.", 1e-4)


def _chance() -> float:
    return overlap_chance(16, TOPICS, SAMPLE, excluded=1)


def check_endless(answer: float) -> Answer:
    """Distance from endless inputs where quarters are .24 from halves and halves .18 from the whole.

    Example:
        >>> check_endless(0.18)
        Not yet. That holds where a doubling halves the distance; here it leaves three
        quarters.
    """
    if close(answer, _endless(), 1e-4):
        return Answer(True, "More than half of the space is not settled yet: read fewer directions, or draw more.")
    mistakes = {
        HALF: "That holds where a doubling halves the distance; here it leaves three quarters.",
        HALF * HALF / QUARTER: "That is the next doubling alone; after it come others.",
        HALF / (1 - HALF / QUARTER): "The step from N/2 to N is behind you: start with the next one.",
        QUARTER + HALF: "Those steps are behind you; the coming ones are asked for.",
    }
    return _verdict(answer, mistakes, "r = m(N/2) / m(N/4), and r / (1 - r) times m(N/2).", 1e-4)


def _endless() -> float:
    return SamplingError(HALF, QUARTER, 0.95).endless


def check_head(answer: float) -> Answer:
    """Trace kernel of a linear head with bias and two outputs between inputs with hidden vectors (1, 1) and (2, 1).

    Example:
        >>> check_head(6)
        Not yet. The bias has a gradient, too: 1 for each output.
    """
    if close(answer, _head()):
        return Answer(True, "C (h.h' + 1): the uncentred Gram of the pooled activations, and a constant. That is PCA.")
    mistakes = {
        6.0: "The bias has a gradient, too: 1 for each output.",
        4.0: "That is one output; the trace sums over both.",
        3.0: "The scalar product of the vectors is one output's share, and the bias is missing.",
        10.0: "The bias counts once an output, not the width.",
    }
    return _verdict(answer, mistakes, "For each output: gradient h for its row of the weight, and 1 for its bias.")


def _head() -> float:
    from entk_tutorial.empirical import empirical_ntk

    kernel = empirical_ntk(torch.nn.Linear(2, 2).double(), torch.tensor(HIDDEN, dtype=torch.float64))
    assert isinstance(kernel, torch.Tensor)
    return float(kernel[0, 1])


def _verdict(answer: float, mistakes: dict[float, str], otherwise: str, tolerance: float = 1e-6) -> Answer:
    told = next((text for value, text in mistakes.items() if close(answer, value, tolerance)), otherwise)
    return Answer(False, told)


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_scale": _scale,
    "check_chance": _chance,
    "check_endless": _endless,
    "check_head": _head,
}
