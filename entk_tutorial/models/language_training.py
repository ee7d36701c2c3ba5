"""Text as sequences, and the training of a causal Transformer on them: a loss at every position."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from entk_tutorial.data.language import LanguageData
from entk_tutorial.models.centred import Centred
from entk_tutorial.models.language import MLPLanguage
from entk_tutorial.training import History, train

__all__ = ["Sequences", "Training", "perplexity", "sequences", "train_bigrams", "train_language"]


@dataclass(frozen=True)
class Sequences:
    """Inputs and, for every position, the token that comes next.

    Attributes:
        inputs: (N, T) token ids of training windows, one for each place where a window fits.
        targets: (N, T), the same one place later.
        test_inputs: (M, T) held-out windows that hardly overlap.
        test_targets: (M, T).
    """

    inputs: Tensor
    targets: Tensor
    test_inputs: Tensor
    test_targets: Tensor


def sequences(data: LanguageData) -> Sequences:
    """Windows with a target at each position, out of windows with one target at the end.

    Example:
        >>> from entk_tutorial.data.language import language_modelling
        >>> data = language_modelling(["a b c d", "a b c d"], vocabulary=4, context=3, test_fraction=0.5)
        >>> found = sequences(data)
        >>> found.inputs.tolist(), found.targets.tolist()
        ([[1, 2, 3]], [[2, 3, 4]])
    """
    whole = torch.cat([data.contexts, data.targets[:, None]], 1)
    held = torch.cat([data.test_contexts, data.test_targets[:, None]], 1)[:: data.contexts.shape[1]]
    return Sequences(whole[:, :-1], whole[:, 1:], held[:, :-1], held[:, 1:])


@dataclass(frozen=True)
class Training:
    """How a Transformer is trained: AdamW, a short warm-up, then a rate that falls to a tenth.

    Attributes:
        steps: updates.
        batch: windows an update.
        lr: largest learning rate.
        weight_decay: of AdamW.
        warm_up: steps over which the rate rises.
    """

    steps: int = 1200
    batch: int = 32
    lr: float = 3e-3
    weight_decay: float = 0.1
    warm_up: int = 50

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if min(self.steps, self.batch, self.warm_up) < 1 or not self.lr > 0 or self.weight_decay < 0:
            raise ValueError(f"{self}: steps, batch and warm_up from 1 on, a positive lr, weight_decay from 0 on.")

    def rate(self, step: int) -> float:
        """Share of ``lr`` at a step counted from 0."""
        return min(1.0, (step + 1) / self.warm_up) * (1 - 0.9 * step / self.steps)


def train_language(
    model: nn.Module,
    text: Sequences,
    training: Training,
    *,
    seed: int,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    record_at: Sequence[int] = (),
    stop: int | None = None,
    progress: bool = False,
) -> tuple[History, list[float]]:
    """Train on random windows, the mean cross-entropy over all positions.

    Args:
        model: (N, T) -> (N, T, V); trained in place.
        text: what to learn.
        training: how.
        seed: of the order of windows.
        evaluate: see :func:`entk_tutorial.training.train`.
        record_at: steps at which to evaluate.
        stop: end after that many steps, on the same schedule; None for all.
        progress: a bar on stderr.

    Returns:
        The history, and the training loss of each step, before its update.

    Example:
        >>> from entk_tutorial.models.language import TransformerLanguage
        >>> turns = torch.arange(40) % 4
        >>> text = Sequences(*[turns.unfold(0, 3, 1)[i : 30 + i] for i in (0, 1, 0, 1)])
        >>> model = TransformerLanguage(4, 3, d_model=16, heads=2, seed=0)
        >>> _, losses = train_language(model, text, Training(steps=40, warm_up=5), seed=0)
        >>> losses[0] > 1.3 and losses[-1] < 0.1
        True

    Chapter: book/text/language-model.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=training.lr, weight_decay=training.weight_decay)
    generator = torch.Generator().manual_seed(seed)
    losses: list[float] = []

    def loss(net: nn.Module) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = training.lr * training.rate(len(losses))
        rows = torch.randint(len(text.inputs), (training.batch,), generator=generator)
        value = cross_entropy(net(text.inputs[rows]).flatten(0, 1), text.targets[rows].flatten())
        losses.append(float(value.detach()))
        return value

    history = train(
        model,
        loss,
        optimizer,
        training.steps if stop is None else stop,
        evaluate=evaluate,
        record_at=record_at,
        progress=progress,
        description="language model",
    )
    return history, losses


