r"""A trained family's logit in parts: what each block of its kernel says, what single words could say, and flips.

What the experiment on decisions measures with. Chapter: book/text/decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from entk_tutorial.data.corpus import Corpus
from entk_tutorial.infinite import critical_learning_rate, kernel_gradient_descent
from entk_tutorial.infinite.blocks import (
    BIGRAMS,
    LENGTH,
    TOKENS,
    bigram_split,
    bigram_weight,
    document_parts,
    feature_blocks,
    joined,
    training_map,
)

DEAL_OFFSET = 90_000
"""Seeds of dealt labels and parts, kept apart from those of the documents."""


class Decided(NamedTuple):
    """A trained family on test documents.

    Attributes:
        logits: (M,) outputs.
        blocks: (M,) part of each block of the kernel.
        pure: the same after the bigram block has given to the others what single words can say.
        words: (V,) label scores.
        coefficients: (N,) of the training documents.
        lr: learning rate.
    """

    logits: np.ndarray
    blocks: dict[str, np.ndarray]
    pure: dict[str, np.ndarray]
    words: np.ndarray
    coefficients: Tensor
    lr: float


def decide(corpus: Corpus, family: str, *, steps: int, rate: float, labels: Tensor | None = None) -> Decided:
    """Train a family at infinite width, and take its logits on test documents apart.

    Example:
        >>> from entk_tutorial.data.sentiment import sentiment_corpus
        >>> found = decide(sentiment_corpus(), "mv", steps=20, rate=0.5)
        >>> bool(np.abs(sum(found.blocks.values()) - found.logits).max() < 1e-10)
        True
        >>> sorted(found.blocks), sorted(found.pure)
        (['bigrams', 'tokens'], ['bigrams', 'length', 'tokens'])
    """
    vocabulary = len(corpus.words)
    tests = len(corpus.test)
    blocks = feature_blocks(family, corpus.test + [[a] for a in range(vocabulary)], corpus.train, pad_token=vocabulary)
    kernel = training_map(blocks)
    lr = rate * critical_learning_rate(kernel, "logistic")
    run = kernel_gradient_descent(kernel, corpus.labels if labels is None else labels, "logistic", lr, steps)
    parts = {name: part.numpy() for name, part in document_parts(blocks, run.coefficients).items()}
    whole = run.predict(joined(blocks)).numpy()  # all features at once, so that "the parts add up" can fail
    found = {name: part[:tests] for name, part in parts.items()}
    pure = purified(corpus, family, found, run.coefficients)
    return Decided(whole[:tests], found, pure, whole[tests:], run.coefficients, lr)


def purified(corpus: Corpus, family: str, parts: dict[str, np.ndarray], coefficients: Tensor) -> dict[str, np.ndarray]:
    """Parts of the test documents after the analysis of variance of the bigram block; see :func:`bigram_split`.

    Bigrams with the pad token of a CNN are read as what they are, functions of the first or of the last word.
    """
    if BIGRAMS not in parts:
        return dict(parts)
    frequencies = corpus.counts().sum(1)
    split = bigram_split(corpus.train, coefficients, bigram_weight(family), frequencies).split(corpus.test)
    inner = {name: part.numpy() for name, part in split.items()}
    edges = parts[BIGRAMS] - sum(inner.values())
    zero = np.zeros(len(corpus.test))
    return parts | {
        LENGTH: parts.get(LENGTH, zero) + inner[LENGTH],
        TOKENS: parts.get(TOKENS, zero) + inner[TOKENS] + edges,
        BIGRAMS: inner[BIGRAMS],
    }


def interaction(parts: dict[str, np.ndarray]) -> np.ndarray:
    """(M,) all parts that are neither length nor words."""
    return np.asarray(sum(part for name, part in parts.items() if name not in (LENGTH, TOKENS)))


def correct(outputs: np.ndarray, labels: Tensor) -> float:
    """Share of right signs; 0 counts half."""
    return float(np.where(outputs == 0, 0.5, (outputs > 0) == (labels.numpy() == 1)).mean())


def flips(logits: np.ndarray, part: np.ndarray) -> np.ndarray:
    """(M,) whether the decision changes when a part is taken away.

    Example:
        >>> flips(np.array([1.0, -1.0]), np.array([3.0, 0.5])).tolist()
        [True, False]
    """
    return np.asarray((logits > 0) != (logits - part > 0))


def flip_measures(
    decided: Decided, part: np.ndarray, labels: Tensor, groups: dict[str, np.ndarray], seed: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Flips without a part, by kind of document, and what the part is worth; the same for the part dealt at random.

    ``flip`` and ``flip_<kind>``: shares of documents; ``gain``: accuracy with the part less accuracy without.
    """

    def one(values: np.ndarray) -> dict[str, float]:
        changed = flips(decided.logits, values)
        out = {"flip": float(changed.mean())}
        out |= {f"flip_{kind}": float(changed[mask].mean()) for kind, mask in groups.items()}
        return out | {"gain": correct(decided.logits, labels) - correct(decided.logits - values, labels)}

    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(seed + DEAL_OFFSET)).numpy()
    return one(part), one(part[order])


def word_sum(documents: Sequence[Sequence[int]], scores: np.ndarray) -> np.ndarray:
    """(M,) label scores of the words of each document, summed."""
    return np.array([scores[list(d)].sum() for d in documents])


def sum_measures(decided: Decided, documents: Sequence[Sequence[int]]) -> dict[str, float]:
    """How far the sum of label scores is the logit: agreement of signs, correlation, largest gap over the rms logit."""
    total, logits = word_sum(documents, decided.words), decided.logits
    agree = np.where(total == 0, 0.5, (total > 0) == (logits > 0)).mean()
    scale = np.sqrt(np.mean(logits**2))
    corr = correlation(total, logits) if total.std() > 0 else 0.0
    return {"sum_agree": float(agree), "sum_correlation": corr, "sum_gap": float(np.abs(total - logits).max() / scale)}


def correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Pearson's; 0 where one side is constant."""
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else 0.0
