"""Checks of the chapter on the modular-addition Transformer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.features.key_frequencies import key_frequencies, key_windows

Finder = Callable[[Tensor, int], Iterable[int]]
"""A reader's function (embedding (V, d), p) -> key frequencies."""


def check_windows(first: tuple[int, int], second: tuple[int, int], n_keys: int = 4) -> Answer:
    """Start and end, counted from 0, of the windows for K key frequencies.

    Example:
        >>> check_windows((0, 5), (5, 9))
        Not yet. Those are the published slices, for K = 2. Here there are 4 key frequencies.
    """
    right = tuple((w.start, w.stop) for w in (key_windows(n_keys).first, key_windows(n_keys).second))
    given = (tuple(first), tuple(second))
    if given == right:
        return Answer(True, "Constant and 2K sum modes first, 2K axis modes behind them.")
    if given == ((0, 5), (5, 9)):
        return Answer(False, f"Those are the published slices, for K = 2. Here there are {n_keys} key frequencies.")
    if given == ((0, 2 * n_keys), (2 * n_keys, 4 * n_keys)):
        return Answer(False, "You left no place for the constant mode: it is one of the leading eigenvectors, too.")
    if given == ((0, 1 + n_keys), (1 + n_keys, 1 + 2 * n_keys)):
        return Answer(False, "A frequency has a cosine and a sine: count two modes for each.")
    if given == ((1, 1 + 2 * n_keys), (1 + 2 * n_keys, 1 + 4 * n_keys)):
        return Answer(
            False, "The constant need not be the very first eigenvector here, so the first window starts at 0."
        )
    return Answer(False, "Count the modes: one constant, then a cosine and a sine for each frequency, twice.")


def check_relabelled(share: float, n_keys: int = 3, p: int = 29) -> Answer:
    """Mean share of relabelled sum modes in a window that holds all 2K sum modes of K frequencies.

    Example:
        >>> bool(check_relabelled(6 / 28))
        True
    """
    modes = 2 * n_keys
    if close(share, modes / (p - 1), 1e-3):
        return Answer(
            True, "No direction among the p - 1 centred functions of n + m is preferred, so 2K of them catch 2K/(p-1)."
        )
    if close(share, 1.0, 1e-3):
        return Answer(
            False,
            "That would be so if the window held all functions of n + m, as the MLP's does. It holds 2K of p - 1.",
        )
    if close(share, 0.0, 1e-3):
        return Answer(False, "A relabelled wave is still a function of n + m, and the window holds some of those.")
    if close(share, (1 + modes) / p**2, 1e-3):
        return Answer(
            False,
            "That is chance for directions anywhere in R^N. Relabelled modes stay among the functions of n + m.",
        )
    if close(share, n_keys / (p - 1), 1e-3):
        return Answer(False, "A frequency has a cosine and a sine: the window holds 2K modes.")
    if close(share, modes / p, 1e-3):
        return Answer(False, "The constant is left out: centred functions of n + m have p - 1 dimensions.")
    return Answer(False, "Which functions can a relabelled mode become, how many dimensions do they span, and how many does the window hold?")  # fmt: skip # noqa: E501


def check_reduction_ratio(ratio: float, p: int = 29) -> Answer:
    """The unembedding's trace kernel divided by its mean-logit kernel, with p + 1 logits.

    Example:
        >>> bool(check_reduction_ratio(900))
        True
    """
    c = p + 1
    if close(ratio, c * c, 1e-6):
        return Answer(True, "The sum over logits is C h.h', the mean over all pairs of logits h.h'/C. One spectrum.")
    if close(ratio, c, 1e-6):
        return Answer(False, "The trace is C h.h'. But the mean over all C^2 pairs is not h.h': how many are not zero?")
    if close(ratio, 1.0, 1e-6):
        return Answer(False, "The spectra agree up to a factor, and the factor is not 1: a sum beside a mean.")
    if close(ratio, p * p, 1e-6) or close(ratio, p, 1e-6):
        return Answer(False, "The logit of '=' has no loss, but it has a gradient: count it.")
    return Answer(False, "Row c of W_U moves logit c only, with gradient h. Write down K for two logits c and d.")


def check_ceiling(share: float, n_keys: int = 3) -> Answer:
    """Largest share of the 2K sum modes that the published slice [0, 5) can hold.

    Example:
        >>> check_ceiling(1.0)
        Not yet. Five directions cannot hold six modes.
    """
    modes = 2 * n_keys
    if close(share, min(1.0, 5 / modes), 1e-3):
        return Answer(True, "Five directions, all of them in the sum: the constant comes later then.")
    if close(share, 1.0, 1e-3):
        return Answer(False, f"Five directions cannot hold {'six' if modes == 6 else modes} modes.")
    if close(share, 4 / modes, 1e-3):
        return Answer(
            False, "That is with the constant among the five. It is not always: what is the largest share possible?"
        )
    return Answer(False, "An overlap is at most the smaller of the two dimensions: divide that by the number of modes.")


