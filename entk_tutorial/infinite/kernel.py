"""What every infinite-width kernel returns: the kernel of outputs, the tangent kernel, and its parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from entk_tutorial.infinite.tokens import Array


@dataclass(frozen=True)
class Kernel:
    r"""Kernels of one family of infinitely wide networks, between two lists of documents.

    .. math:: K(x,x') = \mathbb E\,f(x)f(x'), \qquad
              \Theta(x,x') = \sum_g \Theta_g(x,x'), \quad
              \Theta_g = \mathbb E\,\langle\partial_{\theta_g} f(x), \partial_{\theta_g} f(x')\rangle

    in NTK parametrisation: raw weights N(0, 1), every sigma and every 1/sqrt(width) in the forward pass, one scalar
    output.

    Attributes:
        nngp: (N1, N2) covariance of the outputs over random weights.
        ntk: (N1, N2) tangent kernel; the sum of ``by_group``.
        by_group: one (N1, N2) kernel for each parameter of the finite twin in ``entk_tutorial.models``, under that
            parameter's name. Groups with equal kernels may share memory: treat the tensors as read-only.
        quadrature_error: largest difference between two quadrature orders in any E[phi phi'] or E[phi' phi'] used; 0
            where all is closed form.
        std_error: Monte-Carlo standard errors, keyed like ``by_group`` plus ``"nngp"`` and ``"ntk"``; None where
            nothing was sampled.

    All float64. Chapter: book/infinite/tangent-kernel.
    """

    nngp: Tensor
    ntk: Tensor
    by_group: dict[str, Tensor]
    quadrature_error: float = 0.0
    std_error: dict[str, Tensor] | None = field(default=None, repr=False)

    def without(self, *groups: str) -> Kernel:
        """Drop parameter groups from the tangent kernel, as if they were frozen during training.

        The outputs at initialisation do not change, so ``nngp`` stays.

        Raises:
            ValueError: if a name is not one of the groups, or none would be left.

        Example:
            >>> from entk_tutorial.infinite import linear_kernel
            >>> k = linear_kernel([[0, 1], [1]])
            >>> k.without("E").ntk.tolist() == k.by_group["v"].tolist()
            True
        """
        unknown = sorted(set(groups) - set(self.by_group))
        if unknown:
            raise ValueError(
                f"no parameter group named {', '.join(unknown)}; this kernel has {', '.join(self.by_group)}"
            )
        kept = {name: part for name, part in self.by_group.items() if name not in groups}
        if not kept:
            raise ValueError(
                f"all groups ({', '.join(self.by_group)}) would be frozen, and nothing could train; keep at least one"
            )
        return replace(self, ntk=_total(kept), by_group=kept, std_error=None)


def kernel_from_groups(nngp: Array, by_group: Mapping[str, Array], quadrature_error: float = 0.0) -> Kernel:
    """Wrap numpy results as a :class:`Kernel`, with the tangent kernel as the sum of its groups."""
    # One tensor for each distinct array, so that groups with equal kernels take memory once.
    tensors: dict[int, Tensor] = {}
    parts: dict[str, Tensor] = {}
    for name, part in by_group.items():
        parts[name] = tensors.setdefault(id(part), torch.from_numpy(np.ascontiguousarray(part, dtype=np.float64)))
    own = tensors.get(id(nngp))
    outputs = own if own is not None else torch.from_numpy(np.ascontiguousarray(nngp, dtype=np.float64))
    return Kernel(nngp=outputs, ntk=_total(parts), by_group=parts, quadrature_error=quadrature_error)


def _total(parts: Mapping[str, Tensor]) -> Tensor:
    values = list(parts.values())
    total = values[0].clone()
    for part in values[1:]:
        total += part
    return total
