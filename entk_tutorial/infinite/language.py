r"""Next-word prediction at infinite width: where the scores of all words and targets start to go, and how they flow.

A language model is a classifier with one class a word. Readout rows of different classes are independent, so at the
start the tangent kernel is :math:`\delta_{cc'}\Theta`: each class has the same kernel, and the softmax alone couples
them. Chapter: book/text/language-model.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from entk_tutorial.data.language import cooccurrence

__all__ = ["bigram_flow", "bigram_rate", "prior_term", "score_velocity"]


def prior_term(targets: Tensor, vocabulary: int) -> Tensor:
    r"""(V,) float64: :math:`N_c - N/V`, how much more often than one in V each class is the target.

    Args:
        targets: (N,) token ids.
        vocabulary: V.

    Example:
        >>> prior_term(torch.tensor([0, 0, 0, 1]), 2).tolist()
        [1.0, -1.0]
    """
    return torch.bincount(targets, minlength=vocabulary).double() - len(targets) / vocabulary


def score_velocity(contexts: Tensor, targets: Tensor, vocabulary: int, a: float, b: float) -> Tensor:
    r"""Velocity of all label scores at equal probabilities, from counts alone: softmax loss summed over contexts.

    .. math:: \dot s_c(a) = (A-B)\Big[\operatorname{co}(a,c)-\frac{N_a}V\Big] + B\,T\Big[N_c-\frac NV\Big]

    for the MLP on each token under the sum, with contexts of T words. The first bracket is the centred co-occurrence,
    the second the class prior, which all words share, also those that occur nowhere.

    Args:
        contexts: (N, T) token ids.
        targets: (N,) token ids.
        vocabulary: V.
        a: entry A of :func:`entk_tutorial.infinite.mlp_constants`.
        b: entry B.

    Returns:
        (V, V) float64, row: word, column: target. Rows sum to 0.

    Example:
        >>> contexts, targets = torch.tensor([[0], [0], [1]]), torch.tensor([1, 1, 0])
        >>> score_velocity(contexts, targets, 2, a=1.0, b=0.0).tolist()
        [[-1.0, 1.0], [0.5, -0.5]]

    Derived in book/text/language-model. Source: [Sun, Li & Lu 2023].
    """
    centred = cooccurrence(contexts, targets, vocabulary).centred
    return (a - b) * centred + b * contexts.shape[1] * prior_term(targets, vocabulary)


def bigram_rate(raw: Tensor, a: float, b: float, share: float = 0.5) -> float:
    r"""Learning rate of :func:`bigram_flow`, as a share of the largest that is safe for the softmax.

    The largest is :math:`2/(\frac12\lambda_{\max})`, with the largest eigenvalue of
    :math:`N^{1/2}\,\Theta\,N^{1/2}`, N the diagonal matrix of the words' counts.

    Args:
        raw: (V, C) counts of pairs.
        a: entry A of the word kernel.
        b: entry B.
        share: between 0 and 1.
    """
    roots = raw.sum(1).sqrt()
    kernel = b * roots[:, None] * roots[None, :] + torch.diag((a - b) * roots.square())
    return share * 4.0 / float(torch.linalg.eigvalsh(kernel)[-1])


def bigram_flow(raw: Tensor, a: float, b: float, lr: float, record_at: Iterable[int]) -> Tensor:
    r"""Label scores of the infinitely wide MLP with contexts of one word, along gradient descent from 0.

    .. math:: S \leftarrow S + \eta\,\Theta\,(\operatorname{co} - N\,\operatorname{softmax}S), \qquad
              \Theta_{aa'} = (A-B)\delta_{aa'} + B

    There are only V contexts, so that the whole training set is the table of counts.

    Args:
        raw: (V', C) counts of each word before each target; a row of zeros is a word never seen.
        a: entry A of the word kernel.
        b: entry B.
        lr: learning rate of the summed loss.
        record_at: steps at which to look, growing.

    Returns:
        (R, V', C) float64.

    Raises:
        ValueError: if ``record_at`` is empty or not growing from 0 or more.

    Example:
        >>> raw = torch.tensor([[3.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
        >>> bigram_flow(raw, a=2.0, b=1.0, lr=1.0, record_at=[1])[0].tolist()    # the second word was never seen
        [[2.0, -2.0], [1.0, -1.0]]

    Chapter: book/text/language-model.
    """
    steps = list(record_at)
    if not steps or steps[0] < 0 or sorted(set(steps)) != steps:
        raise ValueError(f"record_at={steps}; expected growing step numbers, 0 or more, at least one.")
    counts = raw.sum(1, keepdim=True)
    scores = torch.zeros_like(raw)
    seen = [scores] if steps[0] == 0 else []
    for step in range(1, steps[-1] + 1):
        pull = raw - counts * scores.softmax(1)  # (V', C)
        scores = scores + lr * ((a - b) * pull + b * pull.sum(0))
        if step in steps:
            seen.append(scores)
    return torch.stack(seen)
