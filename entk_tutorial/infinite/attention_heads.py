"""Many independent attention heads with scores of order one: closed form, or samples of the scores."""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from entk_tutorial.infinite.kernel import Kernel, kernel_from_groups
from entk_tutorial.infinite.tokens import Array, Documents, TokenPair, as_tensor, counts, id_counts, joint_ids, multiply


def identity_heads(pair: TokenPair, scale: Array, strength: float, sigma_e: float, lasts: bool) -> Kernel:
    r"""Heads without softmax: queries times squared keys.

    .. math:: K = S \propto \Big(\sum_{ii'}q_{ii'}\Big)\Big(\sum_{jj'}q_{jj'}^2\Big)

    A score is the inner product of a query and a key, and the value is again the key's vector; so the key enters twice.
    Every group sees the same expectation once, and E sees it three times, as query, key and value.
    """
    if lasts:
        ends = [_last_mask(docs) for docs in (pair.first, pair.second)]
        queries = pair.bag(ends[0], ends[1])
    else:
        queries = pair.bag()
    kernel = scale * strength**2 * sigma_e**6 * queries * _squared_bag(pair)
    return kernel_from_groups(kernel, {"E": 3 * kernel, "W_q": kernel, "W_k": kernel, "v": kernel})


def _last_mask(docs: Documents) -> Array:
    return (np.arange(docs.tokens.shape[1])[None, :] == docs.lengths[:, None] - 1).astype(np.float64)


def _squared_bag(pair: TokenPair) -> Array:
    if pair.gram is None:
        return pair.bag()
    return np.asarray((counts(pair.first, pair.vocab) @ pair.gram**2) @ counts(pair.second, pair.vocab).T)


def softmax_heads(
    pair: TokenPair,
    scale: Array,
    strength: float,
    sigma_e: float,
    lasts: bool,
    n_samples: int,
    generator: torch.Generator,
) -> Kernel:
    """Monte-Carlo mean over Gaussian score tables (U, U), one for all documents of a sample."""
    if not isinstance(n_samples, int) or n_samples < 2:
        raise ValueError(f"n_samples = {n_samples!r}; expected a whole number, 2 or more (a standard error needs two)")
    root = None if pair.gram is None else _root(pair.gram, sigma_e)
    size = pair.vocab if root is None else root.shape[1]
    sides = [_Side(docs, root, lasts) for docs in (pair.first, pair.second)]
    same = pair.first is pair.second
    triples = None if root is not None else _joint_triples(sides[0], sides[1], pair.vocab)
    sums = [np.zeros(pair.shape) for _ in range(5)]
    for _ in range(n_samples):
        noise = torch.randn(size, size, dtype=torch.float64, generator=generator).numpy()
        table = strength * (sigma_e**2 * noise if root is None else root @ noise @ root.T)
        left = sides[0].attend(table)
        right = left if same else sides[1].attend(table)
        value = sigma_e**2 * pair.bag(left.sum(axis=1), right.sum(axis=1))
        if triples is None:
            assert root is not None
            score = _score_kernel(left, right, sides[0], sides[1], root)
        else:
            score = sigma_e**6 * multiply(triples[0].counts(left), triples[1].counts(right))
        score *= strength**2
        for total, term in zip(sums, (value, score, value * value, score * score, value * score), strict=True):
            total += term
    return _moments(sums, scale, n_samples)


def _moments(sums: list[Array], scale: Array, n: int) -> Kernel:
    value, score, value2, score2, cross = (total / n for total in sums)
    var_value, var_score = value2 - value**2, score2 - score**2
    covariance = cross - value * score

    def error(a: float, b: float) -> Tensor:
        """Standard error of the mean of a * value + b * score."""
        variance = a * a * var_value + b * b * var_score + 2 * a * b * covariance
        return as_tensor(scale * np.sqrt(np.maximum(variance, 0.0) / (n - 1)))

    k, s = scale * value, scale * score
    kernel = kernel_from_groups(k, {"E": k + 2 * s, "W_q": s, "W_k": s, "v": k})
    errors = {
        "E": error(1, 2),
        "W_q": error(0, 1),
        "W_k": error(0, 1),
        "v": error(1, 0),
        "nngp": error(1, 0),
        "ntk": error(2, 4),
    }
    return Kernel(kernel.nngp, kernel.ntk, kernel.by_group, std_error=errors)


