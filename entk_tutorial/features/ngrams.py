r"""Ground-truth directions of text: counts of words, words by slot, pairs of neighbours, and their label-weighted sums.

A direction is a function of documents, so a vector over N of them. Pairs count words too: summed over the second word,
the pairs that begin with a give the count of a, less one if a comes last. So "pairs of words" means what is left of
them once every sum of functions of single places is projected out: the *pure* bigrams. Chapter:
book/beyond/text-eigenspaces.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from entk_tutorial.features.alignment import orthonormal_basis

PADDING = -1
BLOCKS = ("constant", "words", "slots", "bigrams")
"""Names of the blocks of :func:`ngram_blocks`, each orthogonal to those before it."""


def document_lengths(documents: Tensor) -> Tensor:
    """Number of tokens of each document: (N, T) ids, -1 after the end -> (N,) float64.

    Example:
        >>> document_lengths(torch.tensor([[0, 1, -1], [2, 2, 0]])).tolist()
        [2.0, 3.0]
    """
    return (documents != PADDING).sum(1).double()


def word_counts(documents: Tensor, vocab: int) -> Tensor:
    """How often each token occurs in each document: (N, T) ids -> (N, V) float64.

    Args:
        documents: token ids, -1 after the end of each document.
        vocab: V.

    Raises:
        ValueError: if the documents are no (N, T) table of ids below V.

    Example:
        >>> word_counts(torch.tensor([[0, 1, 0], [2, 2, -1]]), 3).tolist()
        [[2.0, 1.0, 0.0], [0.0, 0.0, 2.0]]
    """
    return _indicators(documents, vocab).sum(1)


def slot_counts(documents: Tensor, vocab: int) -> Tensor:
    """Which token stands in which place: (N, T) ids -> (N, T V) of 0 and 1.

    A sum over places of any function of the token there is linear in these columns, and nothing else is.

    Raises:
        ValueError: if the documents have different lengths: the third word from the start is then not the third from
            the end, and the two families differ.

    Example:
        >>> slot_counts(torch.tensor([[0, 1], [1, 1]]), 2).tolist()
        [[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0]]
    """
    if bool((documents == PADDING).any()):
        raise ValueError("documents of different lengths have no common slots; expected one length, without padding.")
    return _indicators(documents, vocab).flatten(1)


def bigram_counts(documents: Tensor, vocab: int) -> Tensor:
    """How often token b follows token a: (N, T) ids -> (N, V, V), first word on the second axis.

    Example:
        >>> bigram_counts(torch.tensor([[0, 1, 1]]), 2)[0].tolist()
        [[0.0, 1.0], [0.0, 1.0]]
    """
    places = _indicators(documents, vocab)
    return torch.einsum("nta,ntb->nab", places[:, :-1], places[:, 1:])


def label_weighted(features: Tensor, training: Tensor, labels: Tensor) -> Tensor:
    r"""Label-weighted co-occurrence: what one step of gradient descent makes of features, :math:`\varphi\,\Phi^\top y`.

    Args:
        features: (N, k) features of the documents to look at.
        training: (M, k) the same features of the training documents.
        labels: (M,) of 0 and 1; each document counts +1/2 or -1/2, as in the first step on the logistic loss.

    Returns:
        Tensor (N,).

    Raises:
        ValueError: if the shapes do not fit.

    Example:
        >>> counts = torch.eye(2, dtype=torch.float64)
        >>> label_weighted(counts, counts, torch.tensor([1, 0])).tolist()
        [0.5, -0.5]
    """
    if features.shape[1:] != training.shape[1:] or labels.shape != training.shape[:1]:
        raise ValueError(
            f"features {tuple(features.shape)}, training {tuple(training.shape)}, labels {tuple(labels.shape)}; "
            "expected (N, k), (M, k) and (M,)."
        )
    return features @ (training.T @ (labels.to(training.dtype) - 0.5))


def without(f: Tensor, basis: Tensor) -> Tensor:
    """The part of the columns of ``f`` that is orthogonal to an orthonormal basis: (N, k) or (N,), and (N, r)."""
    return f - basis @ (basis.T @ f)


@dataclass(frozen=True)
class NgramBlocks:
    """Orthonormal bases of nested families of functions of the documents, each less those before.

    Attributes:
        constant: (N, 1).
        words: (N, <= V - 1) linear functions of word counts, less the constant.
        slots: what else is a sum over places of functions of the token there.
        bigrams: what else is linear in counts of neighbouring pairs: the pure bigrams.
    """

    constant: Tensor
    words: Tensor
    slots: Tensor
    bigrams: Tensor

    @property
    def additive(self) -> Tensor:
        """(N, r) basis of all functions that add up over places, the constant included."""
        return torch.cat([self.constant, self.words, self.slots], 1)

    def shares(self, kernel: Tensor) -> dict[str, float]:
        r"""Share of a kernel's trace in each block, and in none.

        .. math:: \operatorname{share}_S = \frac{\operatorname{tr}(Q_S^\top K Q_S)}
            {\operatorname{tr} K - \operatorname{tr}(Q_0^\top K Q_0)}

        with :math:`Q_0` the constant. ``constant`` is the share of the whole trace instead. ``words``, ``slots``,
        ``bigrams`` and ``rest`` add up to 1. An isotropic kernel has share k / (N - 1) in a block of dimension k.

        Args:
            kernel: (N, N) over the documents of the blocks.
        """
        k = kernel.double()
        part = {name: float((q * (k @ q)).sum()) for name in BLOCKS if (q := getattr(self, name)).shape[1]}
        whole = float(k.trace())
        varying = whole - part["constant"]
        out = {"constant": part["constant"] / whole}
        out |= {name: part.get(name, 0.0) / varying for name in BLOCKS[1:]}
        return out | {"rest": 1 - sum(out[name] for name in BLOCKS[1:])}


def ngram_blocks(documents: Tensor, vocab: int) -> NgramBlocks:
    """Constant, words, words by slot and pure bigrams over documents of one length.

    Args:
        documents: (N, T) token ids, T at least 2.
        vocab: V.

    Raises:
        ValueError: for documents of different lengths, or so few that sums over places already give every function.

    Example:
        >>> blocks = ngram_blocks(torch.cartesian_prod(*[torch.arange(3)] * 3), 3)
        >>> [getattr(blocks, name).shape[1] for name in BLOCKS]      # 1, V-1, (T-1)(V-1), (T-1)(V-1)^2
        [1, 2, 4, 4]
    """
    slots = slot_counts(documents, vocab)
    n = len(slots)
    constant = torch.full((n, 1), n**-0.5, dtype=torch.float64)
    blocks = [constant]
    for family in (word_counts(documents, vocab), slots, bigram_counts(documents, vocab).flatten(1)):
        below = torch.cat(blocks, 1)
        rest = without(family, below)
        # Judged by the size of the family, not of what is left: what is left may be rounding alone.
        left, size, _ = torch.linalg.svd(rest, full_matrices=False)
        blocks.append(left[:, size > 1e-9 * float(family.norm())])
    if sum(b.shape[1] for b in blocks[:3]) >= n:
        raise ValueError(
            f"{n} documents, and sums over places already give {n} dimensions: nothing is left for pairs. Use more "
            "documents or fewer words."
        )
    return NgramBlocks(*blocks)


def beyond(kernel: Tensor, basis: Tensor) -> Tensor:
    r"""The kernel with a space of functions projected out on both sides: :math:`(1-QQ^\top)\,K\,(1-QQ^\top)`.

    Args:
        kernel: (N, N) symmetric.
        basis: (N, r) orthonormal, such as :attr:`NgramBlocks.additive`.

    Returns:
        Tensor (N, N) float64, exactly symmetric.

    Example:
        >>> beyond(torch.ones(2, 2), torch.full((2, 1), 2**-0.5).double()).abs().max().item() < 1e-12
        True
    """
    half = without(kernel.double(), basis)
    both = without(half.T, basis)
    return (both + both.T) / 2


def rayleigh(kernel: Tensor, direction: Tensor) -> float:
    r"""Size of a kernel along a direction, in units of its mean eigenvalue.

    .. math:: \frac{N\, f^\top K f}{f^\top f\, \operatorname{tr} K}

    Args:
        kernel: (N, N).
        direction: (N,), not zero.

    Example:
        >>> rayleigh(torch.diag(torch.tensor([3.0, 1.0])), torch.tensor([1.0, 0.0]))
        1.5
    """
    k, f = kernel.double(), direction.double()
    return float(f @ (k @ f) / (f @ f) / k.trace() * len(f))


def squared_cosine(a: Tensor, b: Tensor) -> float:
    """Squared cosine of two directions: (N,) and (N,); the overlap of two lines."""
    q_a, q_b = orthonormal_basis(a[:, None], center=False), orthonormal_basis(b[:, None], center=False)
    return float((q_a.T @ q_b).square())


def _indicators(documents: Tensor, vocab: int) -> Tensor:
    """(N, T) ids -> (N, T, V) of 0 and 1; zero at padding."""
    if documents.ndim != 2 or documents.is_floating_point() or not documents.numel():
        raise ValueError(f"documents {tuple(documents.shape)} {documents.dtype}; expected (N, T) integer token ids.")
    if not PADDING <= int(documents.min()) <= int(documents.max()) < vocab:
        raise ValueError(
            f"token ids {int(documents.min())} to {int(documents.max())}; vocab={vocab} allows 0 to {vocab - 1}, "
            "and -1 after the end of a document."
        )
    return one_hot(documents.clamp(min=0), vocab).double() * (documents != PADDING)[..., None]
