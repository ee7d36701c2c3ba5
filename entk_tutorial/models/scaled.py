"""A network whose centred output is multiplied by a number: one dial from feature learning to lazy training."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from entk_tutorial.models.centred import Centred


class Scaled(nn.Module):
    r"""The network :math:`\alpha\,\bigl(f(x;\theta) - f(x;\theta_0)\bigr)`, with :math:`\theta_0` its present weights.

    Its tangent kernel is :math:`\alpha^2` times that of :math:`f`. To change the output by one, the weights of a
    network with large :math:`\alpha` move by :math:`O(1/\alpha)`: the kernel stands still, and training is lazy.

    Args:
        model: trained in place through this wrapper.
        scale: :math:`\alpha > 0`.
        centred: whether to subtract the output at :math:`\theta_0`, computed anew in every call. Without it the
            gradients are the same, and a loop on fixed inputs can add :math:`\alpha f(x;\theta_0)` to the targets.

    Raises:
        ValueError: a scale that is not positive and finite.

    Example:
        >>> import torch
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> scaled = Scaled(layer, 10.0)
        >>> with torch.no_grad():
        ...     _ = layer.weight.add_(0.5)
        >>> round(float(scaled(torch.ones(1, 1)).detach()), 4)      # ten times what the weight has moved
        5.0

    Source: [Chizat 2019], [Kumar 2024]. Chapter: book/microscope/lazy-to-rich.
    """

    def __init__(self, model: nn.Module, scale: float, *, centred: bool = True) -> None:
        """Freeze a copy of the present weights, if the output is to be centred."""
        super().__init__()
        if not 0 < scale < math.inf:
            raise ValueError(f"scale={scale}; a positive, finite number is expected.")
        self.scale = float(scale)
        self.model = Centred(model) if centred else model

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """Scaled outputs, of the shape of the model's."""
        output: Tensor = self.scale * self.model(*inputs, **named)
        return output
