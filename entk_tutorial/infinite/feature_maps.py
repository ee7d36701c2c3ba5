"""Tangent kernels of one-hot tokens as explicit sparse features: thousands of documents without an N x N table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from torch import Tensor

from entk_tutorial.infinite.attention import check_choices, fixed_weights
from entk_tutorial.infinite.cnn import class_counts, cnn_constants, subset_ids, windows
from entk_tutorial.infinite.dual import Activation
from entk_tutorial.infinite.mlp import mlp_constants
from entk_tutorial.infinite.multiplicative import bigram_ids
from entk_tutorial.infinite.recurrent import gated_weights
from entk_tutorial.infinite.tokens import (
    Array,
    DocumentsLike,
    TokenPair,
    as_tensor,
    check_sigmas,
    counts,
    id_counts,
    ngram_counts,
    pooling_scale,
    token_pair,
)


@dataclass(frozen=True)
class FeatureMap:
    r"""Sparse features whose inner products are a tangent kernel.

    .. math:: \Theta(x, x') = \langle\varphi(x), \varphi(x')\rangle

    Attributes:
        first: (N1, F) features of ``docs1``.
        second: (N2, F) features of ``docs2``, in the same columns; ``first`` itself where there was no ``docs2``.

    Behaves as the (N1, N2) kernel in ``feature_map @ coefficients``; :meth:`transpose` gives the (N2, N1) one, e.g. for
    test documents.
    """

    first: sparse.csr_array
    second: sparse.csr_array

    @property
    def shape(self) -> tuple[int, int]:
        """(N1, N2) of the kernel."""
        return int(self.first.shape[0]), int(self.second.shape[0])

    def __matmul__(self, coefficients: Tensor) -> Tensor:
        """Kernel times a vector (N2,) or a matrix (N2, C), in time proportional to the number of nonzero features."""
        return as_tensor(np.asarray(self.first @ (self.second.T @ coefficients.detach().cpu().numpy())))

    def transpose(self) -> FeatureMap:
        """The same kernel with its two lists of documents exchanged."""
        return FeatureMap(self.second, self.first)

    def train(self) -> FeatureMap:
        """The (N1, N1) kernel of the first list with itself."""
        return FeatureMap(self.first, self.first)

    def to_dense(self) -> Tensor:
        """(N1, N2) kernel as a float64 tensor."""
        return as_tensor((self.first @ self.second.T.tocsr()).toarray())


def _stack(blocks: Sequence[tuple[float, sparse.csr_array, sparse.csr_array]]) -> FeatureMap:
    """Columns of all blocks with a positive weight, each scaled by the root of its weight."""
    kept = [(np.sqrt(weight), left, right) for weight, left, right in blocks if weight > 0]
    if not kept:
        raise ValueError("every feature has weight 0, so the kernel is 0 and nothing can be learned; check the sigmas")
    first = sparse.csr_array(sparse.hstack([root * left for root, left, _ in kept], format="csr"))
    second = sparse.csr_array(sparse.hstack([root * right for root, _, right in kept], format="csr"))
    return FeatureMap(first, second)


def _column(values: Array) -> sparse.csr_array:
    return sparse.csr_array(np.asarray(values, dtype=np.float64)[:, None])


def _rows(scale: Array, features: sparse.csr_array) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array(scale) @ features)


def _scaled(numbers: tuple[Array, Array], pooling: str, maps: FeatureMap) -> FeatureMap:
    scales = [pooling_scale(pooling, number) for number in numbers]
    return FeatureMap(_rows(scales[0], maps.first), _rows(scales[1], maps.second))


def _bags(pair: TokenPair) -> tuple[sparse.csr_array, sparse.csr_array]:
    return counts(pair.first, pair.vocab), counts(pair.second, pair.vocab)


def linear_features(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    sigma_e: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> FeatureMap:
    r"""Features of :func:`linear_kernel` on one-hot tokens: the bag of words.

    :math:`\sqrt2\,\sigma_v\sigma_e c_x\,n_a(x)`, one column a token.

    Example:
        >>> linear_features([[0, 0, 1], [1]]).to_dense().round(decimals=12).tolist()
        [[10.0, 2.0], [2.0, 2.0]]

    Chapter: book/infinite/linear.
    """
    check_sigmas(sigma_e=sigma_e, sigma_v=sigma_v)
    pair = token_pair(docs1, docs2, None)
    maps = _stack([(2 * sigma_v**2 * sigma_e**2, *_bags(pair))])
    return _scaled((pair.first.lengths, pair.second.lengths), pooling, maps)


def mlp_features(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    activation: Activation = "relu",
    sigma_e: float = 1.0,
    sigma_w: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> FeatureMap:
    r"""Features of :func:`mlp_kernel` (one hidden layer on each token) on one-hot tokens.

    :math:`c_x\,(\sqrt{A-B}\;n_a(x))_a` and :math:`c_x\sqrt B\,T`: a bag of words and the length; see
    :func:`mlp_constants`.

    Example:
        >>> docs = [[0, 1, 1], [2]]
        >>> from entk_tutorial.infinite import mlp_kernel
        >>> bool((mlp_features(docs).to_dense() - mlp_kernel(docs).ntk).abs().max() < 1e-12)
        True

    Chapter: book/text/activation-bias.
    """
    pair = token_pair(docs1, docs2, None)
    a, b = mlp_constants(activation, sigma_e=sigma_e, sigma_w=sigma_w, sigma_v=sigma_v)
    bias = (b, _column(pair.first.lengths), _column(pair.second.lengths))
    maps = _stack([(a - b, *_bags(pair)), bias])
    return _scaled((pair.first.lengths, pair.second.lengths), pooling, maps)


def cnn_features(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    window: int = 2,
    padding: int = 0,
    pad_token: int | None = None,
    activation: Activation = "relu",
    sigma_e: float = 1.0,
    sigma_w: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> FeatureMap:
    r"""Features of :func:`cnn_kernel` on one-hot tokens: for each subset of slots, counts of what stands there.

    For a window of 2: the number of windows, the tokens in the first slot, the tokens in the second slot, the bigrams,
    each times the root of its weight in :func:`cnn_constants`.

    Raises:
        ValueError: for zero padding (``padding`` without ``pad_token``): windows of different variance have no such
            map. Use a pad token.

    Example:
        >>> cnn_features([[0, 1], [0, 2]], activation="linear").to_dense().round(decimals=12).tolist()
        [[3.0, 1.5], [1.5, 3.0]]

    Chapter: book/infinite/cnn.
    """
    if padding and pad_token is None:
        raise ValueError(
            "windows with zero padding differ in variance and have no such feature map; give a pad_token, or use "
            "cnn_kernel"
        )
    weights = cnn_constants(window, activation, sigma_e=sigma_e, sigma_w=sigma_w, sigma_v=sigma_v)
    pair = token_pair(docs1, docs2, None, () if pad_token is None else (pad_token,))
    left, right = (windows(docs, window, padding, pair.extra) for docs in (pair.first, pair.second))
    blocks = []
    for subset, first, second, number in subset_ids(left, right, pair.vocab):
        both = [class_counts(side, ids, subset, window, number) for side, ids in ((left, first), (right, second))]
        blocks.append((weights[len(subset)], both[0], both[1]))
    return _scaled((left.number, right.number), pooling, _stack(blocks))


def attention_features(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    variant: str = "tied",
    query: str = "sum",
    beta: float = 1.0,
    sigma_e: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> FeatureMap:
    r"""Features of the "tied" or "uniform" :func:`attention_kernel` on one-hot tokens: a bag of words, reweighted.

    :math:`\sqrt2\,\sigma_v\sigma_e c_x\sum_{t_j=a}w_j(x)`, with w_j the softmax attention that position j receives.

    Example:
        >>> from entk_tutorial.infinite import attention_kernel
        >>> docs = [[0, 1, 1], [1, 2]]
        >>> bool((attention_features(docs).to_dense() - attention_kernel(docs).ntk).abs().max() < 1e-12)
        True

    Chapter: book/infinite/attention.
    """
    if variant not in ("tied", "uniform"):
        raise ValueError(
            f"variant {variant!r} has no such features; expected 'tied' or 'uniform', or use attention_kernel"
        )
    check_choices(variant, "softmax", query, pooling)
    check_sigmas(sigma_e=sigma_e, sigma_v=sigma_v)
    pair = token_pair(docs1, docs2, None)
    left, right = fixed_weights(pair, variant, beta * sigma_e**2, "softmax", query == "last")
    bags = counts(pair.first, pair.vocab, left), counts(pair.second, pair.vocab, right)
    maps = _stack([(2 * sigma_v**2 * sigma_e**2, *bags)])
    return _scaled((pair.first.lengths, pair.second.lengths), pooling, maps)


def hadamard_features(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    sigma_e: float = 1.0,
    sigma_a: float = 1.0,
    sigma_b: float = 1.0,
    sigma_v: float = 1.0,
) -> FeatureMap:
    r"""Features of the untied :func:`hadamard_kernel` on one-hot tokens: bigram counts.

    Each is multiplied by :math:`\sqrt5\,\sigma_v\sigma_A\sigma_B\sigma_e^2`.

    Example:
        >>> hadamard_features([[0, 1], [1, 0]]).to_dense().round(decimals=12).tolist()
        [[5.0, 0.0], [0.0, 5.0]]

    Chapter: book/infinite/multiplicative.
    """
    check_sigmas(sigma_e=sigma_e, sigma_a=sigma_a, sigma_b=sigma_b, sigma_v=sigma_v)
    pair = token_pair(docs1, docs2, None)
    return _stack([(5 * sigma_v**2 * sigma_a**2 * sigma_b**2 * sigma_e**4, *_bigram_counts(pair))])


def mv_features(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    sigma_e: float = 1.0,
    sigma_u: float = 1.0,
    sigma_m: float = 1.0,
    sigma_v: float = 1.0,
) -> FeatureMap:
    r"""Features of :func:`mv_kernel` on one-hot tokens: counts of tokens and of bigrams.

    With all sigmas 1 they are multiplied by :math:`\sqrt2` and by :math:`\sqrt3`.

    Example:
        >>> mv_features([[0, 1], [1, 0]]).to_dense().round(decimals=12).tolist()
        [[7.0, 4.0], [4.0, 7.0]]

    Chapter: book/infinite/multiplicative.
    """
    check_sigmas(sigma_e=sigma_e, sigma_u=sigma_u, sigma_m=sigma_m, sigma_v=sigma_v)
    pair = token_pair(docs1, docs2, None)
    scale = sigma_v**2 * sigma_e**2
    return _stack([(2 * scale * sigma_u**2, *_bags(pair)), (3 * scale * sigma_m**2, *_bigram_counts(pair))])


def gated_rnn_features(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    readout: str = "sum",
    sigma_e: float = 1.0,
    sigma_g: float = 1.0,
    sigma_u: float = 1.0,
    sigma_b: float = 1.0,
    sigma_v: float = 1.0,
) -> FeatureMap:
    r"""Features of the gated :func:`rnn_kernel` on one-hot tokens: counts of substrings ("sum") or suffixes ("last").

    A substring of length l has weight :math:`3l\,\sigma_v^2\sigma_b^2\sigma_e^2\,(\sigma_g\sigma_u\sigma_e)^{2(l-1)}`.

    Example:
        >>> gated_rnn_features([[0, 1, 2], [0, 1]]).to_dense().round(decimals=12).tolist()
        [[30.0, 12.0], [12.0, 12.0]]

    Chapter: book/infinite/multiplicative.
    """
    check_sigmas(sigma_e=sigma_e, sigma_g=sigma_g, sigma_u=sigma_u, sigma_b=sigma_b, sigma_v=sigma_v)
    if readout not in ("sum", "last"):
        raise ValueError(f"unknown readout {readout!r}; expected 'sum' or 'last'")
    pair = token_pair(docs1, docs2, None)
    rate, source = (sigma_g * sigma_u * sigma_e) ** 2, (sigma_b * sigma_e) ** 2
    blocks = []
    for length, (left, right) in enumerate(ngram_counts(pair, suffix=readout == "last"), start=1):
        w = gated_weights(length, rate, source)
        blocks.append((sigma_v**2 * (w["v"] + w["E"] + w["W_b"] + 2 * w["W_u"]), left, right))
    return _stack(blocks)


def _bigram_counts(pair: TokenPair) -> tuple[sparse.csr_array, sparse.csr_array]:
    ids, valid, number = bigram_ids(pair)
    return id_counts(ids[0], valid[0], number), id_counts(ids[1], valid[1], number)
