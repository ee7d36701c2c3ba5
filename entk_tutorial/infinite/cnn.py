"""One-dimensional convolution over tokens, pooled: where n-grams can enter, and where they cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from scipy import sparse
from torch import Tensor

from entk_tutorial.infinite.dual import Activation, dual_activation
from entk_tutorial.infinite.kernel import Kernel, kernel_from_groups
from entk_tutorial.infinite.tokens import (
    PADDING,
    Array,
    Documents,
    DocumentsLike,
    check_sigmas,
    id_counts,
    joint_ids,
    multiply,
    pooling_scale,
    token_pair,
)

MOST_SUBSET_SLOTS = 6  # 2^6 sparse products of documents; wider windows are matched window by window


def cnn_kernel(
    docs1: DocumentsLike,
    docs2: DocumentsLike | None = None,
    *,
    window: int = 2,
    padding: int = 0,
    pad_token: int | None = None,
    gram: Array | Tensor | None = None,
    activation: Activation = "relu",
    sigma_e: float = 1.0,
    sigma_w: float = 1.0,
    sigma_v: float = 1.0,
    pooling: str = "sum",
) -> Kernel:
    r"""Kernel of a convolution over k tokens, an activation, pooling over positions, and a linear readout.

    .. math:: f(x) = \frac{\sigma_v}{\sqrt d}\,c_x\,
              v^\top\sum_j\phi\Big(\frac{\sigma_w}{\sqrt{kd}}\sum_{r=1}^kW_re_{j+r-1}\Big)

    with width d, and :math:`c_x` = 1 ("sum") or 1 / number of windows ("mean"). Each slot of the window has its own
    matrix, so two windows meet slot by slot:

    .. math:: Q_{jj'} = \frac{\sigma_w^2}{k}\sum_rq_{t_{j+r-1},t'_{j'+r-1}},\quad
              K = \Theta_v = \sigma_v^2c_xc_{x'}\sum_{jj'}\Phi(Q_{jj'}),\quad
              \Theta_W = \Theta_E = \sigma_v^2c_xc_{x'}\sum_{jj'}Q_{jj'}\dot\Phi(Q_{jj'}).

    Args:
        docs1: N1 documents: lists of token ids, or an (N, T) integer array with -1 as padding.
        docs2: N2 documents; by default ``docs1`` again.
        window: k, the number of tokens a window sees.
        padding: number of pad slots added at each end of every document.
        pad_token: None pads with the zero vector; a token id pads with that token, a learned vector like any other.
        gram: (V, V) inner products of the token vectors before ``sigma_e``; by default one-hot.
        activation: a name known to :func:`dual_activation`, or an elementwise function of a tensor.
        sigma_e: standard deviation of embedding weights.
        sigma_w: standard deviation of convolution weights.
        sigma_v: standard deviation of readout weights.
        pooling: "sum" or "mean" over windows.

    Returns:
        (N1, N2) kernels with groups "E", "W" and "v".

    Raises:
        ValueError: for a window longer than a padded document, and for other arguments that make no sense.

    One-hot tokens cost a few sparse products; a dense Gram costs one table (N1, N2) for each pair of positions.

    Example:
        A linear convolution is a bag of words, one for each slot; two windows share nothing beyond their slots:

        >>> k = cnn_kernel([[0, 1], [0, 2], [2, 1]], activation="linear").ntk
        >>> k[0].tolist()                          # 3 groups; slots shared: both, the first, the second; each 1/2
        [3.0, 1.5, 1.5]

    Chapter: book/infinite/cnn. Source: [Sun, Li & Lu 2023].
    """
    check_sigmas(sigma_e=sigma_e, sigma_w=sigma_w, sigma_v=sigma_v)
    pair = token_pair(docs1, docs2, gram, () if pad_token is None else (check_pad_token(pad_token),))
    left = windows(pair.first, window, padding, pair.extra)
    right = left if pair.second is pair.first else windows(pair.second, window, padding, pair.extra)
    if pair.gram is None:
        nu = sigma_w**2 * sigma_e**2 / window
        by_slots = _subset_sums if window <= MOST_SUBSET_SLOTS else _match_sums
        sums = by_slots(left, right, pair.vocab, nu, activation)
    else:
        sums = _gram_sums(left, right, sigma_w**2 * sigma_e**2 / window * pair.gram, activation)
    scale = sigma_v**2 * pooling_scale(pooling, left.number)[:, None] * pooling_scale(pooling, right.number)[None, :]
    tangent = scale * sums.tangent
    readout = scale * sums.readout
    return kernel_from_groups(readout, {"E": tangent, "W": tangent, "v": readout}, sums.error)


def check_pad_token(pad_token: int) -> int:
    """Refuse a pad token that is not a token id."""
    if not isinstance(pad_token, int | np.integer) or pad_token < 0:
        raise ValueError(
            f"pad_token = {pad_token!r}; expected a token id (0, 1, ...), or None to pad with the zero vector"
        )
    return int(pad_token)


@dataclass(frozen=True)
class Windows:
    """What each window of each document holds: slots (N, J, k) with token ids, -1 for a zero slot; valid (N, J)."""

    slots: Array
    valid: Array

    @property
    def number(self) -> Array:
        """(N,) windows of each document."""
        return np.asarray(self.valid.sum(axis=1))

    @property
    def filled(self) -> Array:
        """(N, J) number of slots that hold a token."""
        return np.asarray((self.slots != PADDING).sum(axis=2))


@dataclass(frozen=True)
class _Sums:
    readout: Array
    tangent: Array
    error: float


def windows(docs: Documents, window: int, padding: int, pad: tuple[int, ...]) -> Windows:
    """Cut padded documents into windows; ``pad`` holds the pad token, or nothing for zero slots."""
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"window = {window!r}; expected a whole number of tokens, 1 or more")
    if not isinstance(padding, int) or padding < 0:
        raise ValueError(f"padding = {padding!r}; expected a whole number of pad slots, 0 or more")
    short = docs.lengths + 2 * padding < window
    if short.any():
        row = int(np.flatnonzero(short)[0])
        raise ValueError(
            f"window {window} is longer than document {row} ({docs.lengths[row]} tokens, padding {padding} at each "
            "end); "
            f"drop such documents, or set padding to {-(-(window - int(docs.lengths[row])) // 2)} or more"
        )
    longest = docs.tokens.shape[1]
    tokens = np.full((len(docs), max(longest + 2 * padding, window)), PADDING)
    tokens[:, padding : padding + longest] = docs.tokens
    if pad:
        place = np.arange(tokens.shape[1])[None, :]
        end = padding + docs.lengths[:, None]
        tokens[(place < padding) | ((place >= end) & (place < end + padding))] = pad[0]
    slots = np.lib.stride_tricks.sliding_window_view(tokens, window, axis=1)
    start = np.arange(slots.shape[1])[None, :]
    return Windows(slots, start + window <= docs.lengths[:, None] + 2 * padding)


def _gram_sums(left: Windows, right: Windows, q: Array, activation: Activation) -> _Sums:
    """Sum the two dual tables over all pairs of windows, position by position."""
    table = np.pad(q, (0, 1))  # id -1 picks the zero vector
    norms = np.diag(table)
    shape = (left.slots.shape[0], right.slots.shape[0])
    readout, tangent, error = np.zeros(shape), np.zeros(shape), 0.0
    for j in range(left.slots.shape[1]):
        a, one = left.slots[:, j], left.valid[:, j, None]
        for i in range(right.slots.shape[1]):
            b, two = right.slots[:, i], right.valid[None, :, i]
            cross = sum(table[np.ix_(a[:, r], b[:, r])] for r in range(a.shape[1]))
            dual = dual_activation(
                activation, norms[a].sum(axis=1)[:, None], norms[b].sum(axis=1)[None, :], np.asarray(cross)
            )
            readout += np.where(one & two, dual.value, 0.0)
            tangent += np.where(one & two, cross * dual.derivative, 0.0)
            error = max(error, dual.error)
    return _Sums(readout, tangent, error)


def _matches(activation: Activation, nu: float, filled: int, other: int) -> tuple[Array, Array, float]:
    """Phi and Q Phi' between a window with ``filled`` tokens and one with ``other``, for 0, 1, ... slots in common."""
    common = nu * np.arange(min(filled, other) + 1)
    dual = dual_activation(activation, np.array(nu * filled), np.array(nu * other), common)
    return dual.value, common * dual.derivative, dual.error


def _subset_sums(left: Windows, right: Windows, vocab: int, nu: float, activation: Activation) -> _Sums:
    r"""Sum over windows by slots in common.

    A function g of the number of common slots is a sum over subsets S of slots,
    :math:`g(m) = \sum_{S\subseteq\text{common}}\Delta^{|S|}g(0)`, so the sum over pairs of windows is a sum over S of
    overlaps of counts: how often each filling of the slots S occurs. Windows with different numbers of tokens (zero
    padding) have different variances, and are counted apart.
    """
    shape = (left.slots.shape[0], right.slots.shape[0])
    readout, tangent, error = np.zeros(shape), np.zeros(shape), 0.0
    classes = [np.unique(side.filled[side.valid]) for side in (left, right)]
    for subset, first, second, number in subset_ids(left, right, vocab):
        size = len(subset)
        for s in classes[0]:
            lefts = class_counts(left, first, subset, int(s), number)
            for r in classes[1]:
                if min(s, r) < size:
                    continue
                value, slope, new = _matches(activation, nu, int(s), int(r))
                error = max(error, new)
                overlap = multiply(lefts, class_counts(right, second, subset, int(r), number))
                readout += difference(value, size) * overlap
                tangent += difference(slope, size) * overlap
    return _Sums(readout, tangent, error)


def subset_ids(left: Windows, right: Windows, vocab: int) -> Iterator[tuple[tuple[int, ...], Array, Array, int]]:
    """Every subset of slots, with a number (N, J) for what each window holds there."""
    window = left.slots.shape[2]
    for size in range(window + 1):
        for subset in combinations(range(window), size):
            if not subset:
                ones = tuple(np.zeros(side.valid.shape, dtype=np.int64) for side in (left, right))
                yield subset, ones[0], ones[1], 1
                continue
            keys = [(left.slots[:, :, r], right.slots[:, :, r]) for r in subset]
            yield subset, *joint_ids(keys, [vocab] * size)


def class_counts(side: Windows, ids: Array, subset: tuple[int, ...], filled: int, number: int) -> sparse.csr_array:
    """(N, number) counts over windows with ``filled`` tokens of what their ``subset`` of slots holds."""
    held = side.valid & (side.filled == filled) & (side.slots[:, :, list(subset)] != PADDING).all(axis=2)
    return id_counts(ids, held, number)


def _match_sums(left: Windows, right: Windows, vocab: int, nu: float, activation: Activation) -> _Sums:
    """The same for wide windows: start as if no slot were shared, and correct the pairs of windows that share one."""
    window = left.slots.shape[2]
    value, slope = np.zeros((2, window + 1, window + 1, window + 1))
    error = 0.0
    for s in range(1, window + 1):
        for r in range(1, window + 1):
            value[s, r, : min(s, r) + 1], slope[s, r, : min(s, r) + 1], new = _matches(activation, nu, s, r)
            error = max(error, new)
    shape = (left.slots.shape[0], right.slots.shape[0])
    sizes = [
        np.stack([(side.valid & (side.filled == s)).sum(axis=1) for s in range(window + 1)], 1)
        for side in (left, right)
    ]
    readout = sizes[0] @ value[:, :, 0] @ sizes[1].T
    tangent = np.zeros(shape)
    other, owner, filled = _incidence(right, np.arange(shape[1]), vocab)
    for rows in np.array_split(np.arange(shape[0]), max(1, shape[0] // 50)):
        first = rows[0] if left is right else 0  # of a symmetric table, only the upper half is computed
        tail = slice(int(np.searchsorted(owner, first)), None)
        mine, document, size = _incidence(left, rows, vocab)
        common = (mine @ other[tail].T.tocsr()).tocoo()
        i, j, m = common.coords[0], common.coords[1], np.rint(common.data).astype(np.int64)
        width = shape[1] - first
        place = (document[i] - rows[0]) * width + owner[tail][j] - first
        for total, table in ((readout, value), (tangent, slope)):
            above = table - table[:, :, :1]
            extra = np.bincount(place, above[size[i], filled[tail][j], m], len(rows) * width).reshape(len(rows), width)
            total[rows, first:] += extra
            if left is right:
                total[rows[-1] + 1 :, rows] += extra[:, len(rows) :].T
    return _Sums(readout, tangent, error)


def _incidence(side: Windows, rows: Array, vocab: int) -> tuple[sparse.csr_array, Array, Array]:
    """Windows of some documents as rows, (slot, token) as columns; each window's document and number of tokens."""
    valid = side.valid[rows]
    slots = side.slots[rows][valid]
    columns = slots + vocab * np.arange(slots.shape[1])[None, :]
    table = id_counts(columns, slots != PADDING, vocab * slots.shape[1])
    return table, np.broadcast_to(rows[:, None], valid.shape)[valid], (slots != PADDING).sum(axis=1)


def difference(values: Array, order: int) -> float:
    """Finite difference of the given order at 0: ``sum_i (-1)^(order-i) C(order, i) values[i]``."""
    return float(sum((-1) ** (order - i) * comb(order, i) * values[i] for i in range(order + 1)))


def cnn_constants(
    window: int = 2,
    activation: Activation = "relu",
    *,
    sigma_e: float = 1.0,
    sigma_w: float = 1.0,
    sigma_v: float = 1.0,
) -> tuple[float, ...]:
    r"""Weights of n-grams in the tangent kernel of a convolution on one-hot tokens, without zero padding.

    .. math:: \Theta_{\text{win}} = \sum_{S\subseteq[k]}\Delta^{|S|}g(0)\prod_{r\in S}\delta_r,\qquad
              g(m) = \sigma_v^2[\Phi+2Q\dot\Phi]\ \text{with } m \text{ slots in common}.

    Returns:
        The weights of 0 slots (bias), 1 slot (unigram in that slot), 2 slots (pair), ..., k slots. None is negative:
        Phi is a power series in the correlation with positive coefficients.

    Example:
        >>> [round(w, 12) for w in cnn_constants(2, "linear")]        # no pair term
        [0.0, 1.5, 0.0]
        >>> bias, unigram, pair = cnn_constants(2, "relu", sigma_w=7.0)
        >>> round(pair / unigram, 3)                                    # whatever the variance
        0.801

    Chapter: book/infinite/cnn.
    """
    check_sigmas(sigma_e=sigma_e, sigma_w=sigma_w, sigma_v=sigma_v)
    if not isinstance(window, int) or window < 1:
        raise ValueError(f"window = {window!r}; expected a whole number of tokens, 1 or more")
    value, slope, _ = _matches(activation, sigma_w**2 * sigma_e**2 / window, window, window)
    g = sigma_v**2 * (value + 2 * slope)
    return tuple(difference(g, m) for m in range(window + 1))
