"""A network minus what it said before training: the part of its output that training made."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class Centred(nn.Module):
    r"""The network :math:`f(x;\theta) - f(x;\theta_0)`, with :math:`\theta_0` its weights at the time of wrapping.

    A network in NTK parametrisation says something of order one before it has seen any label. Formulas for what it
    *learns* start from 0. The tangent kernel is that of the network itself, since what is subtracted does not move.

    Args:
        model: trained in place through this wrapper; its parameters are the only ones of the wrapper.

    Example:
        >>> from entk_tutorial.models.text import LinearText
        >>> centred = Centred(LinearText(vocab=3, width=8, seed=0))
        >>> centred(torch.tensor([[0, 1], [2, -1]])).tolist()
        [[0.0], [0.0]]

    Chapter: book/infinite/linear.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        # In a tuple, so that the frozen copy is not registered: parameters() must hold only what trains.
        self._start = (copy.deepcopy(model).requires_grad_(False),)

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """The output, less what the same input gave at the start."""
        with torch.no_grad():
            before = self._start[0](*inputs, **named)
        difference: Tensor = self.model(*inputs, **named) - before
        return difference
