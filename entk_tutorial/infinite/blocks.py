r"""Tangent kernels of text models taken apart: one feature map for words, one for the length, one for bigrams, ...

A kernel that is a sum of kernels gives every trained output as a sum of parts, :math:`f = \sum_b\Theta_b\,\alpha`, with
the same coefficients. A second split moves out of the bigram part what single words could have said.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import sparse
from torch import Tensor

from entk_tutorial.infinite.attention import fixed_weights
from entk_tutorial.infinite.cnn import cnn_constants
from entk_tutorial.infinite.dual import Activation
from entk_tutorial.infinite.feature_maps import FeatureMap
from entk_tutorial.infinite.linear import linear_kernel
from entk_tutorial.infinite.mlp import mlp_constants
from entk_tutorial.infinite.multiplicative import bigram_ids, hadamard_kernel, mv_kernel
from entk_tutorial.infinite.recurrent import gated_weights
from entk_tutorial.infinite.tokens import (
    Array,
    DocumentsLike,
    TokenPair,
    as_tensor,
    counts,
    id_counts,
    ngram_counts,
    token_pair,
)

Blocks = dict[str, FeatureMap]
SMALL_SIGMA = 0.1
NOTHING = 1e-12
"""Weights below are rounding: the bias of an odd activation is 0, and quadrature says 1e-35."""
LENGTH, TOKENS, BIGRAMS, TRIGRAMS, LONGER = "length", "tokens", "bigrams", "trigrams", "longer"
PARTS = (LENGTH, TOKENS, BIGRAMS, TRIGRAMS, LONGER)
"""Names of blocks, in the order in which they are shown."""
_Side = tuple[sparse.csr_array, sparse.csr_array]


def feature_blocks(family: str, docs1: DocumentsLike, docs2: DocumentsLike | None = None, *, pad_token: int) -> Blocks:
    r"""The feature map of a family's tangent kernel, one block for each kind of feature, all sigmas 1.

    .. math:: \Theta(x, x') = \sum_b\langle\varphi_b(x), \varphi_b(x')\rangle

    Args:
        family: one of ``BLOCK_FAMILIES``.
        docs1: N1 documents.
        docs2: N2 documents; by default ``docs1`` again.
        pad_token: a token id that no document holds; the CNNs put it at both ends of each document, so that every word
            stands once in each slot of a window.

    Substrings of the gated networks are counted up to the shorter of the longest documents of the two lists, which is
    all that their common kernel needs. For :func:`training_map` let ``docs1`` hold a document as long as any of
    ``docs2``.

    Returns:
        Name out of :data:`PARTS` -> FeatureMap. "length" holds what depends on the number of words alone, constants
        included.

    Raises:
        ValueError: for an unknown family, or a pad token that a document holds.

    Example:
        >>> blocks = feature_blocks("mv", [[0, 1], [1, 0]], pad_token=9)
        >>> {name: block.to_dense().round(decimals=12).tolist() for name, block in blocks.items()}
        {'tokens': [[4.0, 4.0], [4.0, 4.0]], 'bigrams': [[3.0, 0.0], [0.0, 3.0]]}

    Chapter: book/text/decision.
    """
    if family not in BLOCK_FAMILIES:
        raise ValueError(f"unknown family {family!r}; expected one of {', '.join(BLOCK_FAMILIES)}.")
    pair = token_pair(docs1, docs2, None, (pad_token,))
    if any(bool((side.tokens == pair.extra[0]).any()) for side in (pair.first, pair.second)):
        raise ValueError(f"pad_token={pad_token} occurs in a document; give an id that none holds.")
    return {name: part for name, part in BLOCK_FAMILIES[family](pair).items() if part.first.shape[1]}


def joined(blocks: Mapping[str, FeatureMap]) -> FeatureMap:
    """One feature map of all blocks: its kernel is the sum of theirs."""
    sides = [[getattr(block, side) for block in blocks.values()] for side in ("first", "second")]
    return FeatureMap(*(sparse.csr_array(sparse.hstack(side, format="csr")) for side in sides))


def training_map(blocks: Mapping[str, FeatureMap]) -> FeatureMap:
    """The (N2, N2) kernel of ``docs2`` with itself, its map made short: features of one document become one feature.

    Most long substrings stand in one document only. They matter for its entry on the diagonal, by the sum of their
    squares, and for nothing else.

    Example:
        >>> blocks = feature_blocks("rnn_gated", [[0, 1, 2], [0, 1]], pad_token=9)
        >>> short = training_map(blocks)
        >>> joined(blocks).shape, joined(blocks).first.shape[1], short.first.shape[1]
        ((2, 2), 9, 4)
        >>> bool((short.to_dense() - joined(blocks).to_dense()).abs().max() < 1e-12)
        True
    """
    features = sparse.csc_array(joined(blocks).second)
    owners = np.diff(features.indptr)
    shared = sparse.csr_array(features[:, owners > 1])
    squares = sparse.csr_array(features[:, owners == 1])
    own = np.sqrt(np.asarray(squares.multiply(squares).sum(axis=1)).ravel())
    rows = np.flatnonzero(own)
    private = sparse.csr_array((own[rows], (rows, np.arange(len(rows)))), shape=(len(own), len(rows)))
    short = sparse.csr_array(sparse.hstack([shared, private], format="csr"))
    return FeatureMap(short, short)


def document_parts(blocks: Mapping[str, FeatureMap], coefficients: Tensor) -> dict[str, Tensor]:
    r"""Each block's share of the outputs, :math:`f_b(x) = \Theta_b(x, X)\,\alpha`; they add up to the output.

    Args:
        blocks: maps of M documents against the N training documents.
        coefficients: (N,), e.g. ``kernel_gradient_descent(...).coefficients``.

    Returns:
        name -> (M,) part.
    """
    return {name: block @ coefficients for name, block in blocks.items()}


@dataclass(frozen=True)
class BigramSplit:
    r"""A function of neighbours, :math:`\sum_jw(t_j,t_{j+1})`, split by what one word could have said.

    .. math:: w(a, b) = m+r_a+c_b+i_{ab},\qquad \sum_ap_ar_a = \sum_bp_bc_b = 0,\quad
              \sum_ap_ai_{ab} = \sum_bp_bi_{ab} = 0,

    the analysis of variance of w under independent words with frequencies p. All rows outside the table are 0.

    Attributes:
        table: (V, V) sparse weights w of the bigrams.
        mean: m.
        first: (V,) r, of a word as the first of a pair.
        second: (V,) c, of a word as the second.
    """

    table: sparse.csr_array
    mean: float
    first: Array
    second: Array

    def split(self, docs: Sequence[Sequence[int]]) -> dict[str, Tensor]:
        """Parts "length", "tokens" and "bigrams", each (M,), which add up to the bigram block's output on M documents.

        "tokens" adds up over positions; it knows which word is first and which last, and nothing else of order.
        """
        total, length, tokens = (np.zeros(len(docs)) for _ in range(3))
        for i, doc in enumerate(docs):
            ids = np.asarray(doc)
            length[i] = self.mean * (len(ids) - 1)
            tokens[i] = self.first[ids[:-1]].sum() + self.second[ids[1:]].sum()
            if len(ids) > 1:
                total[i] = self.table[ids[:-1], ids[1:]].sum()
        parts = {LENGTH: length, TOKENS: tokens, BIGRAMS: total - length - tokens}
        return {name: as_tensor(values) for name, values in parts.items()}


def bigram_split(
    docs: Sequence[Sequence[int]], coefficients: Tensor, weight: float, frequencies: Tensor
) -> BigramSplit:
    r"""The bigram block of a trained output as a table of weights, with its analysis of variance.

    .. math:: w(a, b) = \text{weight}\cdot\sum_i\alpha_i\,\#\{(a,b)\text{ in document }i\}

    Args:
        docs: N training documents.
        coefficients: (N,) alpha.
        weight: of a common bigram in the kernel.
        frequencies: (V,) how often each word is expected, in any unit; words of frequency 0 have no say in the means.

    Raises:
        ValueError: if the numbers of documents and coefficients differ, or the frequencies are negative or all 0.

    Example:
        >>> import torch
        >>> found = bigram_split([[0, 1]], torch.tensor([2.0]), 3.0, torch.ones(2))
        >>> found.mean, found.first.tolist(), found.second.tolist()     # w(0, 1) = 6, the other three pairs 0
        (1.5, [1.5, -1.5], [-1.5, 1.5])
        >>> {name: part.tolist() for name, part in found.split([[0, 1]]).items()}
        {'length': [1.5], 'tokens': [3.0], 'bigrams': [1.5]}

    Chapter: book/text/decision.
    """
    if len(docs) != len(coefficients):
        raise ValueError(f"{len(docs)} documents, {len(coefficients)} coefficients; expected one each.")
    p = frequencies.double().numpy()
    if (p < 0).any() or not p.sum() > 0:
        raise ValueError("frequencies are counts of words, 0 or more, at least one of them positive.")
    p = p / p.sum()
    pairs = [np.asarray(doc) for doc in docs]
    rows, columns = (np.concatenate([ids[where] for ids in pairs]) for where in (slice(None, -1), slice(1, None)))
    values = weight * np.repeat(coefficients.numpy(), [len(ids) - 1 for ids in pairs])
    table = sparse.csr_array(sparse.coo_array((values, (rows, columns)), shape=(len(p), len(p))))
    by_first, by_second = table @ p, table.T @ p
    mean = float(p @ by_first)
    return BigramSplit(table, mean, by_first - mean, by_second - mean)


def bigram_weight(family: str) -> float:
    """Weight of a common bigram in the tangent kernel of a family; 0 if it has no bigram block.

    Example:
        >>> bigram_weight("mv"), bigram_weight("rnn_gated"), bigram_weight("linear")
        (3.0, 6.0, 0.0)
    """
    docs = [[0, 1]]
    blocks = feature_blocks(family, docs, pad_token=2)
    if BIGRAMS not in blocks:
        return 0.0
    # A padded document of two words holds three bigrams, two of them with the pad token.
    return float(blocks[BIGRAMS].to_dense()[0, 0]) / (3 if family.startswith("cnn") else 1)


def _block(weight: float, sides: _Side) -> FeatureMap:
    """Features scaled by the root of their weight; none at all where it is 0."""
    if weight < NOTHING:
        return FeatureMap(*(sparse.csr_array((side.shape[0], 0)) for side in sides))
    return FeatureMap(*(sparse.csr_array(np.sqrt(weight) * side) for side in sides))


def _bags(pair: TokenPair) -> _Side:
    return counts(pair.first, pair.vocab), counts(pair.second, pair.vocab)


def _columns(*columns: tuple[Array, Array]) -> _Side:
    return tuple(sparse.csr_array(np.stack(side, axis=1).astype(float)) for side in zip(*columns, strict=True))  # type: ignore[return-value]


def _bigrams(pair: TokenPair) -> _Side:
    ids, valid, number = bigram_ids(pair)
    return id_counts(ids[0], valid[0], number), id_counts(ids[1], valid[1], number)


def _linear(pair: TokenPair) -> Blocks:
    return {TOKENS: _block(float(linear_kernel([[0]]).ntk), _bags(pair))}


def _mlp(pair: TokenPair, activation: Activation) -> Blocks:
    a, b = mlp_constants(activation)
    return {
        LENGTH: _block(b, _columns((pair.first.lengths, pair.second.lengths))),
        TOKENS: _block(a - b, _bags(pair)),
    }


def _cnn(pair: TokenPair, activation: Activation, sigma_w: float = 1.0) -> Blocks:
    """Window of 2, a pad token at both ends: T + 1 windows; each word once in each slot; T + 1 bigrams."""
    bias, slot, pairs = cnn_constants(2, activation, sigma_w=sigma_w)
    sizes = [side.lengths for side in (pair.first, pair.second)]
    padded = [_padded(side.tokens, side.lengths, pair.extra[0]) for side in (pair.first, pair.second)]
    # The pad token stands once in each slot of every document: a constant of weight 2 * slot.
    bias = 0.0 if bias < NOTHING else bias
    constants = [np.stack([np.sqrt(bias) * (n + 1.0), np.full(len(n), np.sqrt(2 * slot))], axis=1) for n in sizes]
    held = [(tokens[:, :-1] >= 0) & (tokens[:, 1:] >= 0) for tokens in padded]
    codes = [np.where(ok, t[:, :-1] * (pair.vocab + 1) + t[:, 1:], 0) for t, ok in zip(padded, held, strict=True)]
    known, places = np.unique(np.concatenate([code.ravel() for code in codes]), return_inverse=True)
    cut = codes[0].size
    ids = [places[:cut].reshape(codes[0].shape), places[cut:].reshape(codes[1].shape)]
    bigrams = id_counts(ids[0], held[0], len(known)), id_counts(ids[1], held[1], len(known))
    return {
        LENGTH: FeatureMap(*(sparse.csr_array(c[:, c.any(axis=0)]) for c in constants)),
        TOKENS: _block(2 * slot, _bags(pair)),
        BIGRAMS: _block(pairs, bigrams),
    }


def _padded(tokens: Array, lengths: Array, pad: int) -> Array:
    table = np.pad(tokens, ((0, 0), (1, 1)), constant_values=-1)
    table[:, 0] = pad
    table[np.arange(len(table)), lengths + 1] = pad
    return np.asarray(table)


def _attention(pair: TokenPair) -> Blocks:
    weights = fixed_weights(pair, "tied", 1.0, "softmax", False)
    bags = counts(pair.first, pair.vocab, weights[0]), counts(pair.second, pair.vocab, weights[1])
    return {TOKENS: _block(float(linear_kernel([[0]]).ntk), bags)}


def _hadamard(pair: TokenPair) -> Blocks:
    return {BIGRAMS: _block(float(hadamard_kernel([[0, 1]]).ntk), _bigrams(pair))}


def _mv(pair: TokenPair) -> Blocks:
    one = float(mv_kernel([[0]]).ntk)
    return {
        TOKENS: _block(one, _bags(pair)),
        BIGRAMS: _block(float(mv_kernel([[0, 1]]).ntk) - 2 * one, _bigrams(pair)),
    }


def _gated(pair: TokenPair, rate: float = 1.0) -> Blocks:
    """Substrings by length; from four words on they are one block."""
    found: dict[str, list[FeatureMap]] = {}
    for length, sides in enumerate(ngram_counts(pair), start=1):
        w = gated_weights(length, rate, 1.0)
        name = {1: TOKENS, 2: BIGRAMS, 3: TRIGRAMS}.get(length, LONGER)
        total = w["v"] + w["E"] + w["W_b"] + 2 * w["W_u"]
        found.setdefault(name, []).append(_block(total, sides))
    return {name: joined(dict(enumerate(maps))) for name, maps in found.items()}  # type: ignore[arg-type]


BLOCK_FAMILIES: dict[str, Callable[[TokenPair], Blocks]] = {
    "linear": _linear,
    "mlp_relu": partial(_mlp, activation="relu"),
    "mlp_gelu": partial(_mlp, activation="gelu"),
    "mlp_tanh": partial(_mlp, activation="tanh"),
    "cnn_linear": partial(_cnn, activation="linear"),
    "cnn_relu": partial(_cnn, activation="relu"),
    "cnn_tanh": partial(_cnn, activation="tanh"),
    "cnn_tanh_small": partial(_cnn, activation="tanh", sigma_w=SMALL_SIGMA),
    "attention": _attention,
    "hadamard": _hadamard,
    "mv": _mv,
    "rnn_gated": _gated,
    "rnn_gated_half": partial(_gated, rate=0.25),
}
"""Families with explicit features, one-hot words, window 2. "rnn_gated_half" has half the gate: each further word of a
substring weighs a quarter."""
