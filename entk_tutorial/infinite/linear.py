"""The linear token model: a bag of words, whatever the weights."""

from __future__ import annotations

from torch import Tensor

from entk_tutorial.infinite.kernel import Kernel, kernel_from_groups
from entk_tutorial.infinite.tokens import Array, DocumentsLike, TokenPair, check_sigmas, pooling_scale, token_pair


def linear_kernel(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    gram: Array | Tensor | None = None,
    sigma_e: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> Kernel:
    r"""Kernel of embeddings, pooled, and a linear readout.

    Architecture, with d the width: :math:`f(x) = \frac{\sigma_v}{\sqrt d}\, c_x\, v^\top\sum_t e_t`, token vectors
    :math:`e_a = \sigma_e E x_a`, and :math:`c_x` = 1 ("sum") or 1/T ("mean").

    .. math:: K = \Theta_v = \Theta_E = \sigma_v^2\, c_x c_{x'} \sum_{tt'} q_{tt'}, \qquad \Theta = 2K,

    with :math:`q_{ab} = \sigma_e^2\langle x_a, x_b\rangle`. Moving v sees the pooled embedding, whose inner products
    are the sum over q; moving E sees v at every token, and :math:`v^\top v/d \to 1`. One-hot tokens: the overlap of the
    two bags of words.

    Args:
        docs1: N1 documents: lists of token ids, or an (N, T) integer array with -1 as padding.
        docs2: N2 documents; by default ``docs1`` again.
        gram: (V, V) inner products of the token vectors before ``sigma_e``; by default one-hot.
        sigma_e: standard deviation of embedding weights.
        sigma_v: standard deviation of readout weights.
        pooling: "sum" or "mean" over tokens.

    Returns:
        (N1, N2) kernels with groups "E" and "v".

    Raises:
        ValueError: for documents, Gram, sigmas or pooling that make no sense; the message says what to change.

    Example:
        >>> linear_kernel([[0, 0, 1], [2]], sigma_v=2.0).ntk.tolist()     # 2 * 4 * (2*2 + 1*1), 2 * 4 * 1
        [[40.0, 0.0], [0.0, 8.0]]

    Chapter: book/infinite/linear. Source: [Sun, Li & Lu 2023].
    """
    check_sigmas(sigma_e=sigma_e, sigma_v=sigma_v)
    pair = token_pair(docs1, docs2, gram)
    kernel = sigma_v**2 * sigma_e**2 * pooled_overlap(pair, pooling)
    return kernel_from_groups(kernel, {"E": kernel, "v": kernel})


def pooled_overlap(pair: TokenPair, pooling: str) -> Array:
    """(N1, N2) sum over token pairs of the Gram, scaled by the pooling."""
    left, right = pooling_scale(pooling, pair.first.lengths), pooling_scale(pooling, pair.second.lengths)
    return pair.bag() * left[:, None] * right[None, :]