def perplexity(model: nn.Module, inputs: Tensor, targets: Tensor, chunk: int = 256) -> float:
    """Exponential of the mean cross-entropy over all positions of all windows; V for equal probabilities.

    Args:
        model: (N, T) -> (N, T, V).
        inputs: (N, T).
        targets: (N, T).
        chunk: windows at a time.

    Example:
        >>> class Silent(nn.Module):
        ...     def forward(self, tokens):
        ...         return torch.zeros(*tokens.shape, 7)
        >>> round(perplexity(Silent(), torch.zeros(3, 2, dtype=torch.int64), torch.ones(3, 2, dtype=torch.int64)), 4)
        7.0
    """
    total = 0.0
    with torch.no_grad():
        for x, y in zip(inputs.split(chunk), targets.split(chunk), strict=True):
            total += float(cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum"))
    return math.exp(total / targets.numel())


def train_bigrams(
    model: MLPLanguage,
    raw: Tensor,
    *,
    lr: float,
    record_at: Sequence[int],
    optimiser: str = "gd",
    speed: dict[str, float] | None = None,
) -> Tensor:
    r"""Label scores along full-batch training on contexts of one word, less those before training.

    The training set is the table of counts: one pass over the vocabulary a step. What is trained is
    :math:`f - f_0`, so that all targets are equally likely at the start.

    Args:
        model: trained in place.
        raw: (tokens, V) counts; rows of zeros are words never seen.
        lr: of the summed loss for "gd"; of the mean loss for "adam".
        record_at: steps at which to look, growing; the last one ends the training.
        optimiser: "gd" or "adam".
        speed: factor on the learning rate by parameter name, for raw weights; "gd" alone.

    Returns:
        (R, tokens, V).

    Raises:
        ValueError: for an unknown optimiser, or ``record_at`` that is empty or not growing.

    Example:
        >>> raw = torch.tensor([[0.0, 9.0], [9.0, 0.0]])
        >>> scores = train_bigrams(MLPLanguage(2, 64, activation="tanh", seed=0), raw, lr=0.01, record_at=[0, 50])
        >>> scores[0].abs().max().item(), scores[1].argmax(1).tolist()
        (0.0, [1, 0])

    Chapter: book/text/language-model.
    """
    steps = list(record_at)
    if not steps or steps[0] < 0 or sorted(set(steps)) != steps:
        raise ValueError(f"record_at={steps}; expected growing step numbers, 0 or more, at least one.")
    if optimiser not in ("gd", "adam"):
        raise ValueError(f"unknown optimiser {optimiser!r}; expected 'gd' or 'adam'.")
    words = torch.arange(len(raw))[:, None]
    net = Centred(model)
    counts = raw.to(model.E.dtype)
    total, rows = counts.sum(), counts.sum(1)
    factors = speed or {}
    groups = [{"params": [p], "lr": lr * factors.get(name, 1.0)} for name, p in model.named_parameters()]
    chosen: torch.optim.Optimizer = (
        torch.optim.SGD(groups, lr=lr) if optimiser == "gd" else torch.optim.Adam(model.parameters(), lr=lr)
    )
    seen: list[Tensor] = []

    def look(model: nn.Module) -> dict[str, float]:
        seen.append(model(words))
        return {}

    def loss(model: nn.Module) -> Tensor:
        scores = model(words)
        summed = (rows * scores.logsumexp(1)).sum() - (counts * scores).sum()
        return summed if optimiser == "gd" else summed / total

    train(net, loss, chosen, steps[-1], evaluate=look, record_at=steps)
    return torch.stack(seen)