def planted_embedding(keys: dict[int, float], p: int = 29, d: int = 64, seed: int = 0, noise: float = 0.05) -> Tensor:
    """An embedding with waves of these frequencies and lengths on a floor of noise; the last row is "="."""
    g = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.arange(p, dtype=torch.float64) / p
    table = noise * torch.randn(p + 1, d, generator=g, dtype=torch.float64)
    for k, length in keys.items():
        for wave in (torch.cos(k * angle), torch.sin(k * angle)):
            direction = torch.randn(d, generator=g, dtype=torch.float64)
            table[:p] += length * wave[:, None] * (direction / direction.norm())
    table += 1.0  # a mean over the digits, which is no frequency
    table[p] += 30
    return table


def check_finder(find: Finder) -> Answer:
    """A reader's own way to find the key frequencies of an embedding.

    Example:
        >>> check_finder(lambda embedding, p: [1, 12])
        Not yet. On an embedding with the frequencies [3, 7, 13] you found [1, 12]: read them off the embedding.
    """
    cases: list[tuple[str, dict[int, float]]] = [
        ("three", {3: 1.0, 7: 1.2, 13: 0.9}),
        ("two", {1: 1.0, 12: 1.0}),
        ("uneven", {2: 1.5, 6: 0.8, 9: 1.2, 11: 0.75}),
        ("none", {}),
    ]
    for seed, (name, keys) in enumerate(cases):
        table = planted_embedding(keys, seed=seed, noise=0.05 if keys else 0.2)
        try:
            found = sorted(int(k) for k in find(table, 29))
        except (RuntimeError, TypeError, ValueError, IndexError) as error:
            return Answer(False, f"Your function stops with {type(error).__name__}: {error}")
        if found == sorted(keys):
            continue
        if name == "three" and found == [k - 1 for k in keys]:
            return Answer(
                False, "Each of your frequencies is one too low: entry 0 of the spectrum behind the mean is k = 1."
            )
        if name == "three" and (0 in found or any(k > 14 for k in found)):
            return Answer(
                False,
                f"You found {found}. Frequency 0 is the mean over the digits, and k and p - k are one frequency: keep "
                "1 to 14. Is the row of '=' left out?",
            )
        if name == "three" and len(found) == 2:
            return Answer(
                False,
                f"On an embedding with the frequencies {sorted(keys)} you found {found}: read them off the embedding.",
            )
        if name == "none":
            return Answer(
                False, f"On pure noise you found {found}. An embedding may have no key frequency: compare with a floor."
            )
        return Answer(False, f"With the planted frequencies {sorted(keys)} you found {found}: is your threshold too {'high' if len(found) < len(keys) else 'low'}?")  # fmt: skip # noqa: E501
    return Answer(True, "Two, three, four frequencies and none: all found.")


SOLUTIONS: dict[str, Callable[[], tuple[object, ...]]] = {
    "check_windows": lambda: ((0, 9), (9, 17)),
    "check_relabelled": lambda: (_relabelled_by_algebra(),),
    "check_reduction_ratio": lambda: (_ratio_by_kernels(),),
    "check_ceiling": lambda: (5 / 6,),
    "check_finder": lambda: (key_frequencies,),
}
"""Check -> a function that computes the right answer's arguments with the package."""


def _relabelled_by_algebra() -> float:
    """The mean over all relabellings at once: the averaged projector of six modes."""
    from entk_tutorial.features import fourier_features

    modes = torch.nn.functional.normalize(fourier_features(29)["n"][::29][:, :6], dim=0)  # (29, 6), orthonormal
    projector = modes @ modes.T
    # Averaged over permutations, a projector keeps its diagonal mean and its mean off the diagonal.
    diagonal = projector.diagonal().mean()
    off = (projector.sum() - projector.trace()) / (29 * 28)
    mean = off * torch.ones(29, 29, dtype=torch.float64) + (diagonal - off) * torch.eye(29, dtype=torch.float64)
    return float((projector * mean).sum()) / 6


def _ratio_by_kernels() -> float:
    from entk_tutorial.experiments.modular_transformer import tensor_kernels
    from entk_tutorial.models.transformer import ModularTransformer

    model = ModularTransformer(29, d_model=4, heads=1, d_mlp=4).double()
    trace, mean = (tensor_kernels(model, reduce, ["W_U"])["W_U"] for reduce in ("trace", "mean_logit"))
    return float(trace.trace() / mean.trace())
