"""Checks of the chapter on lazy and rich training."""

from __future__ import annotations

from collections.abc import Callable

import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical.flow import output_change
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.experiments.lazy_to_rich import additive_prediction, margins
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.scaled import Scaled


def check_distance_exponent(exponent: float) -> Answer:
    r"""Power of the output scale with which the kernel distance, one minus a cosine, falls in the lazy limit.

    Example:
        >>> bool(check_distance_exponent(-2))
        True
    """
    if close(exponent, -2, 1e-3):
        return Answer(True, "The kernel turns by an angle of order 1/alpha, and 1 - cos is half the angle squared.")
    if close(exponent, -1, 1e-3):
        return Answer(
            False,
            "That is how the weights, and the kernel itself, change. One minus a cosine is quadratic in the angle.",
        )
    if exponent > 0:
        return Answer(False, "A larger scale means less motion: the exponent is negative.")
    return Answer(
        False, "Begin with the weights: how far must they move for alpha (f - f_0) to change by one? Then Taylor."
    )


def check_held_out_margin(value: float, *, fraction: float = 0.75, train_margin: float = 0.03) -> Answer:
    """Mean margin on held-out pairs of an additive predictor, from its mean margin on training pairs.

    Example:
        >>> bool(check_held_out_margin(-0.09))
        True
    """
    right = -train_margin * fraction / (1 - fraction)
    if close(value, right, 1e-3):
        return Answer(True, "The margins of all pairs add up to zero; a quarter of the pairs pays for three quarters.")
    if close(value, -right, 1e-3):
        return Answer(False, "The size is right. But the sum over all pairs is zero, so the sign must differ.")
    if close(value, -train_margin, 1e-3):
        return Answer(False, "It is the sums that cancel, not the means: there are fewer held-out pairs.")
    if close(value, -train_margin * (1 - fraction) / fraction, 1e-3):
        return Answer(False, "You divided by the wrong share: few pairs must carry the whole loss.")
    if close(value, 0, 1e-9):
        return Answer(False, "Zero is the sum over all pairs, training pairs included.")
    return Answer(False, "Write down the sum of the margins over all pairs, and split it in two.")


def check_adam_first_step(factor: float, *, scale: float = 100.0) -> Answer:
    """By how much more the first step of AdamW changes the outputs at a scale, with the learning rate left alone.

    Example:
        >>> bool(check_adam_first_step(100.0))
        True
    """
    if close(factor, scale, 1e-2):
        return Answer(
            True,
            "The weights take the same step, since Adam divides the gradient by its own size, and the outputs are "
            "alpha times those of f. Divide the learning rate by alpha to undo it.",
        )
    if close(factor, 1, 1e-2):
        return Answer(
            False,
            "That would be gradient descent on the loss divided by alpha squared. Adam does not notice a factor in "
            "front of the loss: what is the step of the weights, and what does it do to alpha f?",
        )
    if close(factor, scale**2, 1e-2):
        return Answer(
            False,
            "That is gradient descent on the loss as it is: one alpha from the gradient, one from the output. Adam "
            "divides the first one out.",
        )
    if close(factor, 1 / scale, 1e-2):
        return Answer(False, "The other way round: the same motion of the weights is seen through a factor alpha.")
    return Answer(False, "First the step of the weights: sign of the gradient times the learning rate. Then alpha J.")


def _adam_factor() -> float:
    task = modular_task(5, 0.7, seed=0)
    changes = []
    for scale in (1.0, 100.0):
        model = Scaled(QuadraticMLP(5, 16, 0).double(), scale)
        x, y = task.inputs.double()[task.train], task.targets.double()[task.train]
        loss = (model(x) - y).square().mean()
        names = [name for name, _ in model.named_parameters()]
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        step = {name: -1e-6 * g.sign() for name, g in zip(names, gradients, strict=True)}
        changes.append(float(output_change(model, x, step).norm()))
    return changes[1] / changes[0]


def _held_out_margin() -> float:
    # The ratio of the two means depends on the shares alone; any additive predictor shows it.
    task = modular_task(7, 36 / 49, seed=0)
    found = margins(task, additive_prediction(task))
    shares = 36 / 13 / 3  # from 36 : 13 pairs to three quarters against one
    return 0.03 * found["margin_held_out"] / found["margin_train"] / shares


def _distance_exponent() -> float:
    angles = torch.tensor([1e-2, 1e-3], dtype=torch.float64)
    distance = 1 - torch.cos(angles)
    # An angle of 1/alpha at alpha = 100 and 1000.
    return round(float(torch.log10(distance[1] / distance[0])), 3)


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_distance_exponent": _distance_exponent,
    "check_held_out_margin": _held_out_margin,
    "check_adam_first_step": _adam_factor,
}
"""Check -> a function that computes the right answer with the package."""
