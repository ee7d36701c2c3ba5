"""Bigram models that multiply: Hadamard products of neighbours, and a matrix for each token (MV)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from entk_tutorial.infinite.kernel import Kernel, kernel_from_groups
from entk_tutorial.infinite.tokens import (
    PADDING,
    Array,
    Documents,
    DocumentsLike,
    TokenPair,
    check_sigmas,
    id_counts,
    joint_ids,
    multiply,
    only_sum_pooling,
    token_pair,
)


def hadamard_kernel(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    gram: Array | Tensor | None = None,
    tied: bool = False,
    sigma_e: float = 1.0,
    sigma_a: float = 1.0,
    sigma_b: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> Kernel:
    r"""Kernel of elementwise products of neighbouring tokens.

    Untied, with width d: :math:`f = \frac{\sigma_v}{\sqrt d}v^\top\sum_j(\frac{\sigma_A}{\sqrt
    d}Ae_{t_j})\odot(\frac{\sigma_B}{\sqrt d}Be_{t_{j+1}})`. Each factor has its own matrix, so first meets first and
    second meets second:

    .. math:: K = \sigma_v^2\sigma_A^2\sigma_B^2\sum_{jj'}q_{t_jt'_{j'}}\,q_{t_{j+1}t'_{j'+1}},\qquad
              \Theta_v=\Theta_A=\Theta_B=K,\quad \Theta_E=2K.

    Tied (the embeddings themselves are multiplied): :math:`f = \frac{\sigma_v}{\sqrt d}v^\top\sum_je_{t_j}\odot
    e_{t_{j+1}}`. By Wick's rule, with a, b the neighbours in one document and c, d in the other,

    .. math:: K = \sigma_v^2\sum_{jj'}[q_{ac}q_{bd}+q_{ad}q_{bc}+q_{ab}q_{cd}],\quad \Theta_v=K,\quad
              \Theta_E = 2\sigma_v^2\sum_{jj'}[q_{ac}q_{bd}+q_{ad}q_{bc}]:

    order is lost, and a token next to itself has a mean, which only the readout sees.

    Args:
        docs1: N1 documents of at least two tokens: lists of token ids, or an (N, T) integer array with -1 as padding.
        docs2: N2 documents; by default ``docs1`` again.
        gram: (V, V) inner products of the token vectors before ``sigma_e``; by default one-hot.
        tied: multiply the embeddings themselves.
        sigma_e: standard deviation of embedding weights.
        sigma_a: standard deviation of A; not with ``tied``.
        sigma_b: standard deviation of B; not with ``tied``.
        sigma_v: standard deviation of readout weights.
        pooling: must stay "sum".

    Returns:
        (N1, N2) kernels with groups "E", "A", "B", "v", or "E", "v" when tied.

    Raises:
        ValueError: for a document of one token, and for other arguments that make no sense.

    Example:
        >>> k = hadamard_kernel([[0, 1], [1, 0], [0, 2]])          # only the same bigram counts
        >>> k.ntk[0].tolist()
        [5.0, 0.0, 0.0]
        >>> hadamard_kernel([[0, 1], [1, 0], [0, 2]], tied=True).ntk[0].tolist()      # 1 for v, 2 for E, in any order
        [3.0, 3.0, 0.0]

    Chapter: book/infinite/multiplicative.
    """
    check_sigmas(sigma_e=sigma_e, sigma_a=sigma_a, sigma_b=sigma_b, sigma_v=sigma_v)
    only_sum_pooling(pooling, "hadamard_kernel")
    if tied and (sigma_a != 1.0 or sigma_b != 1.0):
        raise ValueError(
            "the tied model has no A and B, so sigma_a and sigma_b mean nothing; leave them at 1, or set tied=False"
        )
    pair = token_pair(docs1, docs2, gram)
    for docs in (pair.first, pair.second):
        if (docs.lengths < 2).any():
            row = int(np.flatnonzero(docs.lengths < 2)[0])
            raise ValueError(
                f"a window of 2 is longer than document {row} (1 token); drop such documents, or use mv_kernel, which "
                "also sees single tokens"
            )
    straight = bigram_overlap(pair)
    if not tied:
        kernel = sigma_v**2 * sigma_a**2 * sigma_b**2 * sigma_e**4 * straight
        return kernel_from_groups(kernel, {"E": 2 * kernel, "A": kernel, "B": kernel, "v": kernel})
    crossed = bigram_overlap(pair, reverse=True)
    own = [_neighbour_gram(pair, docs) for docs in (pair.first, pair.second)]
    meet = sigma_v**2 * sigma_e**4 * (straight + crossed)
    readout = meet + sigma_v**2 * sigma_e**4 * own[0][:, None] * own[1][None, :]
    return kernel_from_groups(readout, {"E": 2 * meet, "v": readout})


def mv_kernel(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    gram: Array | Tensor | None = None,
    sigma_e: float = 1.0,
    sigma_u: float = 1.0,
    sigma_m: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> Kernel:
    r"""Kernel of the matrix-vector model: each token has a vector, and a matrix that acts on the next token's vector.

    With width d:

    .. math:: f = \frac{\sigma_v}{\sqrt d}v^\top\Big[\sigma_u\sum_te_t
              +\frac{\sigma_M}{\sqrt d}\sum_jM_{t_j}e_{t_{j+1}}\Big]

    .. math:: K_1=\sigma_v^2\sigma_u^2\sum_{tt'}q_{tt'},\quad
              K_2=\sigma_v^2\sigma_M^2\sum_{jj'}\delta_{t_jt'_{j'}}\,q_{t_{j+1}t'_{j'+1}},\quad
              \Theta_v=\Theta_E=K_1+K_2,\quad \Theta_M=K_2.

    Matrices of different tokens are independent whatever the Gram: the first factor asks for the same token.

    Args:
        docs1: N1 documents: lists of token ids, or an (N, T) integer array with -1 as padding.
        docs2: N2 documents; by default ``docs1`` again.
        gram: (V, V) inner products of the token vectors before ``sigma_e``; by default one-hot.
        sigma_e: standard deviation of embedding weights.
        sigma_u: factor on the single-token path.
        sigma_m: standard deviation of the token matrices.
        sigma_v: standard deviation of readout weights.
        pooling: must stay "sum".

    Returns:
        (N1, N2) kernels with groups "E", "M" and "v".

    Raises:
        ValueError: for arguments that make no sense; the message says what to change.

    Example:
        >>> mv_kernel([[0, 1], [1, 0]]).ntk.tolist()      # 2 * 2 tokens + 3 * 1 bigram; in the wrong order tokens only
        [[7.0, 4.0], [4.0, 7.0]]

    Chapter: book/infinite/multiplicative. Source: [Sun, Li & Lu 2023].
    """
    check_sigmas(sigma_e=sigma_e, sigma_u=sigma_u, sigma_m=sigma_m, sigma_v=sigma_v)
    only_sum_pooling(pooling, "mv_kernel")
    pair = token_pair(docs1, docs2, gram)
    single = sigma_v**2 * sigma_u**2 * sigma_e**2 * pair.bag()
    double = sigma_v**2 * sigma_m**2 * sigma_e**2 * bigram_overlap(pair, same_first=True)
    both = single + double
    return kernel_from_groups(both, {"E": both, "M": double, "v": both})


def bigram_overlap(pair: TokenPair, *, reverse: bool = False, same_first: bool = False) -> Array:
    r"""(N1, N2) :math:`\sum_{jj'}q_{ac}\,q_{bd}` over bigrams (a, b) and (c, d).

    With ``reverse`` :math:`q_{ad}q_{bc}`; with ``same_first`` the first factor is :math:`\delta_{ac}`. One-hot: a
    product of counts.
    """
    if pair.gram is None:
        ids, valid, number = bigram_ids(pair, reverse=reverse)
        return multiply(id_counts(ids[0], valid[0], number), id_counts(ids[1], valid[1], number))
    total = np.zeros(pair.shape)
    for a, b, c, d in _bigram_pairs(pair):
        if reverse:
            c, d = d, c
        first = (a[:, None] == c[None, :]) * 1.0 if same_first else pair.token_gram(a, c)
        total += first * pair.token_gram(b, d)
    return total


def bigram_ids(pair: TokenPair, *, reverse: bool = False) -> tuple[tuple[Array, Array], tuple[Array, Array], int]:
    """One number for each distinct bigram, shared by both lists; where they are valid; how many there are.

    With ``reverse`` the bigrams of the second list are read backwards.
    """
    sides = [_bigrams(docs) for docs in (pair.first, pair.second)]
    if reverse:
        sides[1] = sides[1][::-1]
    ids, others, number = joint_ids([(sides[0][0], sides[1][0]), (sides[0][1], sides[1][1])], [pair.vocab] * 2)
    valid = [(a != PADDING) & (b != PADDING) for a, b in sides]
    return (ids, others), (valid[0], valid[1]), number


def _bigrams(docs: Documents) -> tuple[Array, Array]:
    """First and second tokens (N, T-1); both -1 where there is no bigram."""
    first, second = docs.tokens[:, :-1], docs.tokens[:, 1:]
    return np.where(second == PADDING, PADDING, first), second


def _bigram_pairs(pair: TokenPair) -> Iterator[tuple[Array, Array, Array, Array]]:
    """Tokens (N1,), (N1,), (N2,), (N2,) of the bigrams at each pair of positions."""
    firsts, seconds = (_bigrams(docs) for docs in (pair.first, pair.second))
    for j in range(firsts[0].shape[1]):
        for i in range(seconds[0].shape[1]):
            yield firsts[0][:, j], firsts[1][:, j], seconds[0][:, i], seconds[1][:, i]


def _neighbour_gram(pair: TokenPair, docs: Documents) -> Array:
    """(N,) sum over bigrams of the Gram between a token and its neighbour."""
    first, second = _bigrams(docs)
    if pair.gram is None:
        return np.asarray(((first == second) & (second != PADDING)).sum(axis=1).astype(np.float64))
    return np.asarray(np.pad(pair.gram, (0, 1))[first, second].sum(axis=1))
