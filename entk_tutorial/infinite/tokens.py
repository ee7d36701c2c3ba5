"""Documents as integers: validation, counts, and the Gram matrix of the token vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from torch import Tensor

Array = npt.NDArray[Any]
PADDING = -1


@dataclass(frozen=True)
class Documents:
    """Validated token ids.

    Attributes:
        tokens: (N, T) int64; row i holds document i, then ``-1`` up to the longest length T.
        lengths: (N,) int64, all at least 1.
    """

    tokens: Array
    lengths: Array

    @property
    def mask(self) -> Array:
        """(N, T) True where there is a token."""
        return self.tokens != PADDING

    def __len__(self) -> int:
        """Number of documents."""
        return int(self.tokens.shape[0])


DocumentsLike = Documents | Sequence[Sequence[int]] | Array | Tensor


def as_documents(docs: DocumentsLike) -> Documents:
    """Check documents and bring them into one form.

    Args:
        docs: a list of lists of token ids (0, 1, ...), or an (N, T) integer array or tensor with ``-1`` after the end
            of each document.

    Returns:
        The documents, trimmed to the longest one.

    Raises:
        ValueError: for no documents, an empty document, a flat list, ids that are not integers, a negative id other
            than the padding, padding before or inside a document, a ragged array. Each message says which document and
            what to do.

    Example:
        >>> as_documents([[3, 1, 1], [2]]).tokens.tolist()
        [[3, 1, 1], [2, -1, -1]]
    """
    if isinstance(docs, Documents):
        return docs
    if isinstance(docs, Tensor):
        docs = docs.detach().cpu().numpy()
    table = _check_array(docs) if isinstance(docs, np.ndarray) else _pad_lists(docs)
    negative = (table < 0) & (table != PADDING)
    if negative.any():
        row, column = np.argwhere(negative)[0]
        raise ValueError(
            f"document {row} holds token id {table[row, column]} at position {column}; ids are 0, 1, ..., and only "
            f"{PADDING} may be "
            f"negative (padding after the end). Map unknown words to an id of their own"
        )
    mask = table != PADDING
    lengths = mask.sum(axis=1)
    if (lengths == 0).any():
        row = int(np.flatnonzero(lengths == 0)[0])
        raise ValueError(
            f"document {row} is empty; every document needs at least one token. Drop it, or give it a token that "
            "means 'empty'"
        )
    broken = ~mask[:, :-1] & mask[:, 1:]
    if broken.any():
        row = int(np.flatnonzero(broken.any(axis=1))[0])
        raise ValueError(
            f"document {row} has padding ({PADDING}) before or between tokens; padding must come after the last token"
        )
    return Documents(np.ascontiguousarray(table[:, : int(lengths.max())]), lengths)


def _check_array(docs: Array) -> Array:
    if docs.dtype == object:
        raise ValueError(
            f"found a ragged array (dtype object); pass a list of lists, or pad every row with {PADDING} to one length"
        )
    if docs.ndim != 2:
        raise ValueError(
            f"found an array of shape {docs.shape}; expected (N, T): one row a document. For a single document use "
            "docs[None, :]"
        )
    if not np.issubdtype(docs.dtype, np.integer):
        raise ValueError(
            f"found token ids of dtype {docs.dtype}; expected integers. Convert with docs.astype(int) if they are ids"
        )
    if docs.shape[0] == 0 or docs.shape[1] == 0:
        raise ValueError(
            f"found an array of shape {docs.shape}: no documents. Expected at least one document of at least one token"
        )
    return docs.astype(np.int64)


def _pad_lists(docs: Iterable[Any]) -> Array:
    if isinstance(docs, str):
        raise ValueError("found a string; expected a list of lists of integer ids. Map words to ids first")
    rows = list(docs)
    if not rows:
        raise ValueError("found an empty list; expected at least one document")
    arrays: list[Array] = []
    for i, row in enumerate(rows):
        if isinstance(row, int | np.integer):
            raise ValueError(
                f"found the number {row} where a document was expected; a single document is a list in a list: "
                f"[[{row}, ...]]"
            )
        array = np.asarray(row.detach().cpu().numpy() if isinstance(row, Tensor) else row)
        if array.ndim != 1:
            raise ValueError(f"document {i} has shape {array.shape}; expected a flat list of token ids")
        if array.size and not np.issubdtype(array.dtype, np.integer):
            raise ValueError(
                f"document {i} holds values of type {array.dtype}; expected integer token ids. Map words to ids first"
            )
        arrays.append(array.astype(np.int64))
    table = np.full((len(arrays), max(1, max(a.size for a in arrays))), PADDING, dtype=np.int64)
    for i, array in enumerate(arrays):
        table[i, : array.size] = array
    return table


def check_gram(gram: Array | Tensor, needed: int) -> Array:
    """Check the Gram of token vectors: (V, V), finite, symmetric, positive semi-definite, a row for every id."""
    table = np.asarray(gram.detach().cpu().numpy() if isinstance(gram, Tensor) else gram, dtype=np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1]:
        raise ValueError(
            f"gram has shape {table.shape}; expected (V, V), one row and column a token id. From token vectors X (V, "
            "r): X @ X.T"
        )
    if table.shape[0] < needed:
        raise ValueError(
            f"token id {needed - 1} is out of range: gram has {table.shape[0]} rows, for ids 0 to "
            f"{table.shape[0] - 1}. "
            f"Give gram a row and column for every id, or map rare tokens to a shared id"
        )
    if not np.isfinite(table).all():
        raise ValueError("gram holds a value that is not finite; check the token vectors for NaN or infinity")
    scale = float(np.abs(table).max(initial=0.0))
    gap = float(np.abs(table - table.T).max(initial=0.0))
    if gap > 1e-10 * scale:
        raise ValueError(
            f"gram is not symmetric: entries differ from their mirror by up to {gap:.3g}. Build it as X @ X.T from "
            "token vectors X"
        )
    # Cholesky of gram + a little: about fifty times cheaper than its eigenvalues when V is thousands.
    jitter = 1e-9 * max(scale, np.finfo(np.float64).tiny)
    try:
        np.linalg.cholesky(table + jitter * len(table) * np.eye(len(table)))
    except np.linalg.LinAlgError:
        lowest = float(np.linalg.eigvalsh(table)[0])
        raise ValueError(
            f"gram is not positive semi-definite: smallest eigenvalue {lowest:.3g}. Inner products of vectors always "
            "are; build it as X @ X.T"
        ) from None
    return 0.5 * (table + table.T)


@dataclass(frozen=True)
class TokenPair:
    """Two lists of documents over one vocabulary, renumbered to the tokens that occur, with their Gram matrix.

    Attributes:
        first, second: the documents; the same object when a kernel of one list with itself was asked for.
        vocab: number U of distinct tokens that occur.
        gram: (U, U) Gram of the token vectors, or None for one-hot vectors.
        extra: new ids of the extra tokens asked for, in order.
    """

    first: Documents
    second: Documents
    vocab: int
    gram: Array | None
    extra: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """(N1, N2)."""
        return len(self.first), len(self.second)

    def dense_gram(self) -> Array:
        """(U, U) Gram, the identity for one-hot tokens."""
        return np.eye(self.vocab) if self.gram is None else self.gram

    def bag(self, first: Array | None = None, second: Array | None = None) -> Array:
        r"""(N1, N2) sums :math:`\sum_{tt'} w_tw'_{t'}q_{tt'}`; position weights (N1, T1), (N2, T2), default 1."""
        left, right = counts(self.first, self.vocab, first), counts(self.second, self.vocab, second)
        if self.gram is None:
            return multiply(left, right)
        return np.asarray((left @ self.gram) @ right.T)

    def token_gram(self, a: Array, b: Array) -> Array:
        """(N1, N2) inner products of one token a document: ``a`` (N1,) and ``b`` (N2,); 0 where either is padding."""
        if self.gram is None:
            return ((a[:, None] == b[None, :]) & (a != PADDING)[:, None]).astype(np.float64)
        return np.pad(self.gram, (0, 1))[np.ix_(a, b)]


def token_pair(
    docs1: DocumentsLike, docs2: DocumentsLike | None, gram: Array | Tensor | None, extra_tokens: Sequence[int] = ()
) -> TokenPair:
    """Validate the arguments that all kernels share, and renumber the tokens."""
    first = as_documents(docs1)
    second = first if docs2 is None else as_documents(docs2)
    used = np.unique(
        np.concatenate([first.tokens[first.mask], second.tokens[second.mask], np.asarray(extra_tokens, dtype=np.int64)])
    )
    table = None
    if gram is not None:
        table = check_gram(gram, int(used[-1]) + 1)[np.ix_(used, used)]
    one = _renumber(first, used)
    two = one if docs2 is None else _renumber(second, used)
    return TokenPair(one, two, len(used), table, tuple(int(i) for i in np.searchsorted(used, extra_tokens)))


def _renumber(docs: Documents, used: Array) -> Documents:
    tokens = np.where(docs.mask, np.searchsorted(used, docs.tokens), PADDING)
    return Documents(tokens, docs.lengths)


def counts(docs: Documents, vocab: int, weights: Array | None = None) -> sparse.csr_array:
    """(N, vocab) sparse token counts, each position counted with its weight."""
    return id_counts(docs.tokens, docs.mask, vocab, weights)


def id_counts(ids: Array, valid: Array, columns: int, weights: Array | None = None) -> sparse.csr_array:
    """(N, columns) sparse counts of the ids (N, J) where ``valid``; duplicates add up."""
    rows = np.broadcast_to(np.arange(ids.shape[0])[:, None], ids.shape)[valid]
    data = np.ones(rows.size) if weights is None else np.broadcast_to(weights, ids.shape)[valid].astype(np.float64)
    return sparse.csr_array(sparse.coo_array((data, (rows, ids[valid])), shape=(ids.shape[0], columns)))


def joint_ids(keys: Sequence[tuple[Array, Array]], sizes: Sequence[int]) -> tuple[Array, Array, int]:
    """Give each distinct tuple of ids one number, the same in both lists.

    Args:
        keys: for each slot a pair of integer arrays, (N1, J1) and (N2, J2). Values at positions that are not valid do
            not matter, except that they must be at least -1.
        sizes: for each slot an exclusive upper bound of its ids.

    Returns:
        ids of the first list, of the second, and how many there are. Slots are folded in one at a time, so that no key
        overflows 64 bits.
    """
    shapes = [a.shape for a in keys[0]]
    flat = np.zeros(sum(int(np.prod(s)) for s in shapes), dtype=np.int64)
    number = 1
    for (a, b), size in zip(keys, sizes, strict=True):
        slot = np.concatenate([a.ravel(), b.ravel()]) + 1  # padding becomes 0
        _, flat = np.unique(flat * (size + 1) + slot, return_inverse=True)
        number = int(flat.max(initial=-1)) + 1
    split = int(np.prod(shapes[0]))
    return flat[:split].reshape(shapes[0]), flat[split:].reshape(shapes[1]), number


def ngram_counts(pair: TokenPair, *, suffix: bool = False) -> Iterator[tuple[sparse.csr_array, sparse.csr_array]]:
    """Sparse counts of contiguous n-grams for n = 1, 2, ... up to the shorter of the two longest documents.

    With ``suffix`` only the n-gram that ends a document counts.
    """
    longest = min(pair.first.tokens.shape[1], pair.second.tokens.shape[1])
    sides = (pair.first, pair.second)
    ids: tuple[Array, Array] = (np.zeros_like(sides[0].tokens), np.zeros_like(sides[1].tokens))
    number = 1
    for n in range(1, longest + 1):
        # position j of ids stands for the n-gram that starts at j
        new = tuple(d.tokens[:, n - 1 :] for d in sides)
        old = tuple(i[:, : i.shape[1] - (n > 1)] for i in ids)
        first, second, number = joint_ids([(old[0], old[1]), (new[0], new[1])], [number, pair.vocab])
        ids = (first, second)
        valid = []
        for d, i in zip(sides, ids, strict=True):
            start = np.arange(i.shape[1])[None, :]
            fits = start + n <= d.lengths[:, None]
            valid.append(fits & (start + n == d.lengths[:, None]) if suffix else fits)
        yield id_counts(first, valid[0], number), id_counts(second, valid[1], number)


def multiply(left: sparse.csr_array, right: sparse.csr_array) -> Array:
    """(N1, N2) dense product ``left @ right.T`` of sparse counts."""
    return np.asarray((left @ right.T.tocsr()).toarray())


def pooling_scale(pooling: str, number: Array) -> Array:
    """(N,) factor in front of the pooled sum: 1 for "sum", 1/number of summands for "mean"."""
    if pooling == "sum":
        return np.ones(number.shape)
    if pooling == "mean":
        return 1.0 / number
    raise ValueError(f"unknown pooling {pooling!r}; expected 'sum' or 'mean'")


def only_sum_pooling(pooling: str, family: str) -> None:
    """Refuse pooling where the architecture has none."""
    if pooling != "sum":
        raise ValueError(
            f"found pooling={pooling!r}, but {family} is defined with a plain sum or a last state only; leave "
            "pooling='sum'"
        )


def check_sigmas(**sigmas: float) -> None:
    """Refuse scales that are negative or not finite."""
    for name, value in sigmas.items():
        if not np.isfinite(value) or value < 0:
            raise ValueError(
                f"{name} = {value}; expected a finite number, 0 or more (the standard deviation of a weight)"
            )


def as_tensor(array: Array) -> Tensor:
    """Float64 tensor that shares the array's memory where it can."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float64))
