r"""Ground-truth features of the toy model of superposition in the flattened space, and three ways to look for them.

The flat kernel of a network with n outputs lives on N n rows, row (i, c) = output c at sample i. Feature j gets a
direction there: its values in channel block j (the rows of output j), zero in all other blocks. Source: [Lin 2025].
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from entk_tutorial.features.alignment import Overlap, cosine_heatmap, subspace_overlap


def channel_directions(x: Tensor) -> Tensor:
    r"""Direction of each feature in the flattened space: feature j's values in channel block j.

    .. math:: F_{(i, c), j} = x_{ij}\, \delta_{cj}

    Args:
        x: (N, n) feature values.

    Returns:
        Tensor (N n, n) float64, rows in the order of ``reduce="flat"``. Columns are orthogonal: their blocks are apart.

    Example:
        >>> channel_directions(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
        [[1.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 4.0]]

    Source: [Lin 2025]. Chapter: book/microscope/superposition.
    """
    return torch.diag_embed(_values(x)).flatten(0, 1)


def channel_labels(n_samples: int, n_features: int) -> Tensor:
    """Output channel of each row of the flattened space: (N n,).

    Example:
        >>> channel_labels(2, 3).tolist()
        [0, 1, 2, 0, 1, 2]
    """
    return torch.arange(n_features).repeat(n_samples)


def shuffle_values(x: Tensor, seed: int) -> Tensor:
    """The control: each feature keeps its values and its channel, and forgets which sample had which.

    Args:
        x: (N, n) feature values.
        seed: of the private generator.

    Returns:
        Tensor (N, n), each column permuted on its own.

    Example:
        >>> x = torch.arange(6.0).reshape(3, 2)
        >>> y = shuffle_values(x, seed=1)
        >>> bool((y.sort(0).values == x).all()), bool((y == x).all())
        (True, False)

    Chapter: book/microscope/superposition.
    """
    x = _values(x, keep_dtype=True)
    generator = torch.Generator().manual_seed(seed)
    order = torch.stack([torch.randperm(len(x), generator=generator) for _ in range(x.shape[1])], 1)
    return x.gather(0, order.to(x.device))


@dataclass(frozen=True)
class Recovery:
    """Which features were found among some directions, one to one.

    Attributes:
        score: (n,) score of each feature with its partner; 0 without one.
        partner: (n,) index of the direction that it was given, -1 without one.
        found: (n,) truth values, score at least the threshold.
    """

    score: Tensor
    partner: Tensor
    found: Tensor

    @property
    def count(self) -> int:
        """How many features were found."""
        return int(self.found.sum())


def match_features(u: Tensor, f: Tensor, *, threshold: float = 0.8, normalise: str = "none") -> Recovery:
    r"""Give each feature a direction of its own, and count the pairs that are alike.

    The score of direction u and feature f is :math:`|\cos(u, f)|`, both uncentred. The assignment is the one with
    the largest total score (:func:`scipy.optimize.linear_sum_assignment`), so that no direction counts twice.

    Args:
        u: (M, d) directions, e.g. eigenvectors of the flat kernel, M = N n; or codes over samples, M = N.
        f: (M, n) features, e.g. :func:`channel_directions`.
        threshold: score from which a feature counts as found, in (0, 1].
        normalise: ``"none"``, the cosine itself; ``"column"`` divides each feature's column of the (d, n) table by its
            length, as published heat maps do. The score then says how *exclusively* one direction among those given
            meets the feature, not how well: a table of tiny cosines can be full of ones. A column of zeros stays zero.

    Returns:
        Recovery.

    Raises:
        ValueError: different row counts, a zero direction or feature, an unknown ``normalise``, a threshold outside
            (0, 1].

    Example:
        >>> f = torch.eye(4)[:, :2]
        >>> u = torch.tensor([[0.1, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
        >>> match_features(u, f).found.tolist(), match_features(u, f, normalise="column").found.tolist()
        ([False, True], [True, True])

    Source: the normalised table, [Lin 2025]. Chapter: book/microscope/superposition.
    """
    if normalise not in ("none", "column"):
        raise ValueError(f"normalise={normalise!r} is unknown; expected 'none' or 'column'.")
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold={threshold}; a cosine in (0, 1] is expected.")
    table = cosine_heatmap(u, f, center=False)
    if normalise == "column":
        lengths = table.norm(dim=0)
        table = table / torch.where(lengths > 0, lengths, torch.ones_like(lengths))
    rows, columns = linear_sum_assignment(-table.cpu().numpy())
    score = torch.zeros(table.shape[1], dtype=torch.float64)
    partner = torch.full((table.shape[1],), -1)
    index = torch.as_tensor(np.asarray(columns))
    score[index] = table.cpu()[rows, columns]
    partner[index] = torch.as_tensor(np.asarray(rows))
    return Recovery(score, partner, score >= threshold)


def channel_overlap(u: Tensor, x: Tensor, *, center: str = "channel") -> Overlap:
    r"""Overlap of the span of ``u`` with the features' directions, without what a constant would give.

    Features are not negative, so each has a mean. Its constant part, the indicator of channel block j, says where
    feature j lives and not which sample has it. Centred per channel, that part is gone.

    Args:
        u: (N n, d) directions.
        x: (N, n) feature values.
        center: ``"channel"``: the mean of each block of each feature is removed; ``"all"``: the mean over all N n rows,
            which leaves the indicator of the block in place; ``"none"``.

    Returns:
        Overlap: ``value`` in [0, n]. A random d-dimensional span gives d n / (N n) = d / N.

    Raises:
        ValueError: row counts that do not fit, an unknown ``center``, no feature that varies.

    Example:
        >>> x = torch.rand(100, 3, generator=torch.Generator().manual_seed(0))
        >>> where = channel_directions(torch.ones(100, 3))        # knows the channel, and nothing about the samples
        >>> overlaps = [channel_overlap(where, x, center=c).value for c in ("none", "all", "channel")]
        >>> [round(v, 1) for v in overlaps]
        [2.2, 1.5, 0.0]

    Chapter: book/microscope/superposition.
    """
    labels: bool | Tensor
    if center == "channel":
        labels = channel_labels(*x.shape)
    elif center in ("all", "none"):
        labels = center == "all"
    else:
        raise ValueError(f"center={center!r} is unknown; expected 'channel', 'all' or 'none'.")
    return subspace_overlap(u, channel_directions(x), center=labels)


def overlap_by_direction(u: Tensor, x: Tensor) -> Tensor:
    r"""What each of the orthonormal directions adds to :func:`channel_overlap`, centred per channel: (d,) float64.

    The centred features have blocks apart, so they are orthogonal, and the overlap with the first k directions is the
    sum of the first k entries: one call gives the curve for every k.

    Args:
        u: (N n, d), orthonormal columns.
        x: (N, n) feature values; one that does not vary has nothing left and is skipped.

    Raises:
        ValueError: row counts that do not fit, or columns that are not orthonormal.

    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> u = torch.linalg.qr(channel_directions(x).double())[0]
        >>> overlap_by_direction(u, x).round(decimals=6).tolist()
        [0.5, 0.5]

    Chapter: book/microscope/superposition.
    """
    f = _values(x)
    n_samples, n = f.shape
    if u.ndim != 2 or u.shape[0] != n_samples * n:
        raise ValueError(f"u has shape {tuple(u.shape)}; {n_samples * n} rows (N n) are expected.")
    u = u.double()
    if not torch.allclose(u.T @ u, torch.eye(u.shape[1], dtype=u.dtype), atol=1e-6):
        raise ValueError("the columns of u are not orthonormal; take eigenvectors, or channel_overlap.")
    centred = f - f.mean(0)
    lengths = centred.norm(dim=0)
    vary = lengths > 1e-10 * f.norm(dim=0)
    unit = centred[:, vary] / lengths[vary]
    blocks = u.reshape(n_samples, n, -1)[:, vary]
    return torch.einsum("ij,ijd->jd", unit, blocks).square().sum(0)


def _values(x: Tensor, *, keep_dtype: bool = False) -> Tensor:
    """Feature values as a matrix, checked."""
    if x.ndim != 2 or x.numel() == 0 or not bool(torch.isfinite(x).all()):
        raise ValueError(f"feature values have shape {tuple(x.shape)}; a finite matrix (N, n) is expected.")
    return x.detach() if keep_dtype else x.detach().double()
