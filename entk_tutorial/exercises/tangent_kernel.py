"""Exercises of the chapter on the tangent kernel: checks that name the likely mistake, and solutions by computation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from entk_tutorial.empirical import empirical_ntk, functional
from entk_tutorial.exercises.base import Answer, close, number
from entk_tutorial.experiments.tangent_kernel import Config, infinite_kernel
from entk_tutorial.infinite.gradient_flow import critical_learning_rate
from entk_tutorial.models.regression import WideMLP, circle
from entk_tutorial.training import train


def check_kernel_by_hand(answer: float) -> Answer:
    """K(0, 1) of the model a (x + b)^2 at a = 2, b = 1.

    Example:
        >>> check_kernel_by_hand(4)
        Not yet. That is the share of a alone; b is a parameter too, with derivative 2a(x + b).
    """
    if close(answer, _kernel_by_hand()):
        return Answer(True, "4 from a, 32 from b: a step on one input moves the other mainly through b.")
    mistakes = {
        4: "That is the share of a alone; b is a parameter too, with derivative 2a(x + b).",
        32: "That is the share of b alone; a is a parameter too, with derivative (x + b)^2.",
        16: "That is the product of the outputs, f(0) f(1). The kernel multiplies gradients, not outputs.",
        12: "The derivative by b is 2a(x + b); you left out the factor a.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value)), None)
    return Answer(False, found or "Write the derivatives by a and by b at x = 0 and at x = 1, multiply pairwise, add.")


def _kernel_by_hand() -> float:
    params = {"a": torch.tensor([2.0], dtype=torch.float64), "b": torch.tensor([1.0], dtype=torch.float64)}
    model = functional(lambda p, x: p["a"] * (x + p["b"]) ** 2, params)
    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    return float(_matrix(empirical_ntk(model, x))[0, 1])


def check_critical_rate(answer: float) -> Answer:
    """Largest learning rate for the kernel ((2, 1), (1, 2)) and the mean loss over two examples.

    Example:
        >>> check_critical_rate(2 / 3)
        Not yet. That is the limit for the summed loss; the mean makes every step N = 2 times smaller.
    """
    if close(answer, _critical_rate(), 1e-2):
        return Answer(True, "The mean divides the kernel by N, so the limit 2 / (largest eigenvalue) grows N times.")
    mistakes = {
        2 / 3: "That is the limit for the summed loss; the mean makes every step N = 2 times smaller.",
        1 / 3: "1 / (largest eigenvalue) removes that mode in one step; the limit is where 1 - eta lambda reaches -1, "
        "and the mean over N = 2 counts as well.",
        4.0: "You took the smallest eigenvalue, 1. The fastest mode diverges first.",
        1.0: "You used the trace or a diagonal entry of the kernel; the eigenvalues are 3 and 1.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 1e-2)), None)
    return Answer(False, found or "Find the largest eigenvalue of K / N, and where |1 - eta lambda| reaches 1.")


def _critical_rate() -> float:
    kernel = torch.tensor([[2.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    return critical_learning_rate(kernel, "mse", "mean")


def check_steps(answer: float) -> Answer:
    """Steps until frequency 3 is down to one per cent, at half the inverse of the largest eigenvalue.

    Example:
        >>> check_steps(7)
        Not yet. That is the time of frequency 1, the fastest. Frequency 3 has a much smaller eigenvalue.
    """
    answer = number(answer)
    if abs(answer - _steps(3)) <= 2:
        return Answer(True, "The eigenvalue ratio alone sets the time; the size of the residual does not matter.")
    whole = _steps(3, rate=1.0)
    mistakes = {
        float(_steps(1)): "That is the time of frequency 1, the fastest. Frequency 3 has a much smaller eigenvalue.",
        float(_steps(5)): "That is the time of frequency 5; its eigenvalue is yet smaller.",
        float(
            whole
        ): "Half of the right number: you left out the half in the learning rate (or stopped at ten per cent).",
        float(_steps(3, left=0.5)): "That is the time until half is gone; one per cent is to be left.",
    }
    found = next((text for value, text in mistakes.items() if abs(answer - value) <= 2), None)
    return Answer(False, found or "Solve (1 - eta lambda)^s = 0.01 with eta lambda = half the eigenvalue ratio.")


def _steps(frequency: int, *, rate: float = 0.5, left: float = 0.01) -> int:
    values = torch.linalg.eigvalsh(infinite_kernel(Config())[:12, :12]).flip(0)
    share = float(values[frequency - 1] / values[0])  # pairs of equal eigenvalues: 1, 1, 3, 3, 5, 5
    return math.ceil(math.log(left) / math.log(1 - rate * share))


def check_floor(answer: float) -> Answer:
    """Smallest loss on 1 + sin t + cos(3t)/2 + cos 2t at twelve points of the circle, without biases.

    Example:
        >>> bool(check_floor(9))
        True
    """
    if close(answer, _even_part(), 1e-3):
        return Answer(True, "The constant costs 6 and cos 2t costs 3; the odd waves are learned to the last digit.")
    mistakes = {
        0.0: "More weights than points do not help: the network is odd for every choice of weights.",
        3.0: "cos 2t costs 3, and the constant 1 is even as well.",
        6.0: "The constant costs 6, and cos 2t is even as well.",
        18.0: "You left out the factor one half of the loss.",
        12.0: "You gave cos 2t the price of the constant; the square of a wave has mean one half.",
        9.75: "cos 3t changes sign at the opposite point (3 is odd), so it can be learned.",
        0.75: "You took the mean over the points; the loss of this chapter is a sum.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 1e-3)), None)
    return Answer(False, found or "Half the sum over twelve points of the squared even part of the target.")


def _floor_task() -> tuple[Tensor, Tensor]:
    x, y = circle(12)
    t = torch.atan2(x[:, 1:], x[:, :1])
    return x, y + 1 + torch.cos(2 * t)


def _even_part() -> float:
    """Loss of the part that is equal at opposite points, which are six steps apart."""
    target = _floor_task()[1]
    return float(0.5 * ((target + target.roll(6, 0)) / 2).square().sum())


def _floor() -> float:
    """The same by training."""
    x, target = _floor_task()
    model = WideMLP(2, 128, seed=0)
    sgd = torch.optim.SGD(model.parameters(), lr=0.2)
    train(model, lambda net: 0.5 * (net(x) - target).square().sum(), sgd, 2000)
    return float(0.5 * (model(x) - target).square().sum().detach())


def check_scaling(answer: float) -> Answer:
    """Exponent of the relative kernel change in the width, for an output scale n**-0.75.

    Example:
        >>> check_scaling(0)
        Not yet. That is the mean-field scaling, s = 1, where the kernel moves by order one at any width.
    """
    answer = number(answer)
    if abs(answer + 0.5) <= 0.12:
        return Answer(True, "The exponent is 2s - 2: lazy at s = 1/2, rich at s = 1, and a continuum between.")
    mistakes = {
        -1.0: "That is the NTK scaling, s = 1/2. Count again with s = 3/4; time is longer, too: n^(2s - 1).",
        0.0: "That is the mean-field scaling, s = 1, where the kernel moves by order one at any width.",
        -0.75: "That is the path through O3 alone, s - 3/2. The one through O4 is larger: it has no random signs.",
        -1.5: "You counted the change of K; divide it by K itself, which is of order n^(1 - 2s).",
        0.5: "Check the sign: at a larger width the kernel moves less.",
    }
    found = next((text for value, text in mistakes.items() if abs(answer - value) <= 0.12), None)
    return Answer(False, found or "K ~ n^(1-2s), time ~ 1/K, change ~ n^(1-4s) time^2; divide by K.")


def _scaling(widths: tuple[int, ...] = (256, 1024, 4096), networks: int = 4) -> float:
    """Measured: slope of the root mean square change over widths."""
    x, y = circle(12)
    changes = []
    for width in widths:
        found = []
        for seed in range(networks):
            model = WideMLP(2, width, seed)
            model.scale = width**-0.75
            before = _matrix(empirical_ntk(model, x))
            sgd = torch.optim.SGD(model.parameters(), lr=0.5 / float(torch.linalg.eigvalsh(before)[-1]))
            train(model, lambda net: 0.5 * (net(x) - y).square().sum(), sgd, 100)
            found.append(float((_matrix(empirical_ntk(model, x)) - before).norm() / before.norm()))
        changes.append(np.sqrt(np.mean(np.square(found))))
    return float(np.polyfit(np.log(widths), np.log(changes), 1)[0])


def _matrix(kernel: Tensor | dict[str, Tensor]) -> Tensor:
    assert isinstance(kernel, Tensor)
    return kernel


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_kernel_by_hand": _kernel_by_hand,
    "check_critical_rate": _critical_rate,
    "check_steps": lambda: _steps(3),
    "check_floor": _floor,
    "check_scaling": _scaling,
}
