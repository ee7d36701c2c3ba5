"""Checks of the chapter on superposition."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from entk_tutorial.data.superposition import sparse_features
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.features.alignment import overlap_chance
from entk_tutorial.features.superposition import channel_directions, match_features


def check_overlap_chance(value: float, d: int = 50, n: int = 50, n_samples: int = 500) -> Answer:
    """Mean overlap of ``d`` random directions of the flattened space with the directions of n features.

    Example:
        >>> check_overlap_chance(5.0)
        Not yet. That is for directions over the 500 samples. The flattened space has a row for each sample and channel: 25000.
    """  # noqa: E501
    rows = n_samples * n
    if close(value, overlap_chance(d, n, rows), 1e-3):
        return Answer(True, "d n / (N n) = d / N: the more samples, the smaller, whatever the number of features.")
    if close(value, d * n / n_samples, 1e-3):
        return Answer(
            False,
            f"That is for directions over the {n_samples} samples. The flattened space has a row for each sample and "
            f"channel: {rows}.",
        )
    if close(value, d / rows, 1e-4) or close(value, n / rows, 1e-4):
        return Answer(False, f"That is for one feature. There are {n}, and they are orthogonal: add up.")
    if close(value, float(n), 1e-3):
        return Answer(False, f"{n} would be full overlap: every feature inside the span. Chance is far below.")
    return Answer(False, "A random d-dimensional space holds d/M of each unit vector in M dimensions. Add up.")


def check_shuffled_cosine(value: float, sparsity: float = 0.3) -> Answer:
    r"""Expected cosine, uncentred, of a feature with itself shuffled: zero with probability S, else uniform on [0, 1].

    Example:
        >>> check_shuffled_cosine(0.0)
        Not yet. Shuffled values are independent, but not centred: both have the same positive mean. What is the mean of the product?
    """  # noqa: E501
    present = 1 - sparsity
    if close(value, 0.75 * present, 5e-3):
        return Answer(
            True,
            "(E x)^2 / E x^2 = 3 (1 - S) / 4. A direction that is constant in the channel reaches the root of it, "
            f"{math.sqrt(0.75 * present):.2f}: a threshold has to lie above that.",
        )
    if close(value, 0.0, 1e-3):
        return Answer(
            False,
            "Shuffled values are independent, but not centred: both have the same positive mean. What is the mean of "
            "the product?",
        )
    if close(value, 0.75, 5e-3):
        return Answer(False, f"That is for S = 0. With S = {sparsity} both moments carry a factor 1 - S: do it again.")
    if close(value, math.sqrt(0.75 * present), 5e-3):
        return Answer(False, "That is the cosine of the feature with a constant. Here both vary: square it.")
    if close(value, 0.25 * present**2, 5e-3):
        return Answer(False, "That is the mean of the product. A cosine is divided by the mean square, too.")
    return Answer(False, "The cosine is (mean of x)^2 over (mean of x^2). Find both for a mixture of 0 and uniform.")


def check_rank(value: float, m: int = 10, n: int = 50) -> Answer:
    """Rank that the flat kernel of the tied autoencoder cannot exceed, with enough samples.

    Example:
        >>> bool(check_rank(505))
        True
    """
    parameters, turns = m * n + n, m * (m - 1) // 2
    if close(value, parameters - turns, 1e-9):
        return Answer(
            True,
            f"{parameters} parameters less the {turns} planes in which the hidden space can turn: W^T W does not "
            "notice. The Gram has that many directions of no consequence.",
        )
    if close(value, parameters, 1e-9):
        return Answer(False, "That counts parameters. Which changes of W leave W^T W as it is?")
    if close(value, m * n - turns, 1e-9):
        return Answer(False, f"That is for W alone. The {n} biases move outputs, too.")
    if close(value, parameters - m * m, 1e-9):
        return Answer(
            False, "You took away all m x m matrices. Only rotations leave W^T W alone: their generators are skew."
        )
    return Answer(False, "Count parameters, then the dimension of the rotations of an m-dimensional space.")


def check_bias_cliff(value: float, n: int = 50, dead: int = 3) -> Answer:
    """Number of non-zero eigenvalues of the flat kernel of the bias alone, when ``dead`` outputs are zero everywhere.

    Example:
        >>> bool(check_bias_cliff(47))
        True
    """
    if close(value, n - dead, 1e-9):
        return Answer(
            True,
            "One for each output that is active somewhere: its eigenvector is the indicator of where, its eigenvalue "
            "the number of samples there. No feature was consulted.",
        )
    if close(value, n, 1e-9):
        return Answer(False, "An output that is never active has no gradient: its bias drops out.")
    if close(value, 1.0, 1e-9):
        return Answer(False, "Each bias moves its own output only: the kernel has a block for each channel.")
    return Answer(False, "The derivative of output c with respect to bias c' is 1 if c = c' and the output is active.")


def blind_samples() -> Tensor:
    """Features (500, 50) on which :func:`check_fool` looks: the sparse data of the chapter, seed 0."""
    return sparse_features(500, 50, 0.9, 0)


def check_fool(u: Tensor) -> Answer:
    """Directions that know nothing about samples, and fill the heat map with normalised columns.

    Example:
        >>> check_fool(channel_directions(blind_samples()))
        Not yet. Your directions differ from sample to sample inside a channel. Use only numbers that depend on the channel.
    """  # noqa: E501
    x = blind_samples()
    n_samples, n = x.shape
    if not isinstance(u, Tensor) or u.ndim != 2 or u.shape[0] != x.numel() or u.shape[1] < 1:
        shape = tuple(u.shape) if isinstance(u, Tensor) else type(u).__name__
        return Answer(False, f"u is {shape}; directions with {x.numel()} rows (sample-major) are asked for.")
    if u.shape[1] > n:
        return Answer(False, f"{u.shape[1]} directions; {n} are allowed, as many as there are features.")
    blocks = u.double().reshape(n_samples, n, -1)
    if bool((u.norm(dim=0) == 0).any()):
        return Answer(False, "One of your directions is zero.")
    if float((blocks - blocks[:1]).abs().max()) > 1e-9 * float(blocks.abs().max()):
        return Answer(
            False,
            "Your directions differ from sample to sample inside a channel. Use only numbers that depend on the "
            "channel.",
        )
    f = channel_directions(x)
    found = match_features(u, f, normalise="column").count
    if found < n:
        return Answer(
            False,
            f"{found} of {n} are found. A column's score is one if a single direction touches that channel: give each "
            "channel one of its own.",
        )
    plain = match_features(u, f).count
    return Answer(True, f"{n} of {n} by the normalised heat map, {plain} by the plain cosine. You looked at no sample.")


def _simulated_cosine() -> float:
    x = sparse_features(200_000, 2, 0.3, 0, normalise=False).double()
    return float(x[:, 0] @ x[:, 1] / (x[:, 0].norm() * x[:, 1].norm()))


def _measured_rank() -> float:
    # At a small size the rank is counted; the defect m(m-1)/2 is then carried over from m = 3 to m = 10.
    w = torch.randn(3, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    j = torch.autograd.functional.jacobian(lambda v: v.T @ v, w).reshape(36, 18)
    lost = 18 - int(torch.linalg.matrix_rank(j))
    return 10 * 50 + 50 - lost * 10 * 9 / (3 * 2)


def _live_channels() -> float:
    active = torch.ones(20, 50, dtype=torch.float64)
    active[:, :3] = 0
    return float(torch.linalg.matrix_rank(channel_directions(active)))


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_overlap_chance": lambda: overlap_chance(50, 50, 25_000),
    "check_shuffled_cosine": _simulated_cosine,
    "check_rank": _measured_rank,
    "check_bias_cliff": _live_channels,
    "check_fool": lambda: channel_directions(torch.ones(500, 50)),
}
"""Check -> a function that computes the right answer with the package."""
