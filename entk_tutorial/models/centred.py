"""A network minus what it said before training: the part of its output that training made, and its label scores."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from entk_tutorial.training import train


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


def train_scores(
    model: nn.Module,
    documents: Tensor,
    labels: Tensor,
    probes: Tensor,
    *,
    lr: float,
    record_at: Sequence[int],
    freeze: Collection[str] = (),
) -> Tensor:
    r"""Label scores on the way: full-batch gradient descent on the summed logistic loss of the centred network.

    The finite counterpart of ``kernel_gradient_descent(..., loss="logistic")``.

    Args:
        model: (N, T) tokens -> (N, 1); trained in place.
        documents: (N, T) token ids, -1 after the end of each document.
        labels: (N,) of 0 and 1.
        probes: (M, T') documents to look at, e.g. ``torch.arange(V)[:, None]`` for the scores of all words.
        lr: learning rate.
        record_at: steps at which to look, growing; the last one ends the training.
        freeze: names of parameters that do not train.

    Returns:
        (len(record_at), M) outputs on the probes, less those before training.

    Raises:
        ValueError: if ``record_at`` is empty or not growing from 0 or more, or a name in ``freeze`` is no parameter.

    Example:
        >>> from entk_tutorial.models.text import LinearText
        >>> words = torch.arange(2)[:, None]
        >>> model = LinearText(vocab=2, width=16, seed=0)
        >>> train_scores(model, words, torch.tensor([1, 0]), words, lr=0.1, record_at=[0, 100]).sign().tolist()
        [[0.0, 0.0], [1.0, -1.0]]

    Chapter: book/infinite/mlp.
    """
    steps = list(record_at)
    if not steps or steps[0] < 0 or sorted(set(steps)) != steps:
        raise ValueError(f"record_at={steps}; expected growing step numbers, 0 or more, at least one.")
    parameters = dict(model.named_parameters())
    unknown = sorted(set(freeze) - set(parameters))
    if unknown:
        raise ValueError(f"no parameter is called {', '.join(unknown)}; this model has {', '.join(parameters)}.")
    centred = Centred(model)
    target = labels.to(next(iter(parameters.values())).dtype)
    sgd = torch.optim.SGD([p for name, p in parameters.items() if name not in freeze], lr=lr)
    seen: list[Tensor] = []

    def look(net: nn.Module) -> dict[str, float]:
        seen.append(net(probes)[:, 0])
        return {}

    def loss(net: nn.Module) -> Tensor:
        return binary_cross_entropy_with_logits(net(documents)[:, 0], target, reduction="sum")

    train(centred, loss, sgd, steps[-1], evaluate=look, record_at=steps)
    return torch.stack(seen)
