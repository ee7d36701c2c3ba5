r"""What ``reduce`` means: how the class axes of the kernel are contracted.

Write :math:`J_{nc} = \partial f_c(x_n) / \partial\theta`. The full kernel is
:math:`K_{nc, n'c'} = \langle J_{nc}, J_{n'c'} \rangle`. Every reduction is that kernel after the outputs were
projected, :math:`y \mapsto L y` on the left and :math:`y \mapsto R y` on the right, and then either kept for all
pairs of projected outputs ("outer") or summed over equal ones ("paired").
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

Reduce = str | tuple[int, int]
NAMES = ("full", "flat", "trace", "mean_logit")


@dataclass(frozen=True)
class Reduction:
    """Projections of the outputs and whether equal projected outputs are summed.

    Projections are made a few rows at a time: with 50,000 outputs the identity alone would take 10 GB.

    Attributes:
        name: the ``reduce`` it was made from.
        outputs: C, of the model.
        paired: sum over equal indices, result (N1, N2); otherwise all pairs, result (N1, A, N2, B).
        dtype: of the projections.
        device: likewise.
    """

    name: Reduce
    outputs: int
    paired: bool
    dtype: torch.dtype
    device: torch.device

    @property
    def count(self) -> int:
        """Projected outputs a side: A and B, which are equal for every reduction there is."""
        return self.outputs if self.name in ("full", "flat", "trace") else 1

    def project(self, side: int, rows: slice) -> Tensor:
        """Rows of the (A, C) projection of the first inputs (side 0) or of the (B, C) one of the second (side 1)."""
        start, stop, _ = rows.indices(self.count)
        if self.name == "mean_logit":
            value = 1.0 / self.outputs
            return torch.full((stop - start, self.outputs), value, dtype=self.dtype, device=self.device)
        first = self.name[side] if isinstance(self.name, tuple) else start
        out = torch.zeros((stop - start, self.outputs), dtype=self.dtype, device=self.device)
        out.diagonal(first).fill_(1.0)
        return out

    @property
    def left(self) -> Tensor:
        """(A, C) projection of the outputs of the first inputs."""
        return self.project(0, slice(None))

    @property
    def right(self) -> Tensor:
        """(B, C) projection of those of the second inputs; A = B if ``paired``."""
        return self.project(1, slice(None))

    @property
    def symmetric(self) -> bool:
        """Whether the kernel of inputs with themselves is symmetric under exchange of the inputs."""
        return not isinstance(self.name, tuple) or self.name[0] == self.name[1]

    def finish(self, k: Tensor) -> Tensor:
        """From the working layout to the public one."""
        if self.paired:
            return k
        n1, a, n2, b = k.shape
        return k.reshape(n1 * a, n2 * b) if self.name == "flat" else k.permute(0, 2, 1, 3).contiguous()


def parse_reduction(reduce: Reduce, n_outputs: int, *, dtype: torch.dtype, device: torch.device) -> Reduction:
    """Turn the public argument into projections.

    Raises:
        ValueError: for an unknown name, or a class index outside [0, C).
    """
    if isinstance(reduce, tuple):
        if len(reduce) != 2 or not all(isinstance(c, int) for c in reduce):
            raise ValueError(f"reduce={reduce!r}: a pair of class indices (c, d) is expected.")
        for c in reduce:
            if not 0 <= c < n_outputs:
                raise ValueError(
                    f"reduce={reduce!r}: class {c} is outside [0, {n_outputs}); the model has {n_outputs}."
                )
    elif reduce not in NAMES:
        raise ValueError(
            f"reduce={reduce!r} is unknown; expected one of {', '.join(NAMES)}, or a pair (c, d) of classes."
        )
    return Reduction(reduce, n_outputs, reduce not in ("full", "flat"), dtype, device)


def contract(j1: Tensor, j2: Tensor, *, paired: bool) -> Tensor:
    """Contract projected Jacobians (N1, A, P) and (N2, B, P) to (N1, N2) or (N1, A, N2, B)."""
    n1, a, p = j1.shape
    n2, b, _ = j2.shape
    if paired:
        return j1.reshape(n1, a * p) @ j2.reshape(n2, b * p).T
    return (j1.reshape(n1 * a, p) @ j2.reshape(n2 * b, p).T).reshape(n1, a, n2, b)
