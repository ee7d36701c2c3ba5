"""Linear recurrent networks: additive ones are bags of words by lag, gated ones are string kernels."""

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
    multiply,
    ngram_counts,
    only_sum_pooling,
    token_pair,
)

GATED_GROUPS = ("E", "W_g", "W_u", "W_b", "v")


def rnn_kernel(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    gram: Array | Tensor | None = None,
    kind: str = "gated",
    readout: str = "sum",
    sigma_e: float = 1.0,
    sigma_x: float | None = None,
    sigma_h: float | None = None,
    sigma_g: float | None = None,
    sigma_u: float | None = None,
    sigma_b: float | None = None,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> Kernel:
    r"""Kernel of a linear recurrent network, read at the last state or summed over all states.

    With width d, ``kind="additive"``: :math:`h_t = \frac{\sigma_h}{\sqrt d}W_hh_{t-1}+\frac{\sigma_x}{\sqrt d}W_xe_t`.
    Two states meet through tokens at equal lags,

    .. math:: C_{tt'} = \sigma_x^2q_{tt'}+\sigma_h^2C_{t-1,t'-1} = \sum_k\sigma_h^{2k}\sigma_x^2\,q_{t-k,t'-k},\quad
              \Theta_v=\Theta_{W_x}=\Theta_E=\sigma_v^2C,\quad
              \Theta_{W_h}=\sigma_v^2\sum_kk\,\sigma_h^{2k}\sigma_x^2\,q_{t-k,t'-k}:

    no products of tokens at all.

    ``kind="gated"``: :math:`h_t = (\frac{\sigma_g}{\sqrt d}W_ge_t)\odot(\frac{\sigma_u}{\sqrt
    d}W_uh_{t-1})+\frac{\sigma_b}{\sqrt d}W_be_t`. With :math:`r_{tt'} = \sigma_g^2\sigma_u^2q_{tt'}`, :math:`b_{tt'} =
    \sigma_b^2q_{tt'}` and a minus for :math:`(t-1,t'-1)`,

    .. math:: C = b+rC_-;\quad X_{W_u} = X_{W_g} = r(C_-+X_-);\quad X_{W_b} = b+rX_-;\quad X_E = b+r(C_-+X_-).

    One-hot tokens, summed states: every common substring of length l counts with weight
    :math:`3l\,\sigma_v^2 r^{l-1} b` in the tangent kernel, r and b taken at equal tokens.

    Args:
        docs1: N1 documents: lists of token ids, or an (N, T) integer array with -1 as padding.
        docs2: N2 documents; by default ``docs1`` again.
        gram: (V, V) inner products of the token vectors before ``sigma_e``; by default one-hot.
        kind: "additive" or "gated".
        readout: "sum" of all states, or "last" state.
        sigma_e: standard deviation of embedding weights.
        sigma_x: standard deviation of input weights, additive only (default 1).
        sigma_h: standard deviation of recurrent weights, additive only (default 1).
        sigma_g: standard deviation of gate weights, gated only (default 1).
        sigma_u: standard deviation of recurrent weights, gated only (default 1).
        sigma_b: standard deviation of input weights, gated only (default 1).
        sigma_v: standard deviation of readout weights.
        pooling: must stay "sum"; see ``readout``.

    Returns:
        (N1, N2) kernels with groups "E", "W_x", "W_h", "v" (additive) or "E", "W_g", "W_u", "W_b", "v" (gated).

    Raises:
        ValueError: for a sigma of the other kind, and for other arguments that make no sense.

    Example:
        >>> docs = [[0, 1, 2], [0, 1]]
        >>> rnn_kernel(docs, kind="gated").ntk.tolist()          # substrings: 3*3 + 2*6 + 1*9 = 30, 2*3 + 1*6 = 12
        [[30.0, 12.0], [12.0, 12.0]]
        >>> rnn_kernel(docs, kind="additive", readout="last").ntk.tolist()   # at lags 0, 1, 2: 3 + 4 + 5
        [[12.0, 0.0], [0.0, 7.0]]

    Chapter: book/infinite/multiplicative. Source: [Sun, Li & Lu 2023].
    """
    only_sum_pooling(pooling, "rnn_kernel")
    if kind not in ("additive", "gated"):
        raise ValueError(f"unknown kind {kind!r}; expected 'additive' or 'gated'")
    if readout not in ("sum", "last"):
        raise ValueError(f"unknown readout {readout!r}; expected 'sum' or 'last'")
    additive = {"sigma_x": sigma_x, "sigma_h": sigma_h}
    gated = {"sigma_g": sigma_g, "sigma_u": sigma_u, "sigma_b": sigma_b}
    mine, others = (additive, gated) if kind == "additive" else (gated, additive)
    foreign = [name for name, value in others.items() if value is not None]
    if foreign:
        raise ValueError(f"{', '.join(foreign)} given, but the {kind} network has only {', '.join(mine)}")
    s = {name: 1.0 if value is None else value for name, value in mine.items()}
    check_sigmas(sigma_e=sigma_e, sigma_v=sigma_v, **s)
    pair = token_pair(docs1, docs2, gram)
    if kind == "additive":
        return _additive(pair, s["sigma_x"] * sigma_e, s["sigma_h"], sigma_v, readout)
    rate, source = s["sigma_g"] ** 2 * s["sigma_u"] ** 2 * sigma_e**2, s["sigma_b"] ** 2 * sigma_e**2
    if pair.gram is None:
        sums = _gated_strings(pair, rate, source, readout)
    else:
        sums = _gated_recursion(pair, rate, source, readout)
    parts = {name: sigma_v**2 * part for name, part in sums.items()}
    parts["W_g"] = parts["W_u"]
    return kernel_from_groups(parts["v"], {name: parts[name] for name in GATED_GROUPS})


def _additive(pair: TokenPair, sigma_x: float, sigma_h: float, sigma_v: float, readout: str) -> Kernel:
    """Sum over lags k: the token k steps before the last state, or every token with k steps still to come."""
    tokens, recurrent = np.zeros(pair.shape), np.zeros(pair.shape)
    for k in range(min(pair.first.tokens.shape[1], pair.second.tokens.shape[1])):
        overlap = pair.bag(_lagged(pair.first, k, readout), _lagged(pair.second, k, readout))
        weight = sigma_v**2 * sigma_h ** (2 * k) * sigma_x**2
        tokens += weight * overlap
        recurrent += weight * k * overlap
    return kernel_from_groups(tokens, {"E": tokens, "W_x": tokens, "W_h": recurrent, "v": tokens})


def _lagged(docs: Documents, lag: int, readout: str) -> Array:
    place, target = np.arange(docs.tokens.shape[1])[None, :], docs.lengths[:, None] - 1 - lag
    return np.asarray((place == target) if readout == "last" else (place <= target)).astype(np.float64)


def gated_weights(length: int, rate: float, source: float) -> dict[str, float]:
    """Weight, in the sum over states, of a common substring of one-hot tokens, before ``sigma_v**2``.

    The n-th token of the substring multiplies by ``rate`` = (sigma_g sigma_u sigma_e)^2; the first one starts the state
    with ``source`` = (sigma_b sigma_e)^2. Each of the l-1 steps has one gate and one recurrent matrix; each of the l
    tokens has one embedding.
    """
    base = rate ** (length - 1) * source
    return {"E": length * base, "W_u": (length - 1) * base, "W_b": base, "v": base}


def _gated_strings(pair: TokenPair, rate: float, source: float, readout: str) -> dict[str, Array]:
    sums = {name: np.zeros(pair.shape) for name in ("E", "W_u", "W_b", "v")}
    for length, (left, right) in enumerate(ngram_counts(pair, suffix=readout == "last"), start=1):
        overlap = multiply(left, right)
        for name, weight in gated_weights(length, rate, source).items():
            sums[name] += weight * overlap
    return sums


def _gated_recursion(pair: TokenPair, rate: float, source: float, readout: str) -> dict[str, Array]:
    """The recursion of :func:`rnn_kernel` along diagonals of equal lag, which need only the previous pair of states."""
    sums = {name: np.zeros(pair.shape) for name in ("E", "W_u", "W_b", "v")}
    for diagonal in _diagonals(pair):
        state, unit, bias, embed = (np.zeros(pair.shape) for _ in range(4))
        for j, i in diagonal:
            q = pair.token_gram(pair.first.tokens[:, j], pair.second.tokens[:, i])
            r, b = rate * q, source * q
            unit, embed, bias, state = r * (state + unit), b + r * (state + embed), b + r * bias, b + r * state
            # Beyond the end of a document q is 0 and with it every state.
            ends = (pair.first.lengths == j + 1)[:, None] & (pair.second.lengths == i + 1)[None, :]
            for name, part in (("E", embed), ("W_u", unit), ("W_b", bias), ("v", state)):
                sums[name] += part if readout == "sum" else np.where(ends, part, 0.0)
    return sums


def _diagonals(pair: TokenPair) -> Iterator[list[tuple[int, int]]]:
    one, two = pair.first.tokens.shape[1], pair.second.tokens.shape[1]
    for shift in range(-(two - 1), one):
        yield [(j, j - shift) for j in range(max(0, shift), min(one, two + shift))]


def matrix_product_kernel(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    gram: Array | Tensor | None = None,
    residual: bool = False,
    sigma_m: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> Kernel:
    r"""Kernel of a product of token matrices, each token with its own.

    Plain, with width d: :math:`f = \frac{\sigma_v}{\sqrt d}u^\top\prod_t\big(\frac{\sigma_m}{\sqrt d}M_{t}\big)w`. Two
    documents share something only if they are equal:

    .. math:: K=\Theta_u=\Theta_w=\sigma_v^2\sigma_m^{2T}\,[x = x'],\qquad \Theta_M = T\,K.

    Residual: :math:`f = \frac{\sigma_v}{\sqrt d}u^\top\prod_t\big(I+\frac{\sigma_m}{\sqrt d}M_{t}\big)w`. The product
    multiplies out into subsequences, and K counts the common ones, each token with :math:`g = \sigma_m^2\delta`, the
    empty one included:

    .. math:: C_{ij} &= C_{i-1,j}+C_{i,j-1}-C_{i-1,j-1}+g_{ij}C_{i-1,j-1},\\
              D_{ij} &= D_{i-1,j}+D_{i,j-1}-D_{i-1,j-1}+g_{ij}(C+D)_{i-1,j-1},

    :math:`K=\Theta_u=\Theta_w=\sigma_v^2C`, :math:`\Theta_M=\sigma_v^2D`: D counts every subsequence once for each of
    its matrices.

    Args:
        docs1: N1 documents: lists of token ids, or an (N, T) integer array with -1 as padding.
        docs2: N2 documents; by default ``docs1`` again.
        gram: must stay None: tokens have matrices, not vectors.
        residual: add the identity to each factor.
        sigma_m: standard deviation of the token matrices.
        sigma_v: standard deviation of readout weights.
        pooling: must stay "sum".

    Returns:
        (N1, N2) kernels with groups "M", "u" and "w".

    Raises:
        ValueError: for a Gram, and for other arguments that make no sense.

    Example:
        >>> matrix_product_kernel([[0, 1], [1, 0], [0]]).nngp.tolist()
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
        >>> matrix_product_kernel([[0, 1], [1, 0], [0]], residual=True).nngp[0].tolist()   # {} 0 1 01, {} 0 1, {} 0
        [4.0, 3.0, 2.0]

    Chapter: book/infinite/multiplicative.
    """
    check_sigmas(sigma_m=sigma_m, sigma_v=sigma_v)
    only_sum_pooling(pooling, "matrix_product_kernel")
    if gram is not None:
        raise ValueError(
            "the matrix product has a matrix of its own for each token and no token vectors: leave gram=None"
        )
    pair = token_pair(docs1, docs2, None)
    if residual:
        common, marked = _subsequences(pair, sigma_m**2)
    else:
        common = _equal_documents(pair) * sigma_m ** (2.0 * pair.first.lengths)[:, None]
        marked = common * pair.first.lengths[:, None]
    kernel = sigma_v**2 * common
    return kernel_from_groups(kernel, {"M": sigma_v**2 * marked, "u": kernel, "w": kernel})


def _equal_documents(pair: TokenPair) -> Array:
    width = max(pair.first.tokens.shape[1], pair.second.tokens.shape[1])
    rows = [
        np.pad(d.tokens, ((0, 0), (0, width - d.tokens.shape[1])), constant_values=PADDING)
        for d in (pair.first, pair.second)
    ]
    _, ids = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    ids = ids.ravel()
    return np.asarray(ids[: len(rows[0])][:, None] == ids[len(rows[0]) :][None, :]).astype(np.float64)


def _subsequences(pair: TokenPair, g: float) -> tuple[Array, Array]:
    """Common subsequences (C), and those with one matrix marked (D), by weight, in blocks that fit the cache."""
    common, marked = np.empty(pair.shape), np.empty(pair.shape)
    same = pair.first is pair.second
    block = max(1, 8_000 // pair.shape[1])
    for start in range(0, pair.shape[0], block):
        rows = slice(start, start + block)
        columns = slice(start if same else 0, None)  # of a symmetric table only the upper half
        c, d = _subsequence_block(pair.first.tokens[rows], pair.second.tokens[columns], g)
        for table, part in ((common, c), (marked, d)):
            table[rows, columns] = part
            if same:
                table[columns, rows] = part.T
    return common, marked


def _subsequence_block(first: Array, second: Array, g: float) -> tuple[Array, Array]:
    # Padding matches nothing (-1 against -2), so beyond the end of a document the sums stay as they are.
    second = np.where(second == PADDING, PADDING - 1, second)
    shape = (first.shape[0], second.shape[0])
    row_c = [np.ones(shape) for _ in range(second.shape[1] + 1)]
    row_d = [np.zeros(shape) for _ in range(second.shape[1] + 1)]
    match, step = np.empty(shape), np.empty(shape)
    for i in range(first.shape[1]):
        # gain: what row i adds to row i-1, C_ij - C_{i-1,j}; it grows by g * C_{i-1,j-1} at each match
        gain_c, gain_d = np.zeros(shape), np.zeros(shape)
        above_c, above_d = row_c[0], row_d[0]
        token = first[:, i, None]
        for j in range(second.shape[1]):
            np.multiply(token == second[None, :, j], g, out=match)
            np.multiply(match, above_c, out=step)
            gain_c += step
            gain_d += step
            np.multiply(match, above_d, out=step)
            gain_d += step
            above_c, above_d = row_c[j + 1], row_d[j + 1]
            row_c[j + 1], row_d[j + 1] = above_c + gain_c, above_d + gain_d
    return row_c[-1], row_d[-1]
