r"""How much of one subspace lies in another, what chance gives, and what a permutation gives."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Center = bool | Tensor


@dataclass(frozen=True)
class Overlap:
    """Overlap of two subspaces.

    Attributes:
        value: sum of squared cosines of the principal angles, in [0, max].
        max: the largest value possible: the smaller of the two dimensions.
        singular_values: cosines of the principal angles, largest first.
    """

    value: float
    max: int
    singular_values: Tensor


def _group_means(f: Tensor, center: Center) -> Tensor:
    """The part of ``f`` that centring removes."""
    if isinstance(center, Tensor):
        if center.shape != f.shape[:1]:
            raise ValueError(
                f"center labels have shape {tuple(center.shape)}; one label a row ({f.shape[0]},) is expected."
            )
        _, group = torch.unique(center, return_inverse=True)
        counts = torch.bincount(group).to(f.dtype)
        sums = f.new_zeros((len(counts), f.shape[1])).index_add(0, group, f)
        return (sums / counts[:, None])[group]
    return f.mean(0, keepdim=True).expand_as(f) if center else torch.zeros_like(f)


def _rounding(f: Tensor) -> float:
    """Singular values below this share of the norm are rounding, in the precision that ``f`` came in."""
    return max(1e-10, max(f.shape) * torch.finfo(f.dtype).eps) if f.is_floating_point() else 1e-10


def orthonormal_basis(f: Tensor, *, center: Center = True, rank_tolerance: float | None = None) -> Tensor:
    """Orthonormal basis of the centred span of the columns of ``f``: (N, rank), float64.

    Args:
        f: (N, k), any real dtype.
        center: as in :func:`subspace_overlap`.
        rank_tolerance: singular values below this share of the norm of ``f`` are rounding; None goes by the dtype, so
            that a dependent column in single precision does not count as a direction of its own.

    Raises:
        ValueError: if nothing is left after centring, or if ``f`` is not finite.
    """
    if not bool(torch.isfinite(f).all()):
        raise ValueError("a column holds a NaN or an infinity; its span is not defined.")
    rank_tolerance = _rounding(f) if rank_tolerance is None else rank_tolerance
    f = f.double()
    scale = float(f.norm())
    rest = f - _group_means(f, center)
    left, s, _ = torch.linalg.svd(rest, full_matrices=False)
    keep = s > rank_tolerance * scale
    if not bool(keep.any()):
        if center is False:
            raise ValueError("the columns are zero: their span is empty. Leave them out.")
        raise ValueError("the columns are constant (or zero): the centred span is empty. Pass center=False to keep it.")
    return left[:, keep]


def subspace_overlap(u: Tensor, f: Tensor, *, center: Center = True) -> Overlap:
    r"""How much of the span of the features ``f`` lies in the span of ``u``.

    .. math:: \operatorname{overlap}(U, F) = \lVert Q_U^\top Q_F \rVert_F^2 = \sum_i \cos^2 \theta_i

    with orthonormal bases :math:`Q_U`, :math:`Q_F` of the two spans and their principal angles :math:`\theta_i`. The
    features are centred first, because the constant direction belongs to every family and to none; ``u`` is not.
    It is a statement about spans: any other basis of the same functions has the same overlap.

    Args:
        u: (N, d) directions over N inputs, e.g. eigenvectors. Need not be orthonormal.
        f: (N, k) feature values on the same inputs.
        center: True for the mean of each feature, False for nothing, (N,) labels for a mean in each group.

    Returns:
        Overlap: ``value`` in [0, ``max``]. A random d-dimensional span gives d k / N: see :func:`overlap_chance`,
        and show it beside every value.

    Raises:
        ValueError: different row counts, or features without variation.

    Example:
        >>> import torch
        >>> u = torch.eye(6)[:, :3]
        >>> subspace_overlap(u, u, center=False).value
        3.0
        >>> round(subspace_overlap(u, u).value, 6)       # centring mixes in the directions outside u
        2.5

    Source: [Lin 2025]. Chapter: book/microscope/modular-mlp.
    """
    if u.ndim != 2 or f.ndim != 2 or u.shape[0] != f.shape[0]:
        raise ValueError(f"u {tuple(u.shape)} and f {tuple(f.shape)} must be (N, d) and (N, k) over the same N inputs.")
    q_u, q_f = orthonormal_basis(u, center=False), orthonormal_basis(f.to(u.device), center=center)
    cosines = torch.linalg.svdvals(q_u.T @ q_f)
    return Overlap(float(cosines.pow(2).sum()), min(q_u.shape[1], q_f.shape[1]), cosines)


def overlap_chance(d: int, k: int, n: int, *, excluded: int = 0) -> float:
    r"""Mean overlap of a random d-dimensional subspace with a fixed k-dimensional one: d k / (N - excluded).

    Args:
        d: dimension of the random subspace.
        k: dimension of the feature span.
        n: number of inputs N.
        excluded: dimensions that the random subspace is known to avoid (constant, other families), where the
            features avoid them, too.

    Raises:
        ValueError: subspaces that do not fit into what is left.

    Example:
        >>> overlap_chance(56, 28, 841, excluded=57)
        2.0

    Chapter: book/microscope/modular-mlp.
    """
    left = n - excluded
    if not (0 <= d <= left and 0 <= k <= left and left > 0):
        raise ValueError(f"d={d}, k={k} do not fit into N - excluded = {left} dimensions.")
    return d * k / left


def permutation_null(
    u: Tensor,
    f: Tensor,
    *,
    group: str = "rows",
    labels: Tensor | None = None,
    draws: int = 100,
    seed: int = 0,
    center: Center = True,
) -> Tensor:
    r"""Overlaps after the features were permuted: what the number would be if the claim were empty.

    Args:
        u: (N, d) directions.
        f: (N, k) features.
        group: which permutations.

            * ``"rows"``: all rows at random. Destroys everything but the dimension.
            * ``"relabel"``: the residues in ``labels`` are renamed at random; each feature must be a function of the
              label. Destroys order and frequency, keeps "function of the label". An overlap that stays the same does
              not say more than that.
            * ``"within-channel"``: rows are permuted inside each group of ``labels``. Destroys values, keeps where
              the feature lives.
        labels: (N,) integers for the last two.
        draws: number of permutations.
        seed: of the private generator.
        center: as in :func:`subspace_overlap`.

    Returns:
        Tensor (draws,) of overlap values.

    Raises:
        ValueError: unknown group, missing labels, or a feature that is not a function of the label.

    Example:
        >>> from entk_tutorial.features import fourier_features, residues
        >>> f = fourier_features(5)["sum"]
        >>> permutation_null(f, f, group="relabel", labels=residues(5, "sum"), draws=3).round(decimals=9).tolist()
        [4.0, 4.0, 4.0]

    Chapter: book/microscope/modular-mlp.
    """
    if group not in ("rows", "relabel", "within-channel"):
        raise ValueError(f"group={group!r} is unknown; expected 'rows', 'relabel' or 'within-channel'.")
    if draws < 1:
        raise ValueError(f"draws={draws}; at least one permutation is expected.")
    if group != "rows" and (labels is None or labels.shape != f.shape[:1]):
        raise ValueError(f"group={group!r} needs labels of shape ({f.shape[0]},).")
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(draws):
        index = _permuted_rows(f, group, labels, generator)
        values.append(subspace_overlap(u, f[index], center=center).value)
    return torch.tensor(values, dtype=torch.float64)


def _permuted_rows(f: Tensor, group: str, labels: Tensor | None, generator: torch.Generator) -> Tensor:
    n = f.shape[0]
    if group == "rows" or labels is None:
        return torch.randperm(n, generator=generator)
    _, inverse = torch.unique(labels.cpu(), return_inverse=True)
    n_labels = int(inverse.max()) + 1
    if group == "within-channel":
        order = torch.argsort(inverse, stable=True)
        shuffled = torch.randperm(n, generator=generator)
        shuffled = shuffled[torch.argsort(inverse[shuffled], stable=True)]
        index = torch.empty(n, dtype=torch.long)
        index[order] = shuffled
        return index
    first = torch.full((n_labels,), n).scatter_reduce(0, inverse, torch.arange(n), "amin")
    if not torch.allclose(f[first][inverse].double(), f.double(), rtol=0, atol=1e-9 * float(f.abs().max())):
        raise ValueError("relabelling needs features that are functions of the label: equal labels, equal values.")
    return first[torch.randperm(n_labels, generator=generator)][inverse]


def cosine_heatmap(u: Tensor, f: Tensor, *, center: Center = True) -> Tensor:
    """Absolute cosines between directions and centred features: (d, k), in [0, 1].

    Args:
        u: (N, d) directions over N inputs.
        f: (N, k) feature values on the same inputs.
        center: as in :func:`subspace_overlap`.

    Raises:
        ValueError: different row counts, a zero direction, or a constant feature.
    """
    if u.ndim != 2 or f.ndim != 2 or u.shape[0] != f.shape[0]:
        raise ValueError(f"u {tuple(u.shape)} and f {tuple(f.shape)} must be (N, d) and (N, k) over the same N inputs.")
    u, f, tolerance = u.double(), f.double(), _rounding(f)
    before = f.norm(dim=0)
    f = f - _group_means(f, center)
    lengths_u, lengths_f = u.norm(dim=0), f.norm(dim=0)
    if bool((lengths_u == 0).any()) or bool((lengths_f <= tolerance * before).any()):
        raise ValueError("a zero direction or a constant feature has no angle; drop it.")
    return ((u / lengths_u).T @ (f / lengths_f)).abs()


def activation_pca(activations: Tensor, k: int, *, remove: Tensor | None = None) -> Tensor:
    r"""Leading principal directions of hidden activations over the inputs: the baseline every kernel must beat.

    Args:
        activations: (N, H) hidden activations on the N inputs.
        k: number of directions.
        remove: (N, r) functions of the input projected out first, e.g. a constant and the functions of n and of m.
            None leaves everything in: the uncentred Gram.

    Returns:
        Tensor (N, k) float64, orthonormal.

    Raises:
        ValueError: k larger than the rank that is left.

    Example:
        >>> import torch
        >>> a = torch.tensor([[1.0, 0.0], [1.0, 1.0]])
        >>> activation_pca(a, 1, remove=torch.ones(2, 1)).abs().round(decimals=4).tolist()
        [[0.7071], [0.7071]]

    Chapter: book/microscope/modular-mlp.
    """
    a, tolerance = activations.detach().double(), _rounding(activations)
    scale = float(a.norm())  # before the removal: what rounding leaves behind is no direction
    if remove is not None:
        q = orthonormal_basis(remove, center=False)
        a = a - q @ (q.T @ a)
    left, s, _ = torch.linalg.svd(a, full_matrices=False)
    rank = int((s > tolerance * scale).sum())
    if not 1 <= k <= rank:
        raise ValueError(f"k={k}; the activations have rank {rank} after the removal. Ask for at most that.")
    return left[:, :k]
