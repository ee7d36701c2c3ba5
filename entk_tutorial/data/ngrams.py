"""What counts alone predict of the next word: unigram and bigram perplexities, the yardsticks of a language model."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Baselines", "Bigrams", "ngram_baselines"]

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
"""Pseudo-counts that are tried for the bigrams."""


@dataclass(frozen=True)
class Bigrams:
    """Counts of pairs, smoothed towards the unigram distribution.

    Attributes:
        raw: (V, V) float64, how often each token follows each.
        unigram: (V,) probabilities of targets, add-one smoothed.
    """

    raw: Tensor
    unigram: Tensor

    def probabilities(self, strength: float) -> Tensor:
        """(V, V): (co(a, c) + k p_c) / (N_a + k), k pseudo-counts of the unigram distribution."""
        return (self.raw + strength * self.unigram) / (self.raw.sum(1, keepdim=True) + strength)


@dataclass(frozen=True)
class Baselines:
    """Perplexities on held-out text.

    Attributes:
        unigram: of the frequencies of single words.
        bigram: of the smoothed pairs, at the number of pseudo-counts that is best *on the held-out text itself*: a
            favour to the baseline.
        strength: that number.
        table: the counts.
    """

    unigram: float
    bigram: float
    strength: float
    table: Bigrams


def ngram_baselines(previous: Tensor, targets: Tensor, before: Tensor, held_out: Tensor, vocabulary: int) -> Baselines:
    """Count training pairs, predict held-out ones.

    Args:
        previous: (N,) the word before each training target.
        targets: (N,) training targets.
        before: (M,) the word before each held-out target.
        held_out: (M,) held-out targets.
        vocabulary: V.

    Raises:
        ValueError: if there are no held-out targets.

    Example:
        >>> always = torch.tensor([1, 0, 1, 0, 1, 0])       # 1 follows 0, 0 follows 1
        >>> found = ngram_baselines(1 - always, always, 1 - always, always, 2)
        >>> round(found.unigram, 6), found.bigram < 1.2
        (2.0, True)

    Chapter: book/text/language-model.
    """
    if len(held_out) == 0:
        raise ValueError("there are no held-out targets; leave some texts out of training (test_fraction).")
    raw = torch.bincount(previous * vocabulary + targets, minlength=vocabulary**2).reshape(vocabulary, vocabulary)
    counts = torch.bincount(targets, minlength=vocabulary).double() + 1
    table = Bigrams(raw.double(), counts / counts.sum())

    def perplexity(log_probabilities: Tensor) -> float:
        return math.exp(-float(log_probabilities.mean()))

    tried = {k: perplexity(table.probabilities(k)[before, held_out].log()) for k in STRENGTHS}
    best = min(tried, key=lambda k: tried[k])
    return Baselines(perplexity(table.unigram[held_out].log()), tried[best], best, table)
