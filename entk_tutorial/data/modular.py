r"""Addition modulo p as a classification task on all p*p pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from entk_tutorial.features.fourier import check_modulus, modular_pairs, residues


@dataclass(frozen=True)
class ModularTask:
    """All pairs of residues, their labels, and a split.

    Attributes:
        p: modulus.
        pairs: (p*p, 2) residues, rows in the order of :func:`modular_pairs`.
        inputs: (p*p, 2p) float32, the two one-hot vectors side by side.
        labels: (p*p,) classes: n + m modulo p, or random ones.
        targets: (p*p, p) float32, one-hot labels.
        train: (n_train,) rows that are trained on, in random order.
        held_out: (p*p - n_train,) the others.
    """

    p: int
    pairs: Tensor
    inputs: Tensor
    labels: Tensor
    targets: Tensor
    train: Tensor
    held_out: Tensor


def modular_task(p: int, train_fraction: float, seed: int, *, labels: str = "sum") -> ModularTask:
    r"""Addition modulo p with a random split.

    Args:
        p: modulus, odd, at least 3.
        train_fraction: share of the p*p pairs in the training set, strictly between 0 and 1; the count is rounded
            down.
        seed: of the split (and of random labels).
        labels: ``"sum"`` for (n + m) mod p; ``"random"`` for labels drawn uniformly, the control in which there is
            nothing to learn but the table.

    Raises:
        ValueError: p even or below 3, a fraction that leaves one side empty, an unknown kind of labels.

    Example:
        >>> task = modular_task(5, 0.8, seed=0)
        >>> len(task.train), len(task.held_out), int(task.labels[-1])      # the last pair is (4, 4)
        (20, 5, 3)

    Source: [Lin 2025]. Chapter: book/microscope/modular-mlp.
    """
    check_modulus(p)
    # The sliver is for rounding: a share written as k / p^2 means k pairs.
    n_train = math.floor(train_fraction * p * p + 1e-9) if 0 < train_fraction < 1 else 0
    if not 0 < n_train < p * p:
        raise ValueError(
            f"train_fraction={train_fraction} of {p * p} pairs: a share strictly between 0 and 1 that leaves pairs on "
            "both sides is expected."
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(p * p, generator=generator)
    if labels == "sum":
        classes = residues(p, "sum")
    elif labels == "random":
        classes = torch.randint(p, (p * p,), generator=generator)
    else:
        raise ValueError(f"labels={labels!r} is unknown; expected 'sum' or 'random'.")
    pairs = modular_pairs(p)
    inputs = torch.cat([one_hot(pairs[:, 0], p), one_hot(pairs[:, 1], p)], 1).float()
    return ModularTask(p, pairs, inputs, classes, one_hot(classes, p).float(), order[:n_train], order[n_train:])
