r"""How far the leading eigenvectors would move if there were more inputs: nested halves tell.

From a part S of the N inputs, the d leading eigenvectors :math:`v` of its centred kernel are carried over to all
inputs, :math:`u = H K_{\cdot S} H_S v` (Nystrom), where they are functions on the same points as the eigenvectors of
the whole. Let m(n) be the mean squared distance of the subspaces from n and from 2 n inputs, the small sample inside
the large one. Two such distances can be measured, m(N/4) and m(N/2). If the ratio :math:`r = m(N/2) / m(N/4)` of one
doubling goes on,

.. math:: m(N) \approx r\, m(N/2), \qquad
          e(N) \approx m(N) + m(2N) + m(4N) + \dots = \frac{r}{1 - r}\, m(N/2),

the second where the steps of successive doublings are uncorrelated. Errors that fall as 1/n have r = 1/2, and then
e(N) = m(N/2): a half is as far from the whole as the whole from endless inputs. Real spectra fall more slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.features.alignment import orthonormal_basis
from entk_tutorial.features.localisation import centred


@dataclass(frozen=True)
class SamplingError:
    """How the leading eigenspace depends on how many inputs there are; all distances in [0, 1].

    Attributes:
        half: m(N/2), mean squared distance of half of the inputs' eigenspace from that of all of them.
        quarter: m(N/4), the same inside halves.
        chance: mean distance of random subspaces of that dimension.
    """

    half: float
    quarter: float
    chance: float

    @property
    def ratio(self) -> float:
        """What one doubling of the inputs leaves of the distance; 1/2 where errors fall as 1/n."""
        return self.half / self.quarter if self.quarter > 0 else 0.0

    @property
    def next(self) -> float:
        """Expected distance if the number of inputs were doubled."""
        return min(self.half * self.ratio, self.chance)

    @property
    def endless(self) -> float:
        """Expected distance from endless inputs; the chance level where doublings do not shrink it."""
        return self.chance if self.ratio >= 1 else min(self.half * self.ratio / (1 - self.ratio), self.chance)


def projector_distance(u: Tensor, v: Tensor) -> float:
    r"""Normalised squared distance of two subspaces, :math:`\lVert P_U - P_V \rVert_F^2 / 2d`: the share not in common.

    Args:
        u: (N, d) columns that span the first; need not be orthonormal.
        v: (N, d) the second.

    Returns:
        float in [0, 1]: 0 for the same subspace, 1 for orthogonal ones, 1 - d/N on average for random ones.

    Raises:
        ValueError: subspaces of different dimension, or of different N.

    Example:
        >>> eye = torch.eye(4)
        >>> projector_distance(eye[:, :2], eye[:, 1:3])
        0.5
    """
    if u.shape[0] != v.shape[0]:
        raise ValueError(f"u {tuple(u.shape)} and v {tuple(v.shape)} must have the same N rows.")
    a, b = orthonormal_basis(u, center=False), orthonormal_basis(v, center=False)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"dimensions {a.shape[1]} and {b.shape[1]} differ; compare subspaces of one dimension.")
    return max(0.0, 1 - float((a.T @ b).square().sum()) / a.shape[1])


def leading_subspace(kernel: Tensor, d: int) -> Tensor:
    """(N, d) leading eigenvectors of the centred kernel, float64, the largest first.

    Raises:
        ValueError: d outside [1, rank], where eigenvectors are arbitrary.
    """
    k = centred(kernel)
    values, vectors = torch.linalg.eigh((k + k.T) / 2)
    rank = int((values > 1e-10 * values[-1]).sum())
    if not 1 <= d <= rank:
        raise ValueError(f"d={d}; the centred kernel has rank {rank}, and directions beyond it are arbitrary.")
    return vectors[:, -d:].flip(1)


def sampling_error(kernel: Tensor, d: int, *, draws: int = 10, seed: int = 0) -> SamplingError:
    """How far the d leading eigenvectors are from those of more inputs, from halves and quarters of those there are.

    Args:
        kernel: (N, N) symmetric, over inputs drawn at random.
        d: dimension of the eigenspace.
        draws: number of random halves, each with two halves of its own.
        seed: of the private generator.

    Returns:
        SamplingError: what was measured, and by extrapolation ``next`` (twice the inputs) and ``endless``.

    Raises:
        ValueError: fewer than 4 (d + 2) inputs, or no draw.

    Example:
        >>> x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> k = x @ torch.diag(torch.tensor([9.0, 4.0, 0.01], dtype=torch.float64)) @ x.T
        >>> found = sampling_error(k, 2)
        >>> found.next < 0.001 < found.chance        # a sharp drop after two: a few inputs would do
        True

    Chapter: book/beyond/your-own-model
    """
    n = len(kernel)
    if draws < 1 or d < 1 or n < 4 * (d + 2):
        raise ValueError(f"N={n}, d={d}, draws={draws}; at least one draw and N >= 4 (d + 2) inputs are needed.")
    k = centred(kernel)
    generator = torch.Generator().manual_seed(seed)
    halves, quarters = [], []
    for _ in range(draws):
        part = torch.randperm(n, generator=generator)[: n // 2]
        inner = centred(k[part][:, part])
        halves.append(_from_part(k, part, d))
        for start in (0, n // 4):  # the order of part is random: its first and second half
            quarters.append(_from_part(inner, torch.arange(start, start + n // 4), d))
    return SamplingError(sum(halves) / len(halves), sum(quarters) / len(quarters), 1 - d / (n - 1))


def _from_part(k: Tensor, part: Tensor, d: int) -> float:
    """Distance of the eigenspace that a part of the inputs gives from that of all of them; k is centred."""
    inner = leading_subspace(k[part][:, part], d)
    return projector_distance(k[:, part] @ inner, leading_subspace(k, d))
