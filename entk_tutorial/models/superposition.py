r"""The toy model of superposition: many sparse features squeezed through few dimensions."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class SuperpositionModel(nn.Module):
    r"""A tied autoencoder with fewer hidden dimensions than features.

    .. math:: y = \operatorname{ReLU}(W^\top W x + b)

    Column j of :math:`W` is the direction in which feature j is written; its squared length is entry (j, j) of
    :math:`W^\top W`. With m < n the columns cannot all be orthogonal, and what one feature leaks into another's output
    is entry (i, j). The bias and the ReLU can remove small leaks.

    Args:
        n_features: n, inputs and outputs.
        hidden: m, at most n.
        seed: of the initial weights, through a private generator.

    Shapes:
        ``weight`` (m, n), drawn from N(0, 2/(m + n)) (Xavier); ``bias`` (n,), zero. Input and output (N, n).

    Raises:
        ValueError: m outside [1, n].

    Example:
        >>> model = SuperpositionModel(5, 2, seed=0)
        >>> model(torch.eye(5)).shape
        torch.Size([5, 5])
        >>> SuperpositionModel(5, 6, seed=0)
        Traceback (most recent call last):
        ValueError: hidden=6 for n_features=5; superposition needs 1 <= hidden <= n_features: lower hidden.

    Source: [Elhage 2022], [Lin 2025]. Chapter: book/microscope/superposition.
    """

    def __init__(self, n_features: int, hidden: int, seed: int) -> None:
        """Draw the weights."""
        super().__init__()
        if not 1 <= hidden <= n_features:
            cure = "lower hidden" if hidden > n_features else "take at least one hidden dimension"
            raise ValueError(
                f"hidden={hidden} for n_features={n_features}; superposition needs 1 <= hidden <= n_features: {cure}."
            )
        self.n_features, self.n_hidden = n_features, hidden
        generator = torch.Generator().manual_seed(seed)
        spread = math.sqrt(2 / (hidden + n_features))
        self.weight = nn.Parameter(torch.randn(hidden, n_features, generator=generator) * spread)
        self.bias = nn.Parameter(torch.zeros(n_features))

    def hidden(self, x: Tensor) -> Tensor:
        """Hidden activations W x: (N, n) -> (N, m)."""
        return x @ self.weight.T

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, n)."""
        return torch.relu(self.hidden(x) @ self.weight + self.bias)  # (N, n) -> (N, m) -> (N, n)


def interference(weight: Tensor) -> Tensor:
    r"""The matrix :math:`W^\top W`: what each feature writes into each output. (m, n) -> (n, n).

    Example:
        >>> interference(torch.tensor([[1.0, -1.0]])).tolist()      # two features share one direction, with opposite signs
        [[1.0, -1.0], [-1.0, 1.0]]

    Source: [Elhage 2022]. Chapter: book/microscope/superposition.
    """  # noqa: E501
    return weight.T @ weight


def represented(weight: Tensor, *, threshold: float = 0.75) -> Tensor:
    r"""Which features the model represents: entry (j, j) of :math:`W^\top W` is at least ``threshold``.

    A convention, not a law: the entry is the squared length of the direction of feature j. Trained models have entries
    near 1 and near 0, and few between.

    Args:
        weight: (m, n).
        threshold: in (0, 1).

    Returns:
        Tensor (n,) of truth values.

    Raises:
        ValueError: a threshold outside (0, 1), or a weight that is no matrix.

    Example:
        >>> represented(torch.tensor([[1.0, 0.1, -0.9]])).tolist()
        [True, False, True]

    Source: [Lin 2025]. Chapter: book/microscope/superposition.
    """
    if weight.ndim != 2 or not 0 < threshold < 1:
        raise ValueError(
            f"weight has shape {tuple(weight.shape)}, threshold={threshold}; a matrix (m, n) and a number in (0, 1) "
            "are expected."
        )
    return weight.detach().square().sum(0) >= threshold
