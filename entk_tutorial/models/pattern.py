"""How much of a pattern of outputs a network has learned, step by step: the finite counterpart of one eigenvector."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entk_tutorial.models.centred import Centred
from entk_tutorial.training import train


def pattern_progress(model: nn.Module, documents: Tensor, goal: Tensor, *, lr: float, steps: int) -> Tensor:
    r"""Learned share of a pattern at each step of gradient descent on half the summed squared error.

    .. math:: p_s = \frac{\langle f_s-f_0,\,g\rangle}{\langle g,\,g\rangle},\qquad L = \tfrac12\sum_i(f_i-f_{0,i}-g_i)^2

    If the kernel stands still and g is one of its eigenvectors, with eigenvalue lambda, then
    :math:`p_s = 1-(1-\eta\lambda)^s`.

    Args:
        model: (N, T) tokens -> (N, 1); trained in place.
        documents: (N, T) token ids, -1 after the end of each document.
        goal: (N,) what the outputs are to gain; not all 0.
        lr: learning rate.
        steps: number of updates.

    Returns:
        (steps + 1,) float64 shares, beginning with 0.

    Raises:
        ValueError: if ``goal`` has another length than ``documents``, or is 0.

    Example:
        A bag of words cannot learn the pattern (+, -, -, +) on the four pairs of two first and two second words:

        >>> from entk_tutorial.models.text import LinearText
        >>> pairs = torch.tensor([[0, 2], [0, 3], [1, 2], [1, 3]])
        >>> both = torch.tensor([1.0, -1.0, -1.0, 1.0])
        >>> share = pattern_progress(LinearText(vocab=4, width=64, seed=0), pairs, both, lr=0.1, steps=20)
        >>> bool(share.abs().max() < 1e-12)
        True

    Chapter: book/infinite/cnn.
    """
    if goal.shape != (len(documents),) or not bool((goal != 0).any()):
        raise ValueError(
            f"goal has shape {tuple(goal.shape)} and largest entry {float(goal.abs().max()):g}; expected one number "
            f"for each of the {len(documents)} documents, not all 0"
        )
    centred = Centred(model)
    target = goal.to(next(model.parameters()).dtype)
    shares: list[Tensor] = []

    def look(net: nn.Module) -> dict[str, float]:
        shares.append((net(documents)[:, 0] @ target / (target @ target)).double())
        return {}

    def loss(net: nn.Module) -> Tensor:
        error: Tensor = 0.5 * (net(documents)[:, 0] - target).square().sum()
        return error

    train(centred, loss, torch.optim.SGD(model.parameters(), lr=lr), steps, evaluate=look, record_at=range(steps + 1))
    return torch.stack(shares)
