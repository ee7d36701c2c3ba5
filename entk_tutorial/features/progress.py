r"""Progress measures of modular addition that need no kernel: what outputs and weights say by themselves.

[Nanda 2023] splits the logits of a Transformer into the waves in n + m that it uses and the rest. The networks here
use all frequencies, so the split is by family: functions of n + m, and the rest. [Gromov 2023] looks at the weights.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entk_tutorial.features.fourier import residues, weight_frequencies


def sum_part(outputs: Tensor, p: int, rows: Tensor | None = None) -> Tensor:
    r"""The function of n + m nearest to the outputs: their mean over all pairs with the same sum.

    Args:
        outputs: (p*p, C), rows in the order of :func:`~entk_tutorial.features.modular_pairs`.
        p: modulus.
        rows: which pairs the means are taken over; None for all. A sum that none of them has gets NaN.

    Returns:
        Tensor (p*p, C) float64.

    Raises:
        ValueError: outputs that are not (p*p, C).

    Example:
        >>> y = torch.nn.functional.one_hot(residues(5, "sum"), 5)
        >>> bool((sum_part(y, 5) == y).all())      # the labels are a function of the sum
        True
    """
    if outputs.ndim != 2 or len(outputs) != p * p:
        raise ValueError(f"outputs have shape {tuple(outputs.shape)}; ({p * p}, C) is expected, one row a pair.")
    s = residues(p, "sum")
    chosen = torch.arange(p * p) if rows is None else rows
    values = outputs.detach().cpu().double()
    total = torch.zeros(p, values.shape[1], dtype=torch.float64).index_add(0, s[chosen], values[chosen])
    return (total / torch.bincount(s[chosen], minlength=p)[:, None])[s]


def restricted_loss(
    outputs: Tensor, targets: Tensor, p: int, rows: Tensor, *, means_over: Tensor | None = None
) -> float:
    r"""Squared error on ``rows`` after everything but the functions of n + m was taken out of the outputs.

    Args:
        outputs: (p*p, C).
        targets: (p*p, C).
        p: modulus.
        rows: where the error is measured, mean over rows and outputs.
        means_over: which pairs the function of n + m is read from; None for all. With training pairs among them the
            loss falls as soon as *they* are learned: pass the held-out rows to keep them out.

    Raises:
        ValueError: no rows, or a row whose sum does not occur in ``means_over``.

    Example:
        >>> y = torch.nn.functional.one_hot(residues(5, "sum"), 5).double()
        >>> noise = torch.nn.functional.one_hot(residues(5, "diff"), 5).double()
        >>> round(restricted_loss(y + noise - 0.2, y, 5, torch.arange(25)), 6)      # the noise averages out
        0.0

    Source: [Nanda 2023]. Chapter: book/microscope/grokking.
    """
    part = sum_part(outputs, p, means_over)[rows]
    if len(rows) == 0 or bool(part.isnan().any()):
        raise ValueError("rows is empty, or holds a sum that means_over does not: take means over more pairs.")
    return float((part - targets.cpu().double()[rows]).square().mean())


def excluded_loss(outputs: Tensor, targets: Tensor, p: int, rows: Tensor) -> float:
    r"""Squared error on ``rows`` (usually those trained on) after the functions of n + m were taken out of the outputs.

    The mean over all pairs stays. A network that fits its training pairs pair by pair loses little; one that fits
    them through n + m loses all.

    Raises:
        ValueError: no rows.

    Example:
        >>> y = torch.nn.functional.one_hot(residues(5, "sum"), 5).double()
        >>> round(excluded_loss(y, y, 5, torch.arange(25)), 6)      # nothing but the mean, 1/5, is left
        0.16

    Source: [Nanda 2023]. Chapter: book/microscope/grokking.
    """
    if len(rows) == 0:
        raise ValueError("rows is empty; the rows that the loss is measured on are expected.")
    values = outputs.detach().cpu().double()
    rest = values - sum_part(values, p) + values.mean(0, keepdim=True)
    return float((rest - targets.cpu().double())[rows].square().mean())


def inverse_participation(weights: Tensor, p: int) -> float:
    r"""Mean over neurons of :math:`\sum_k s_k^2`, the shares :math:`s_k` of the frequencies in a neuron's weights.

    A pure wave gives 1. Gaussian weights give :math:`2/(K + 1)` on average, with K = (p-1)/2 frequencies
    (:func:`participation_chance`).

    Args:
        weights: (H, p), for the p values of one residue.
        p: modulus.

    Example:
        >>> wave = torch.cos(2 * torch.pi * 2 * torch.arange(5) / 5)
        >>> round(inverse_participation(wave[None], 5), 6)
        1.0

    Source: [Gromov 2023]. Chapter: book/microscope/grokking.
    """
    return float(weight_frequencies(weights, p).square().sum(1).mean())


def participation_chance(p: int) -> float:
    """Mean of :func:`inverse_participation` for Gaussian weights: the shares are exponentials over their sum.

    Example:
        >>> g = torch.Generator().manual_seed(0)
        >>> measured = inverse_participation(torch.randn(20_000, 7, generator=g), 7)
        >>> abs(measured - participation_chance(7)) < 0.005
        True
    """
    return 2 / ((p - 1) // 2 + 1)
