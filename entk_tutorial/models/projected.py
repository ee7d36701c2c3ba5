"""A network seen through a few random mixtures of its outputs: the trace kernel at the price of r outputs, not C."""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn


class ProjectedOutputs(nn.Module):
    r"""The outputs of a model, mixed with random signs.

    .. math:: g_j(x) = \frac{1}{\sqrt r} \sum_{c=1}^{C} \xi_{jc}\, f_c(x), \qquad \xi_{jc} = \pm 1, \quad j = 1..r.

    The mean of its trace kernel over the signs is the trace kernel of the model, since
    :math:`\mathbb{E}\,\xi_{jc}\xi_{jc'} = \delta_{cc'}`; one draw differs from it by a term that falls like
    :math:`1/\sqrt r`. It costs r reverse passes an example instead of C.

    Args:
        model: with C outputs; its parameters are the kernel's.
        n_outputs: C.
        directions: r.
        seed: of the signs, through a private generator.

    Shapes:
        input as the model's, output (N, r).

    Raises:
        ValueError: fewer than one output or direction.

    Example:
        >>> layer = nn.Linear(2, 3, bias=False)
        >>> ProjectedOutputs(layer, n_outputs=3, directions=2)(torch.ones(5, 2)).shape
        torch.Size([5, 2])

    Chapter: book/beyond/scaling-up.
    """

    def __init__(self, model: nn.Module, n_outputs: int, directions: int, seed: int = 0) -> None:
        """Draw the signs."""
        super().__init__()
        if min(n_outputs, directions) < 1:
            raise ValueError(f"n_outputs={n_outputs}, directions={directions}; at least 1 of each is expected.")
        self.model = model
        draw = torch.randint(2, (n_outputs, directions), generator=torch.Generator().manual_seed(seed))
        self.register_buffer("signs", (2.0 * draw - 1) / math.sqrt(directions))

    def forward(self, x: Tensor) -> Tensor:
        """Mixed outputs (N, r)."""
        outputs: Tensor = self.model(x)
        return outputs @ cast(Tensor, self.signs).to(outputs.dtype)
