"""Checks of the chapter on layers and ablation."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entk_tutorial.data import modular_task
from entk_tutorial.exercises.base import Answer, close, number
from entk_tutorial.features.ablation import line_families, line_residues, without_functions


def check_memory(accuracy: float, p: int = 29, fraction: float = 0.8) -> Answer:
    """Accuracy after the sum was taken out of a table with right logits 1 on training pairs and 1/2 on the others.

    Example:
        >>> check_memory(1 / 29)
        Not yet. 1/p would be left if all right logits of one sum were equal. Here they differ: subtract
        their mean over the pairs of that sum and look at the signs.
    """
    value = number(accuracy)
    expected = _table_accuracy(p, fraction)
    if close(value, expected, 1e-3) or close(value, fraction, 5e-3):
        return Answer(
            True,
            "Training pairs stay above the mean of their sum, held-out pairs fall below it: what is left is the split.",
        )
    if close(value, 1 / p, 2e-3):
        return Answer(
            False,
            "1/p would be left if all right logits of one sum were equal. Here they differ: subtract their mean over "
            "the pairs of that sum and look at the signs.",
        )
    if close(value, 1.0, 1e-3):
        return Answer(
            False, "On held-out pairs the right logit lies below the mean that is subtracted: it turns negative."
        )
    if close(value, 0.0, 1e-3):
        return Answer(False, "0 is what is left on held-out pairs. Training pairs lie above the mean.")
    if close(value, 1 - fraction, 5e-3):
        return Answer(False, "The two sides are exchanged: which of them has the larger right logit?")
    return Answer(False, "Subtract, for each sum, the mean of its pairs' right logit: which pairs stay positive?")


def check_symmetric(ratio: float) -> Answer:
    """How much more of the sum than of n + 2m a random kernel holds that is symmetric under exchange of the digits.

    Example:
        >>> bool(check_symmetric(2))
        True
    """
    value = number(ratio)
    if close(value, 2.0, 1e-3):
        return Answer(
            True,
            "Every function of n + m survives the exchange; of those of n + 2m only the half shared with 2n + m does. "
            "So the null must keep the symmetry: rename both digits alike.",
        )
    if close(value, 1.0, 1e-3):
        return Answer(
            False, "1 holds without the symmetry. Which functions of n + m change when n and m change places?"
        )
    if close(value, 0.5, 1e-3):
        return Answer(False, "Upside down: the sum has the larger share.")
    return Answer(False, "Project on symmetric functions, (g(n, m) + g(m, n))/2: what is left of each family's energy?")


def check_mean_logit(factor: float, classes: int = 30) -> Answer:
    """The factor before h.h' in the mean-logit kernel of an unembedding with that many logits.

    Example:
        >>> bool(check_mean_logit(1 / 30))
        True
    """
    value = number(factor)
    if close(value, 1 / classes, 1e-6):
        return Answer(True, "C of the C^2 pairs of logits have c = c' and contribute h.h', the others nothing.")
    if close(value, float(classes), 1e-6):
        return Answer(False, "That is the trace, which sums over logits. The mean divides by the number of pairs.")
    if close(value, 1.0, 1e-6):
        return Answer(False, "1 is the mean over logits, trace / C. Here the mean is over all pairs of logits.")
    if close(value, 1 / classes**2, 1e-6):
        return Answer(False, "You divided by the number of pairs; how many pairs have c = c'?")
    return Answer(False, "The class block is h.h' times the identity: average its C^2 entries.")


def check_equal_energy(dimensions: float, p: int = 29, share: float = 0.9) -> Answer:
    """Dimensions of a random space of centred functions that takes this share of any table's energy.

    Example:
        >>> bool(check_equal_energy(756))
        True
    """
    value = number(dimensions)
    centred = p * p - 1
    if abs(value - share * centred) <= 0.51:
        return Answer(True, f"A random space takes d/{centred} of the energy, wherever that lies.")
    if abs(value - share * p * p) <= 1:
        return Answer(
            False, f"Close: the mean over the inputs is not touched, so count the {centred} centred dimensions."
        )
    if close(value, p - 1, 1e-3):
        return Answer(False, "That is equal dimension. How much of the energy do so few random dimensions take?")
    if close(value, (1 - share) * centred, 1e-2):
        return Answer(False, "That many dimensions are to be left over, not taken out.")
    return Answer(False, "Each of the centred dimensions takes the same share on average.")


def check_removal(remove: Callable[[Tensor], Tensor], p: int = 13) -> Answer:
    """A function that takes the functions of n + m out of a table (p*p, C) and leaves its mean over inputs.

    Example:
        >>> q = line_families(13)["sum"]
        >>> bool(check_removal(lambda table: table - q @ (q.T @ table)))
        True
    """
    table = torch.randn(p * p, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) + 3
    residue, families = line_residues(p)["sum"], line_families(p)
    expected = without_functions(table, families["sum"])
    found = remove(table.clone())
    if not isinstance(found, Tensor) or found.shape != table.shape:
        what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        return Answer(False, f"A table of shape {tuple(table.shape)} should come back; found {what}.")
    if torch.allclose(found.double(), expected, atol=1e-8):
        return Answer(True, "The means of all sums are now equal, and the mean over all inputs is what it was.")
    means = torch.stack([table[residue == s].mean(0) for s in range(p)])[residue]
    if torch.allclose(found.double(), table - means, atol=1e-8):
        return Answer(False, "The mean over all inputs went, too. It belongs to no family: add it back.")
    if torch.allclose(found.double(), means, atol=1e-8) or torch.allclose(
        found.double(), means - table.mean(0), atol=1e-8
    ):
        return Answer(False, "That is the part that should go. Subtract it.")
    if torch.allclose(found.double(), without_functions(table, families["diff"]), atol=1e-8):
        return Answer(False, "You took out the functions of n - m.")
    left = float((families["sum"].T @ found.double()).norm() / (families["sum"].T @ table).norm())
    if left < 1e-8:
        return Answer(
            False, "The sum is gone, and something else with it. Only the mean of each sum's rows should change."
        )
    return Answer(
        False, f"A share of {left:.2f} of the sum part's length is left; subtract the mean of each sum's rows."
    )


def _table_accuracy(p: int, fraction: float) -> float:
    task = modular_task(p, fraction, 0)
    table = 0.5 * task.targets.double()
    table[task.train] *= 2
    gone = without_functions(table, line_families(p)["sum"])
    return float((gone.argmax(1) == task.labels).double().mean())


def _symmetric_ratio() -> float:
    p = 7
    swap = torch.arange(p * p).reshape(p, p).T.flatten()
    energy = {k: float((q + q[swap]).square().sum()) for k, q in line_families(p).items()}
    return energy["sum"] / energy["n + 2m"]


def _remove_means(table: Tensor) -> Tensor:
    residue = line_residues(13)["sum"]
    means = torch.stack([table[residue == s].mean(0) for s in range(13)])
    return table - means[residue] + table.mean(0)


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_memory": lambda: _table_accuracy(29, 0.8),
    "check_symmetric": _symmetric_ratio,
    "check_mean_logit": lambda: float(torch.eye(30).mean()),
    "check_equal_energy": lambda: 0.9 * 840,
    "check_removal": lambda: _remove_means,
}
"""Check -> a function that computes the right answer with the package."""
