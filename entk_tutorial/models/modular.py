r"""Models of modular addition."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from entk_tutorial.features.fourier import check_modulus


class QuadraticMLP(nn.Module):
    r"""One hidden layer of squares, no biases.

    .. math:: f(x) = \frac{1}{H} W_2 \left( \frac{W_1 x}{\sqrt{2p}} \right)^{2}

    All weights start as N(0, 1); the scales sit in the forward pass. Squares make products of the two inputs, and the
    product of two waves is a wave in n + m and one in n - m.

    Args:
        p: modulus; inputs are two one-hot vectors side by side (2p), outputs p classes.
        hidden: H, number of hidden neurons.
        seed: of the initial weights, through a private generator.

    Shapes:
        ``fc1.weight`` (H, 2p), ``fc2.weight`` (p, H); input (N, 2p), output (N, p).

    Example:
        >>> model = QuadraticMLP(5, hidden=8, seed=0)
        >>> model(torch.eye(10)[:2]).shape
        torch.Size([2, 5])

    Source: [Lin 2025], [Gromov 2023]. Chapter: book/microscope/modular-mlp.
    """

    def __init__(self, p: int, hidden: int, seed: int) -> None:
        """Draw the weights."""
        super().__init__()
        check_modulus(p)
        if hidden < 1:
            raise ValueError(f"hidden={hidden}; at least one neuron is expected.")
        self.p, self.hidden = p, hidden
        # skip_init: the usual initialisation would draw from the caller's generator, and be overwritten.
        self.fc1 = skip_init(nn.Linear, 2 * p, hidden, bias=False)
        self.fc2 = skip_init(nn.Linear, hidden, p, bias=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            self.fc1.weight.normal_(generator=generator)
            self.fc2.weight.normal_(generator=generator)

    def activations(self, x: Tensor) -> Tensor:
        """Hidden activations (N, H), before the division by H."""
        return (self.fc1(x) / math.sqrt(2 * self.p)).square()  # (N, 2p) -> (N, H)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, p)."""
        logits: Tensor = self.fc2(self.activations(x)) / self.hidden  # (N, H) -> (N, p)
        return logits


def expected_initial_kernel(x1: Tensor, x2: Tensor, p: int, hidden: int) -> dict[str, Tensor]:
    r"""Mean over random weights of the trace kernel of :class:`QuadraticMLP`, by layer.

    With :math:`s = x \cdot x'`, and :math:`x \cdot x = x' \cdot x' = 2`,

    .. math:: \mathbb{E}\,K_1 = \frac{s^2}{p H}, \qquad \mathbb{E}\,K_2 = \frac{1}{p H}\left(1 + \frac{s^2}{2}\right),

    so the total is :math:`a + b s^2` with b = 3a/2. Nothing but the overlap of the inputs is left.

    Args:
        x1: (N1, 2p) pairs of one-hot vectors.
        x2: (N2, 2p) likewise.
        p: modulus.
        hidden: H.

    Returns:
        dict: ``"fc1"`` and ``"fc2"``, each (N1, N2) float64; their sum is the whole kernel.

    Raises:
        ValueError: inputs that are not two one-hot vectors side by side.

    Example:
        >>> x = torch.eye(6)[[0]] + torch.eye(6)[[3]]
        >>> k = expected_initial_kernel(x, x, p=3, hidden=4)
        >>> round(float(k["fc1"]), 6), round(float(k["fc2"]), 6)      # s = 2: 4/12 and 3/12
        (0.333333, 0.25)

    Derived in book/microscope/modular-mlp.
    """
    for name, x in (("x1", x1), ("x2", x2)):
        fits = x.ndim == 2 and len(x) > 0 and x.shape[1] == 2 * p
        halves = x.double().reshape(len(x), 2, p) if fits else x
        if not fits or not bool(((halves == 0) | (halves == 1)).all() and (halves.sum(2) == 1).all()):
            raise ValueError(f"{name} must hold two one-hot vectors of length {p} side by side, shape (N, {2 * p}).")
    s = x1.double() @ x2.double().T
    unit = 1.0 / (p * hidden)
    return {"fc1": unit * s.square(), "fc2": unit * (1 + s.square() / 2)}
