r"""What a family of networks can represent, read off its kernel on a few probe documents.

Every function that training can add to f is a combination of the kernel's features. Mixed differences of the features
over documents that differ in one, two, ... places say whether the family has features of one token, of two, ...
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.infinite.attention import attention_kernel
from entk_tutorial.infinite.cnn import cnn_kernel
from entk_tutorial.infinite.kernel import Kernel
from entk_tutorial.infinite.linear import linear_kernel
from entk_tutorial.infinite.mlp import mlp_kernel
from entk_tutorial.infinite.multiplicative import hadamard_kernel, mv_kernel
from entk_tutorial.infinite.recurrent import matrix_product_kernel, rnn_kernel

KernelFunction = Callable[[Sequence[Sequence[int]]], Kernel]
LENGTH = 4
ZERO = 1e-9

FAMILY_KERNELS: dict[str, KernelFunction] = {
    "linear": linear_kernel,
    "MLP per token, relu": mlp_kernel,
    "MLP per token, tanh": lambda docs: mlp_kernel(docs, activation="tanh"),
    "MLP on the pooled document, relu": lambda docs: mlp_kernel(docs, pool_first=True),
    "CNN, linear": lambda docs: cnn_kernel(docs, activation="linear"),
    "CNN, relu": cnn_kernel,
    "CNN, tanh": lambda docs: cnn_kernel(docs, activation="tanh"),
    "attention, tied": attention_kernel,
    "attention, independent Q and K, 1/n": lambda docs: attention_kernel(docs, variant="uniform"),
    "attention, many heads, identity": lambda docs: attention_kernel(docs, variant="heads", scores="identity"),
    "attention, many heads, softmax": lambda docs: attention_kernel(
        docs, variant="heads", n_samples=100, generator=torch.Generator().manual_seed(0)
    ),
    "Hadamard": hadamard_kernel,
    "Hadamard, tied": lambda docs: hadamard_kernel(docs, tied=True),
    "matrix-vector (MV)": mv_kernel,
    "additive linear RNN": lambda docs: rnn_kernel(docs, kind="additive", readout="last"),
    "gated linear RNN": rnn_kernel,
    "matrix product": matrix_product_kernel,
    "residual matrix product": lambda docs: matrix_product_kernel(docs, residual=True),
}
"""One member of each family, all sigmas 1, a CNN window of 2; every key is a row of the summary table."""

FEATURES: dict[str, str] = {
    "linear": "words",
    "MLP per token, relu": "words, and the length",
    "MLP per token, tanh": "words",
    "MLP on the pooled document, relu": "sets of words of all sizes",
    "CNN, linear": "words by slot",
    "CNN, relu": "words by slot, bigrams",
    "CNN, tanh": "words by slot, bigrams",
    "attention, tied": "words, reweighted",
    "attention, independent Q and K, 1/n": "words",
    "attention, many heads, identity": "pairs of words",
    "attention, many heads, softmax": "sets of words",
    "Hadamard": "bigrams",
    "Hadamard, tied": "unordered bigrams",
    "matrix-vector (MV)": "words, bigrams",
    "additive linear RNN": "words by lag",
    "gated linear RNN": "all substrings",
    "matrix product": "the whole document",
    "residual matrix product": "all subsequences",
}
"""What the features of each family are, in words, for one-hot tokens."""

CONDITIONS: dict[str, str] = {
    "linear": "exact at every width",
    "MLP per token, relu": "additive at any depth; bias in the readout only",
    "MLP per token, tanh": "odd activations have no bias",
    "MLP on the pooled document, relu": "no order",
    "CNN, linear": "sees edges only",
    "CNN, relu": "window 2; bigram weight free of the scale",
    "CNN, tanh": "bigrams vanish at small initial weights",
    "attention, tied": "one-hot tokens; scores scaled by 1/n",
    "attention, independent Q and K, 1/n": "attention becomes uniform",
    "attention, many heads, identity": "number of heads to infinity",
    "attention, many heads, softmax": "100 sampled score tables; no closed form",
    "Hadamard": "no words; pair seen in training",
    "Hadamard, tied": "bias only where a word follows itself",
    "matrix-vector (MV)": "pair seen in training",
    "additive linear RNN": "no products",
    "gated linear RNN": "weight 3l r^(l-1)",
    "matrix product": "memorises",
    "residual matrix product": "weight by length; a constant",
}
"""What to know about each family beside its features."""


@dataclass(frozen=True)
class Probe:
    r"""What one kernel says about its family.

    Attributes:
        bias: :math:`\Theta(ab, cd)/\Theta(ab, ab)` for four different tokens: what two documents without a common token
            share.
        order: squared feature distance of "ab" and "ba" over that of "ab" and "cd" without the bias; 0 if order is
            invisible.
        interaction: share of the feature variance over the four documents {a, c} x {b, d} that is not a sum of a
            feature of the first token and one of the second; 0 for every additive family, 1/3 if all four documents
            are equally far apart.
        degree: largest k, up to 4, for which k tokens in a row have a k-fold mixed difference: the longest n-gram (4
            means "4 or more").
        gap: cosine between the interaction of two tokens around one middle word and around another; above 0 if a pair
            of tokens that are not neighbours is a feature of its own, 0 if not (or if there is no interaction).
    """

    bias: float
    order: float
    interaction: float
    degree: int
    gap: float


def mixed_difference(
    corners: Sequence[tuple[int, int]], *, before: Sequence[int] = ()
) -> tuple[list[list[int]], Tensor]:
    """The 2^k documents with one of two tokens in each of k places, and their signs in the k-fold mixed difference.

    Args:
        corners: for each place the two tokens it may hold.
        before: tokens that stand before all of them.

    Returns:
        2^k documents, and (2^k,) signs: one minus for each place that holds its second token.

    Example:
        >>> docs, signs = mixed_difference([(0, 1), (2, 3)])
        >>> docs, signs.tolist()
        ([[0, 2], [0, 3], [1, 2], [1, 3]], [1.0, -1.0, -1.0, 1.0])
    """
    choices = list(itertools.product((0, 1), repeat=len(corners)))
    docs = [[*before, *(pair[i] for pair, i in zip(corners, choice, strict=True))] for choice in choices]
    return docs, torch.tensor([(-1.0) ** sum(choice) for choice in choices], dtype=torch.float64)


def probe(kernel: KernelFunction) -> Probe:
    """Bias, order sensitivity, interaction, n-gram order and gaps of the tangent kernel of one family.

    Args:
        kernel: documents -> Kernel, e.g. ``entk_tutorial.infinite.mv_kernel``.

    Example:
        >>> probe(linear_kernel)
        Probe(bias=0.0, order=0.0, interaction=0.0, degree=1, gap=0.0)
        >>> probe(mv_kernel).degree
        2

    Chapter: book/infinite/multiplicative.
    """
    pairs = kernel([[0, 1], [1, 0], [2, 3]]).ntk
    own, apart = float(pairs[0, 0]), float(pairs[0, 0] - pairs[0, 2])
    bias = float(pairs[0, 2]) / own
    order = float(pairs[0, 0] - pairs[0, 1]) / apart

    docs, signs = mixed_difference([(0, 1), (2, 3)])
    table = kernel(docs).ntk
    spread = float(table.trace() - table.sum() / 4)
    interaction = float(signs @ table @ signs) / 4 / spread

    degree = 0
    for k in range(1, LENGTH + 1):
        # One fixed token in front, so that every family gets documents of at least two tokens.
        corners, weights = mixed_difference([(2 * i + 1, 2 * i + 2) for i in range(k)], before=[0])
        values = kernel(corners).ntk
        if float(weights @ values @ weights) > ZERO * float(values.trace()):
            degree = k
    around = [[0, 4, 2], [0, 4, 3], [1, 4, 2], [1, 4, 3], [0, 5, 2], [0, 5, 3], [1, 5, 2], [1, 5, 3]]
    middle = kernel(around).ntk
    first, second = torch.cat([signs, 0 * signs]), torch.cat([0 * signs, signs])
    size = float(first @ middle @ first)
    gap = float(first @ middle @ second) / size if size > ZERO * float(middle.trace()) else 0.0
    bias, order, interaction, gap = (0.0 if abs(x) < ZERO else x for x in (bias, order, interaction, gap))
    return Probe(bias, order, interaction, degree, gap)
