"""Exercises of the chapter on computing the kernel: checks that name the likely mistake, and computed solutions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from entk_tutorial.empirical import empirical_ntk, jacobian
from entk_tutorial.empirical.structured import rule_operations
from entk_tutorial.exercises.base import Answer, close, number

Distance = Callable[[Tensor, Tensor], Tensor | float]


def check_reductions(trace: float, mean_logit: float) -> Answer:
    """Trace and mean-logit kernel of a linear map to ten outputs at two inputs with scalar product 3.

    Example:
        >>> check_reductions(3, 3)
        Not yet. 3 is the mean of the diagonal; the trace of this package is the sum over the ten outputs.
    """
    trace, mean_logit = number(trace), number(mean_logit)
    right_trace, right_mean = _reductions()
    if not close(trace, right_trace):
        mistakes = {
            3.0: "3 is the mean of the diagonal; the trace of this package is the sum over the ten outputs.",
            300.0: "300 would be the sum over all 100 pairs if outputs shared weights; they have a row each.",
            90.0: "You squared the scalar product; one gradient of each input enters, so x.x' comes once.",
        }
        found = next((text for value, text in mistakes.items() if close(trace, value)), None)
        return Answer(False, found or "Trace: the gradient of output c is x, in row c of the weight. Sum over c.")
    if not close(mean_logit, right_mean):
        mistakes = {
            3.0: "For the mean logit all 100 pairs of outputs count, and 90 are zero here: divide by 100, not by 10.",
            0.03: "You divided by 100 but summed only one output of the ten.",
            30.0: "That is the trace again; the mean logit is the mean over all 100 pairs (c, c').",
        }
        found = next((text for value, text in mistakes.items() if close(mean_logit, value)), None)
        return Answer(False, found or "Mean logit: the mean over all pairs (c, c'), of which ten are not zero.")
    return Answer(True, "A factor of 100 between two tables that are both called an average somewhere.")


def _reductions() -> tuple[float, float]:
    model = nn.Linear(2, 10, bias=False).double()
    x1, x2 = torch.tensor([[1.0, 1.0]], dtype=torch.float64), torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    values = [empirical_ntk(model, x1, x2, reduce=r) for r in ("trace", "mean_logit")]
    assert all(isinstance(v, Tensor) for v in values)
    return float(values[0]), float(values[1])  # type: ignore[arg-type]


def check_jacobian_gib(answer: float) -> Answer:
    """GiB of the Jacobian of a million parameters and ten outputs on 1,000 inputs, float32.

    Example:
        >>> check_jacobian_gib(3.7)
        Not yet. Every output has its own gradient: multiply by C = 10.
    """
    answer = number(answer)
    if abs(answer - _jacobian_gib()) <= 0.3:
        return Answer(True, "More than most machines have, for a small model and few inputs.")
    mistakes = {
        3.7: "Every output has its own gradient: multiply by C = 10.",
        9.3: "That is the number of entries in units of 2^30; each takes four bytes.",
        40.0: "Those are gigabytes of 10^9 bytes; a GiB has 2^30.",
        74.5: "That is float64; float32 has four bytes.",
        0.04: "You seem to have left out the inputs or the outputs.",
    }
    found = next((text for value, text in mistakes.items() if abs(answer - value) <= 0.04 * value), None)
    return Answer(False, found or "Bytes = 4 N C P; one GiB = 2^30 bytes.")


def _jacobian_gib() -> float:
    """From the Jacobian of a small model, scaled up by its three axes."""
    small = jacobian(nn.Linear(4, 2, bias=False), torch.ones(3, 4))
    assert isinstance(small, Tensor)
    n, c, p = small.shape
    return small.numel() * small.element_size() * (1000 / n) * (10 / c) * (1e6 / p) / 2**30


class _Twice(nn.Module):
    """f(x) = w (w x), one layer called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        nn.init.constant_(self.layer.weight, 3.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(self.layer(x))
        return out


def check_twice(answer: float) -> Answer:
    """K(1, 1) of f(x) = w (w x) at w = 3.

    Example:
        >>> check_twice(18)
        Not yet. You added the kernels of the two calls; the double sum has two cross terms as well.
    """
    if close(answer, _twice()):
        return Answer(True, "Four terms of 9 each; half of the kernel is cross terms.")
    mistakes = {
        18.0: "You added the kernels of the two calls; the double sum has two cross terms as well.",
        9.0: "That is one of four terms.",
        27.0: "There are two cross terms: (first, second) and (second, first).",
        81.0: "That is the product of the outputs, f(1)^2. The kernel multiplies gradients.",
        6.0: "That is the derivative of w^2 at 3. The kernel multiplies two of them.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value)), None)
    return Answer(False, found or "Inputs of the calls: 1 and 3. Cotangents: 3 and 1. Sum four products.")


def _twice() -> float:
    k = empirical_ntk(_Twice(), torch.ones(1, 1, dtype=torch.float64))
    assert isinstance(k, Tensor)
    return float(k)


def check_crossover(answer: float) -> Answer:
    """Tokens from which on written gradients are cheaper, for a layer from 512 to 512 and one output.

    Example:
        >>> check_crossover(256)
        Not yet. You compared T with I O / (I + O); every pair of tokens counts, so T squared.
    """
    answer, right = number(answer), _crossover()
    if answer == right:
        return Answer(True, "The double sum grows with the square of the length.")
    if answer == right - 1:
        return Answer(False, "At this length the two cost the same, T^2 (I + O) = I O; cheaper is the next one.")
    if abs(answer - right) <= 2:
        return Answer(False, "Close. T is a whole number, and the first one at which T^2 (I + O) exceeds I O.")
    mistakes = {
        256: "You compared T with I O / (I + O); every pair of tokens counts, so T squared.",
        512: "You compared T I with I O; both factors are paired, T^2 (I + O).",
        23: "Both the inputs' and the cotangents' products cost: I + O, not O alone.",
        1: "For one token the double sum costs I + O, far less than I O.",
    }
    found = next((text for value, text in mistakes.items() if abs(answer - value) <= 1), None)
    return Answer(False, found or "Solve T^2 (I + O) = I O with I = O = 512.")


def _crossover(n: int = 10**6) -> int:
    for length in range(1, 1000):
        shape = (n, 1, length, 512)
        token, row = rule_operations("linear", shape, shape, (512, 512), paired=True)
        if row < token:
            return length
    raise AssertionError("the double sum was never dearer; the count has changed")


def check_distance(distance: Distance) -> Answer:
    """Whether a function of two orthonormal bases is a distance of the spaces they span.

    Args:
        distance: takes two (N, k) tensors, returns a number.

    Example:
        >>> check_distance(lambda u, v: (u - v).norm())
        Not yet. Flipping the sign of a column changed your distance; the space is the same.
    """
    generator = torch.Generator().manual_seed(0)

    def space(columns: int = 6) -> Tensor:
        return torch.linalg.qr(torch.randn(40, columns, generator=generator, dtype=torch.float64))[0]

    u = space()
    flipped = u * torch.tensor([-1.0, 1, 1, 1, 1, 1], dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64))[0]
    other = u.clone()
    other[:, -1:] = torch.linalg.qr(torch.cat([u, space(1)], 1))[0][:, -1:]
    cases: list[tuple[Tensor, bool, str]] = [
        (u, True, "A basis has distance 0 from itself; yours has not."),
        (flipped, True, "Flipping the sign of a column changed your distance; the space is the same."),
        (u[:, [1, 0, 2, 3, 4, 5]], True, "Exchanging two columns changed your distance; the space is the same."),
        (
            u @ turn,
            True,
            "A rotation of the basis changed your distance; compare something that a rotation leaves alone.",
        ),
        (space(), False, "Two unrelated spaces came out equal, or nearly; your distance does not look at directions."),
        (other, False, "Two spaces that differ in one direction of six came out equal."),
    ]
    for v, same, message in cases:
        value = float(distance(u, v))
        if (value > 1e-8) if same else not value >= 0.1:
            return Answer(False, message)
    return Answer(True, "It depends on the spaces alone.")


def _distance() -> Distance:
    return lambda u, v: torch.linalg.norm(u @ u.T - v @ v.T)


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_reductions": _reductions,
    "check_jacobian_gib": _jacobian_gib,
    "check_twice": _twice,
    "check_crossover": _crossover,
    "check_distance": _distance,
}
"""What each check is to be given; a tuple stands for several arguments."""
