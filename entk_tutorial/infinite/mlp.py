"""Multilayer perceptrons on tokens: applied to each token and then pooled, or to the pooled document."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from entk_tutorial.infinite.dual import Activation, dual_activation
from entk_tutorial.infinite.kernel import Kernel, kernel_from_groups
from entk_tutorial.infinite.linear import pooled_overlap
from entk_tutorial.infinite.tokens import (
    Array,
    DocumentsLike,
    TokenPair,
    check_sigmas,
    counts,
    pooling_scale,
    token_pair,
)


def mlp_kernel(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    gram: Array | Tensor | None = None,
    activation: Activation = "relu",
    sigma_e: float = 1.0,
    sigma_w: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
    pool_first: bool = False,
    depth: int = 1,
) -> Kernel:
    r"""Kernel of an MLP over token vectors.

    With width d and ``pool_first=False``: :math:`f(x) = \frac{\sigma_v}{\sqrt d} c_x v^\top\sum_t
    \phi(\frac{\sigma_w}{\sqrt d}We_t)`; with ``pool_first=True``: :math:`f(x) = \frac{\sigma_v}{\sqrt d} v^\top
    \phi(\frac{\sigma_w}{\sqrt d}W c_x\sum_t e_t)`. With ``depth`` L the hidden layer is repeated, with its own matrix
    and the same ``sigma_w``.

    For one layer, with :math:`Q = \sigma_w^2 q` between two tokens (or between two pooled documents):

    .. math:: K = \Theta_v = \sigma_v^2 c_xc_{x'}\sum_{tt'}\Phi(Q_{tt'}),\qquad
              \Theta_W = \Theta_E = \sigma_v^2 c_xc_{x'}\sum_{tt'}Q_{tt'}\,\dot\Phi(Q_{tt'}).

    For L layers :math:`Q^\ell = \sigma_w^2 K^{\ell-1}`, :math:`K^\ell = \Phi(Q^\ell)`; a weight below layer
    :math:`\ell` is multiplied by :math:`\sigma_w^2\dot\Phi(Q^\ell)` on its way up.

    Args:
        docs1: N1 documents: lists of token ids, or an (N, T) integer array with -1 as padding.
        docs2: N2 documents; by default ``docs1`` again.
        gram: (V, V) inner products of the token vectors before ``sigma_e``; by default one-hot.
        activation: a name known to :func:`dual_activation`, or an elementwise function of a tensor.
        sigma_e: standard deviation of embedding weights.
        sigma_w: standard deviation of hidden weights.
        sigma_v: standard deviation of readout weights.
        pooling: "sum" or "mean" over tokens.
        pool_first: pool the embeddings before the hidden layers.
        depth: number of hidden layers, at least 1.

    Returns:
        (N1, N2) kernels with groups "E", "W" ("W1", "W2", ... if ``depth`` > 1) and "v".

    Raises:
        ValueError: for arguments that make no sense; the message says what to change.

    Example:
        Two documents without a common token still meet through relu's mean 1/sqrt(2 pi), in the readout only:

        >>> k = mlp_kernel([[0], [1]])
        >>> [round(float(part[0, 1]) * 2 * np.pi, 12) for part in k.by_group.values()]
        [0.0, 0.0, 1.0]

    Chapter: book/infinite/mlp. Source: [Sun, Li & Lu 2023].
    """
    check_sigmas(sigma_e=sigma_e, sigma_w=sigma_w, sigma_v=sigma_v)
    if not isinstance(depth, int) or depth < 1:
        raise ValueError(f"depth = {depth!r}; expected a whole number of hidden layers, 1 or more")
    pair = token_pair(docs1, docs2, gram)
    if pool_first:
        norms = [_own_overlap(pair, side, pooling) * sigma_e**2 for side in (0, 1)]
        cross = sigma_e**2 * pooled_overlap(pair, pooling)
        top = hidden_layers(norms[0][:, None], norms[1][None, :], cross, activation, sigma_w, depth)
        parts = {name: sigma_v**2 * part for name, part in top.parts.items()}
    else:
        top, parts = _per_token(pair, activation, sigma_e, sigma_w, sigma_v, pooling, depth)
    return kernel_from_groups(parts["v"], parts, top.error)


@dataclass(frozen=True)
class _Top:
    parts: dict[str, Array]
    error: float


def hidden_layers(a: Array, b: Array, c: Array, activation: Activation, sigma_w: float, depth: int) -> _Top:
    """Pass covariances through ``depth`` hidden layers.

    ``a``, ``b`` and ``c`` are the variances and the covariance of the inputs, of shapes that broadcast. The parts are
    the covariance of the top layer ("v") and the tangent kernels of E and of each W, before ``sigma_v``.
    """
    s2 = sigma_w**2
    names = ["W"] if depth == 1 else [f"W{i + 1}" for i in range(depth)]
    tangents: dict[str, Array] = {"E": c}
    error = 0.0
    for name in names:
        a, b, c = s2 * a, s2 * b, s2 * c
        dual = dual_activation(activation, a, b, c)
        error = max(error, dual.error)
        tangents = {key: s2 * part * dual.derivative for key, part in tangents.items()}
        tangents[name] = c * dual.derivative
        a, b, c = dual_activation(activation, a, a, a).value, dual_activation(activation, b, b, b).value, dual.value
    return _Top({**tangents, "v": c}, error)


def _per_token(
    pair: TokenPair, activation: Activation, sigma_e: float, sigma_w: float, sigma_v: float, pooling: str, depth: int
) -> tuple[_Top, dict[str, Array]]:
    scale = pooling_scale(pooling, pair.first.lengths)[:, None] * pooling_scale(pooling, pair.second.lengths)[None, :]
    scale = sigma_v**2 * scale
    if pair.gram is None:
        # Only two cases: the same token, or two different ones.
        nu = np.array(sigma_e**2)
        top = hidden_layers(nu, nu, np.array([sigma_e**2, 0.0]), activation, sigma_w, depth)
        overlap = pair.bag()
        lengths = pair.first.lengths[:, None] * pair.second.lengths[None, :].astype(np.float64)
        parts = {
            name: scale * ((same - other) * overlap + other * lengths) for name, (same, other) in top.parts.items()
        }
        return top, parts
    q = sigma_e**2 * pair.gram
    norms = np.diag(q)
    top = hidden_layers(norms[:, None], norms[None, :], q, activation, sigma_w, depth)
    left, right = counts(pair.first, pair.vocab), counts(pair.second, pair.vocab)
    return top, {name: scale * ((left @ table) @ right.T) for name, table in top.parts.items()}


def _own_overlap(pair: TokenPair, side: int, pooling: str) -> Array:
    """(N,) overlap of each document with itself."""
    docs = (pair.first, pair.second)[side]
    bags = counts(docs, pair.vocab)
    if pair.gram is None:
        own = np.asarray(bags.multiply(bags).sum(axis=1)).ravel()
    else:
        own = ((bags @ pair.gram) * bags.toarray()).sum(axis=1)
    return np.asarray(own * pooling_scale(pooling, docs.lengths) ** 2)


def mlp_constants(
    activation: Activation = "relu",
    *,
    sigma_e: float = 1.0,
    sigma_w: float = 1.0,
    sigma_v: float = 1.0,
) -> tuple[float, float]:
    r"""The two numbers that make up the tangent kernel of a per-token MLP on one-hot tokens.

    .. math:: \Theta(x,x') = c_xc_{x'}\,[(A-B)\,\langle n(x),n(x')\rangle + B\,T\,T'],

    A between equal tokens, B between different ones: a bag of words, and one more feature, :math:`\sqrt B` times the
    length. B is :math:`\sigma_v^2\mu_\phi^2`: the readout alone carries it.

    Returns:
        (A, B).

    Example:
        >>> a, b = mlp_constants("relu")
        >>> round(b / (a - b), 4)                 # the same at every variance
        0.1187
        >>> round(mlp_constants("tanh")[1], 12)
        0.0

    Chapter: book/text/activation-bias. Source: [Sun, Li & Lu 2023].
    """
    k = mlp_kernel([[0], [1]], activation=activation, sigma_e=sigma_e, sigma_w=sigma_w, sigma_v=sigma_v).ntk
    return float(k[0, 0]), float(k[0, 1])
