r"""Ground truth over the documents of a sentiment corpus with negation, and what is measured on a kernel with it.

Chapter: book/beyond/text-eigenspaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from entk_tutorial.data.sentiment import SentimentCorpus
from entk_tutorial.empirical.eigen import top_eigenpairs
from entk_tutorial.empirical.similarity import centered_cosine
from entk_tutorial.features.alignment import subspace_overlap
from entk_tutorial.features.ngrams import (
    NgramBlocks,
    beyond,
    bigram_counts,
    label_weighted,
    ngram_blocks,
    rayleigh,
    squared_cosine,
    without,
    word_counts,
)

ZERO = 1e-9
"""Smaller shares of the trace are rounding, and the kernel then has no functions beyond sums over places."""


@dataclass(frozen=True)
class Lens:
    """Ground truth over the documents looked at, and what is measured on a kernel with it.

    Attributes:
        blocks: nested families of functions.
        labels: (N,) of -1 and 1.
        negation: (N,) pure bigram part of the sum over w of -polarity(w) times the count of "not w", over the words w
            that training negates: the pair function that the labels ask for.
        held_out: the same over the words that training never negates.
        elsewhere: the same over "a w" instead of "not w", one for each neutral a.
        other_signs: the same over "not w" with signs that say nothing of the polarity.
        row: (N, W) pure bigram parts of the counts of each "not w".
    """

    blocks: NgramBlocks
    labels: Tensor
    negation: Tensor
    held_out: Tensor
    elsewhere: list[Tensor]
    other_signs: list[Tensor]
    row: Tensor

    def measure(self, kernel: Tensor) -> dict[str, float]:
        """Shares, alignment, and the leading functions beyond sums over places (for kernels that have any).

        Returns:
            The shares of :meth:`NgramBlocks.shares`; ``alignment``, the centred cosine with the labels' kernel;
            ``negation``, the squared cosine of the first function beyond sums with the pair function that the labels
            ask for, and ``window``, the share of that function in the first W of them, W the number of words that
            training negates; ``row``, the overlap of these W with all functions of the pairs "not w", of W.
        """
        found = self.blocks.shares(kernel)
        found["alignment"] = centered_cosine(kernel, torch.outer(self.labels, self.labels))
        if found["bigrams"] + found["rest"] > ZERO:
            u = top_eigenpairs(beyond(kernel, self.blocks.additive), self.row.shape[1]).vectors
            found["negation"] = squared_cosine(u[:, 0], self.negation)
            found["window"] = float((u.T @ self.negation).square().sum() / self.negation.square().sum())
            found["row"] = subspace_overlap(u, self.row, center=False).value
        return found

    def sizes(self, kernel: Tensor) -> dict[str, float]:
        """Size of the kernel along each kind of pair function, in units of its mean eigenvalue."""
        along = partial(rayleigh, kernel)
        return {
            "lift": along(self.negation),
            "lift_held_out": along(self.held_out),
            "lift_elsewhere": _mean(map(along, self.elsewhere)),
            "lift_other_signs": _mean(map(along, self.other_signs)),
        }

    def lifts(self, kernel: Tensor, start: Tensor) -> dict[str, float]:
        """How much larger the kernel is along each than it was; ``preference``: "not w" against "a w"."""
        before, after = self.sizes(start), self.sizes(kernel)
        found = {name: after[name] / before[name] for name in after}
        return found | {"preference": found["lift"] / found["lift_elsewhere"]}


def make_lens(corpus: SentimentCorpus) -> Lens:
    """The ground truth over the test documents of a corpus."""
    documents, vocab = torch.tensor(corpus.test), len(corpus.words)
    blocks = ngram_blocks(documents, vocab)
    pairs = bigram_counts(documents, vocab)
    polarity = corpus.polarity.double()
    held = torch.zeros(vocab, dtype=torch.float64)
    held[list(corpus.held_out)] = 1.0
    open_words = [w for w in range(vocab) if polarity[w] and not held[w]]

    def direction(first: int, weights: Tensor) -> Tensor:
        return without(pairs[:, first] @ weights, blocks.additive)

    asked = -polarity * (1 - held)
    # All ways to give half of the words a plus, up to a common sign, that agree with the polarity on half of them.
    signs = [s for s in torch.cartesian_prod(*[torch.tensor([1.0, -1.0]).double()] * len(open_words)) if not s.sum()]
    other = [s for s in signs if s[0] > 0 and abs(float(s @ asked[open_words])) <= 2]
    spread = [torch.zeros(vocab, dtype=torch.float64).index_put((torch.tensor(open_words),), s) for s in other]
    return Lens(
        blocks,
        2.0 * corpus.test_labels.double() - 1,
        direction(corpus.negation, asked),
        direction(corpus.negation, -polarity * held),
        [direction(a, asked) for a in corpus.neutral],
        [direction(corpus.negation, s) for s in spread],
        without(pairs[:, corpus.negation, open_words], blocks.additive),
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


def learned_direction(corpus: SentimentCorpus, lens: Lens, labels: Tensor, order: str) -> Tensor:
    """Label-weighted co-occurrence, as a function of the documents: of words (less the constant) or of pure bigrams."""
    vocab = len(corpus.words)
    count = word_counts if order == "words" else lambda d, v: bigram_counts(d, v).flatten(1)
    training, documents = torch.tensor(corpus.train), torch.tensor(corpus.test)
    found = label_weighted(count(documents, vocab), count(training, vocab), labels)
    return without(found, lens.blocks.constant if order == "words" else lens.blocks.additive)


def towards_counts(kernel: Tensor, lens: Lens, words: Tensor, pairs: Tensor) -> dict[str, float]:
    """Squared cosine of the leading function with label-weighted counts: less the constant, and beyond sums."""
    found = {
        "leads_words": squared_cosine(top_eigenpairs(beyond(kernel, lens.blocks.constant), 1).vectors[:, 0], words)
    }
    rest = beyond(kernel, lens.blocks.additive)
    if float(rest.trace()) > ZERO * float(kernel.trace()):
        found["leads_pairs"] = squared_cosine(top_eigenpairs(rest, 1).vectors[:, 0], pairs)
    return found
