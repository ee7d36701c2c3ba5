r"""A network with one wide hidden layer, for scalar regression."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class WideMLP(nn.Module):
    r"""One hidden layer of width n in NTK parametrisation, or with a mean-field output.

    .. math:: f(x) = \frac{1}{n^{s}} \sum_{j=1}^{n} v_j\, \operatorname{erf}(w_j \cdot x)

    with s = 1/2 (NTK) or s = 1 (mean field). All weights start as N(0, 1), so at s = 1/2 the output starts at order 1
    and at s = 1 it starts near zero.

    Args:
        inputs: dimension of x.
        hidden: n.
        seed: of the initial weights, through a private generator.
        output_exponent: s, 0.5 or 1.
        dtype: of the weights.

    Shapes:
        ``hidden.weight`` (n, inputs), ``readout.weight`` (1, n); input (N, inputs), output (N, 1).

    Example:
        >>> WideMLP(2, hidden=16, seed=0)(torch.ones(3, 2, dtype=torch.float64)).shape
        torch.Size([3, 1])

    Source: [Jacot 2018]; the two scalings: [Chizat 2019]. Chapter: book/infinite/tangent-kernel.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        seed: int,
        *,
        output_exponent: float = 0.5,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """Draw the weights."""
        super().__init__()
        if inputs < 1 or hidden < 1:
            raise ValueError(f"inputs={inputs}, hidden={hidden}; both must be at least 1.")
        if output_exponent not in (0.5, 1.0):
            raise ValueError(f"output_exponent={output_exponent}; 0.5 (NTK) or 1 (mean field) is expected.")
        self.scale = hidden**-output_exponent
        self.hidden = nn.Linear(inputs, hidden, bias=False, dtype=dtype)
        self.readout = nn.Linear(hidden, 1, bias=False, dtype=dtype)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.hidden.weight.normal_(generator=generator)
            self.readout.weight.normal_(generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (N, 1)."""
        out: Tensor = self.readout(torch.erf(self.hidden(x))) * self.scale  # (N, n) -> (N, 1)
        return out


def circle(n_points: int, *, shift: float = 0.0) -> tuple[Tensor, Tensor]:
    r"""Points on the unit circle and the target :math:`\sin t + \frac12 \cos 3t` there, float64.

    Args:
        n_points: equally spaced angles t, from ``shift`` steps.
        shift: offset in units of the spacing; 0.5 puts the points between those of ``shift=0``.

    Returns:
        inputs (n_points, 2) and targets (n_points, 1).

    Raises:
        ValueError: fewer than two points.

    Example:
        >>> x, y = circle(4)
        >>> y.round(decimals=6).flatten().tolist()
        [0.5, 1.0, -0.5, -1.0]
    """
    if n_points < 2:
        raise ValueError(f"n_points={n_points}; at least two points are expected.")
    t = 2 * math.pi * (torch.arange(n_points, dtype=torch.float64) + shift) / n_points
    return torch.stack([t.cos(), t.sin()], 1), (t.sin() + 0.5 * (3 * t).cos()).unsqueeze(1)