def _root(gram: Array, sigma_e: float) -> Array:
    """(U, r) vectors with the token Gram as inner products, ``sigma_e`` included."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > 1e-12 * max(float(values[-1]), np.finfo(np.float64).tiny)
    return np.asarray(sigma_e * vectors[:, kept] * np.sqrt(values[kept]))


class _Side:
    """One list of documents: its attention, and the Jacobian of attention, under a table of scores."""

    def __init__(self, docs: Documents, root: Array | None, lasts: bool) -> None:
        self.docs, self.mask = docs, docs.mask
        # (N, T, r) token vectors, 0 at padding
        self.vectors = None if root is None else np.pad(root, ((0, 1), (0, 0)))[docs.tokens]
        # queries (N, I): the positions that ask
        self.queries = docs.tokens[np.arange(len(docs)), docs.lengths - 1][:, None] if lasts else docs.tokens

    def attend(self, table: Array) -> Array:
        """(N, I, T) attention of each query to each key, 0 at padding."""
        raw = table[self.queries[:, :, None], self.docs.tokens[:, None, :]]  # (N, I, T)
        raw = np.where(self.mask[:, None, :], raw, -np.inf)
        alpha = np.exp(raw - raw.max(axis=2, keepdims=True))
        alpha /= alpha.sum(axis=2, keepdims=True)
        alpha *= (self.queries >= 0)[:, :, None]
        return np.asarray(alpha)


def _score_kernel(left: Array, right: Array, one: _Side, two: _Side, root: Array) -> Array:
    """Inner products of sum_i e_i (x) sum_jl P_jl e_j (x) e_l, one coordinate of e_i at a time: memory N r^2."""
    pairs = [_attended_pairs(alpha, side) for alpha, side in ((left, one), (right, two))]
    askers = [np.pad(root, ((0, 1), (0, 0)))[side.queries] for side in (one, two)]  # (N, I, r)
    total = np.zeros((len(one.docs), len(two.docs)))
    for a in range(root.shape[1]):
        features = [np.einsum("ni,nip->np", ask[:, :, a], pair) for ask, pair in zip(askers, pairs, strict=True)]
        total += features[0] @ features[1].T
    return total


def _attended_pairs(alpha: Array, side: _Side) -> Array:
    """(N, I, r*r) covariance of token vectors under each query's attention, P = diag(alpha) - alpha alpha^T."""
    vectors = side.vectors
    assert vectors is not None
    mean = np.einsum("nij,njr->nir", alpha, vectors)
    second = np.einsum("nij,njr,njs->nirs", alpha, vectors, vectors, optimize=True)
    return np.asarray((second - mean[..., :, None] * mean[..., None, :]).reshape(*mean.shape[:2], -1))


class _Triples:
    """Positions (query, key, key) of one-hot documents as sparse columns, fixed while the weights change."""

    def __init__(self, ids: Array, valid: Array, number: int) -> None:
        self.ids, self.valid, self.number = ids, valid, number

    def counts(self, alpha: Array) -> sparse.csr_array:
        """(N, number) entries of diag(alpha) - alpha alpha^T for each query, summed over equal triples of tokens."""
        jacobian = -alpha[:, :, :, None] * alpha[:, :, None, :]
        place = np.arange(alpha.shape[2])
        jacobian[:, :, place, place] += alpha
        shape = (jacobian.shape[0], -1)
        return id_counts(self.ids.reshape(shape), self.valid.reshape(shape), self.number, jacobian.reshape(shape))


def _joint_triples(one: _Side, two: _Side, vocab: int) -> tuple[_Triples, _Triples]:
    slots = []
    for side in (one, two):
        q, t = side.queries, side.docs.tokens
        slots.append(np.broadcast_arrays(q[:, :, None, None], t[:, None, :, None], t[:, None, None, :]))
    first, second, number = joint_ids(list(zip(slots[0], slots[1], strict=True)), [vocab] * 3)
    valid = [(a >= 0) & (b >= 0) & (c >= 0) for a, b, c in slots]
    return _Triples(first, valid[0], number), _Triples(second, valid[1], number)
