"""Self-attention: its kernel depends on how scores are scaled and on what is shared."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from entk_tutorial.infinite.attention_heads import identity_heads, softmax_heads
from entk_tutorial.infinite.kernel import Kernel, kernel_from_groups
from entk_tutorial.infinite.tokens import (
    Array,
    Documents,
    DocumentsLike,
    TokenPair,
    check_sigmas,
    pooling_scale,
    token_pair,
)


def attention_kernel(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    gram: Array | Tensor | None = None,
    variant: str = "tied",
    scores: str = "softmax",
    query: str = "sum",
    beta: float = 1.0,
    sigma_e: float = 1.0,
    sigma_q: float = 1.0,
    sigma_k: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
    n_samples: int | None = None,
    generator: torch.Generator | None = None,
) -> Kernel:
    r"""Kernel of one self-attention layer with a linear readout.

    With width d, :math:`f(x) = \frac{\sigma_v}{\sqrt d}\,c_x\,v^\top\sum_i\sum_j\alpha_{ij}e_j`, where
    :math:`\alpha_{ij}` is the softmax over j of the scores, or the scores themselves (``scores="identity"``), and the
    sum over queries i is over all positions or over the last one.

    * ``"tied"``: scores :math:`\beta e_i\cdot e_j/d`, which converge to :math:`\beta q_{ij}`. Attention becomes a fixed
      weight :math:`w_j = \sum_i\alpha_{ij}`, and :math:`K = \Theta_v = \Theta_E =
      \sigma_v^2c_xc_{x'}\sum_{jj'}w_jw'_{j'}q_{jj'}`: the gradient through the scores is of order 1/d.
    * ``"uniform"``: independent :math:`W_Q, W_K` and scores :math:`\beta\,(\sigma_QW_Qe_i)\cdot(\sigma_KW_Ke_j)/d^2`,
      which vanish: every token is attended to alike, and :math:`\Theta_Q = \Theta_K = 0`. With query "sum" this is the
      linear model.
    * ``"heads"``: H independent heads, scores :math:`s_{ij} = \beta\,(\sigma_QW_Qe_i)\cdot(\sigma_KW_Ke_j)/d^{3/2}`,
      output divided by :math:`\sqrt H`, and :math:`d, H\to\infty`. Scores are Gaussian with
      :math:`\mathrm{Cov}(s_{ij},s_{i'j'}) = \beta^2\sigma_Q^2\sigma_K^2\,q_{ii'}q_{jj'}`, and

      .. math:: K = \sigma_v^2c_xc_{x'}\sum_{ii'jj'}\mathbb E[\alpha_{ij}\alpha'_{i'j'}]\,q_{jj'},\quad
                S = \sigma_v^2\beta^2\sigma_Q^2\sigma_K^2c_xc_{x'}\sum_{ii'}q_{ii'}\,\mathbb E\langle J_i,
                J'_{i'}\rangle,

      :math:`J_i = \sum_{jl}\partial\alpha_{ij}/\partial s_{il}\;e_j\otimes e_l` in the limit of inner products q. Then
      :math:`\Theta_v = K`, :math:`\Theta_Q = \Theta_K = S`, :math:`\Theta_E = K+2S`. Closed for identity scores; for
      softmax a Monte-Carlo mean over score tables.

    Args:
        docs1: N1 documents: lists of token ids, or an (N, T) integer array with -1 as padding.
        docs2: N2 documents; by default ``docs1`` again.
        gram: (V, V) inner products of the token vectors before ``sigma_e``; by default one-hot.
        variant: "tied", "uniform" or "heads", as above.
        scores: "softmax" or "identity".
        query: "sum" over all query positions, or "last".
        beta: factor on the scores.
        sigma_e: standard deviation of embedding weights.
        sigma_q: standard deviation of query weights; not with "tied".
        sigma_k: standard deviation of key weights; not with "tied".
        sigma_v: standard deviation of readout weights.
        pooling: "sum", or with query "sum" also "mean" over queries.
        n_samples: for "heads" with softmax: number of sampled score tables, at least 2.
        generator: for "heads" with softmax: source of randomness, e.g. ``torch.Generator().manual_seed(0)``.

    Returns:
        (N1, N2) kernels with groups "E", "v", and "W_q", "W_k" unless tied. With sampling, ``std_error`` holds the
        standard error of each. One table of scores over the vocabulary serves all documents of a sample, so that the
        estimate is positive semi-definite.

    Raises:
        ValueError: for arguments that make no sense together; the message says what to change.

    Example:
        >>> docs = [[0, 1, 1], [1, 2]]
        >>> uniform = attention_kernel(docs, variant="uniform")
        >>> uniform.ntk.tolist()                       # bags of words: 2 * (1 + 4), 2 * 2, 2 * 2
        [[10.0, 4.0], [4.0, 4.0]]
        >>> heads = attention_kernel(docs, variant="heads", scores="identity")
        >>> heads.ntk.tolist()                         # 6 * overlap^2: pairs of tokens
        [[150.0, 24.0], [24.0, 24.0]]

    Chapter: book/infinite/attention. Source: [Sun, Li & Lu 2023].
    """
    check_sigmas(sigma_e=sigma_e, sigma_q=sigma_q, sigma_k=sigma_k, sigma_v=sigma_v)
    check_choices(variant, scores, query, pooling, sigma_q, sigma_k)
    sampled = variant == "heads" and scores == "softmax"
    if not sampled and (n_samples is not None or generator is not None):
        raise ValueError(
            "n_samples and generator are for variant='heads' with scores='softmax'; the other kernels are closed forms"
        )
    pair = token_pair(docs1, docs2, gram)
    lasts = query == "last"
    scales = [pooling_scale(pooling, docs.lengths) * sigma_v for docs in (pair.first, pair.second)]
    scale = scales[0][:, None] * scales[1][None, :]
    if variant == "heads":
        strength = beta * sigma_q * sigma_k
        if not sampled:
            return identity_heads(pair, scale, strength, sigma_e, lasts)
        if n_samples is None or generator is None:
            raise ValueError(
                "softmax attention at 1/sqrt(d) has no closed form: give n_samples (e.g. 1000; the error falls as its "
                "square root) "
                "and generator (e.g. torch.Generator().manual_seed(0))"
            )
        return softmax_heads(pair, scale, strength, sigma_e, lasts, n_samples, generator)
    weights = fixed_weights(pair, variant, beta * sigma_e**2, scores, lasts)
    kernel = scale * sigma_e**2 * pair.bag(weights[0], weights[1])
    if variant == "tied":
        return kernel_from_groups(kernel, {"E": kernel, "v": kernel})
    zero = np.zeros(pair.shape)
    return kernel_from_groups(kernel, {"E": kernel, "W_q": zero, "W_k": zero, "v": kernel})


def check_choices(
    variant: str, scores: str, query: str, pooling: str, sigma_q: float = 1.0, sigma_k: float = 1.0
) -> None:
    """Refuse choices that do not exist, or that mean nothing together."""
    for name, value, known in (
        ("variant", variant, ("tied", "uniform", "heads")),
        ("scores", scores, ("softmax", "identity")),
        ("query", query, ("sum", "last")),
    ):
        if value not in known:
            raise ValueError(f"unknown {name} {value!r}; expected one of {', '.join(known)}")
    if variant == "uniform" and scores == "identity":
        raise ValueError(
            "uniform attention has scores that vanish, so without softmax the output is 0; use variant='heads' or "
            "scores='softmax'"
        )
    if variant == "tied" and (sigma_q != 1.0 or sigma_k != 1.0):
        raise ValueError(
            "tied attention has no W_Q and W_K, so sigma_q and sigma_k mean nothing; scale its scores with beta"
        )
    if query == "last" and pooling != "sum":
        raise ValueError(
            f"found pooling={pooling!r} with query='last': there is one query and nothing to pool; leave pooling='sum'"
        )


def attention_weights(q: Array, mask: Array, scores: str) -> Array:
    """(N, T, T) attention from query i to key j, 0 where either is padding; ``q`` (N, T, T) holds the scores."""
    both = mask[:, :, None] & mask[:, None, :]
    if scores == "identity":
        return np.where(both, q, 0.0)
    raised = np.exp(np.where(both, q, -np.inf) - np.where(both, q, -np.inf).max(axis=2, keepdims=True, initial=-1e300))
    return raised / np.maximum(raised.sum(axis=2, keepdims=True), np.finfo(np.float64).tiny)


def fixed_weights(pair: TokenPair, variant: str, strength: float, scores: str, lasts: bool) -> tuple[Array, Array]:
    """Weights (N1, T1) and (N2, T2) of tokens under attention that is deterministic in the limit."""
    if variant == "uniform":
        return _uniform_weights(pair.first, lasts), _uniform_weights(pair.second, lasts)
    one, two = (_tied_weights(pair, docs, strength, scores, lasts) for docs in (pair.first, pair.second))
    return one, two


def _tied_weights(pair: TokenPair, docs: Documents, strength: float, scores: str, lasts: bool) -> Array:
    tokens = docs.tokens
    if pair.gram is None:
        q = (tokens[:, :, None] == tokens[:, None, :]).astype(np.float64)
    else:
        q = np.pad(pair.gram, (0, 1))[tokens[:, :, None], tokens[:, None, :]]
    return query_sum(attention_weights(strength * q, docs.mask, scores), docs, lasts)


def query_sum(alpha: Array, docs: Documents, lasts: bool) -> Array:
    """(N, T) weight of each key: attention summed over queries, or of the last query."""
    if lasts:
        return np.asarray(alpha[np.arange(len(docs)), docs.lengths - 1])
    return np.asarray(alpha.sum(axis=1))


def _uniform_weights(docs: Documents, lasts: bool) -> Array:
    # Each query spreads 1 over T keys; T queries give every key 1.
    share = 1.0 / docs.lengths if lasts else np.ones(len(docs))
    return np.where(docs.mask, share[:, None], 0.0)
