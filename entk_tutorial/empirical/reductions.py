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

    Attributes:
        left: (A, C) projection of the outputs of the first inputs.
        right: (B, C) projection of those of the second inputs; A = B if ``paired``.
        paired: sum over equal indices, result (N1, N2); otherwise all pairs, result (N1, A, N2, B).
        name: the ``reduce`` it was made from.
    """

    left: Tensor
    right: Tensor
    paired: bool
    name: Reduce

    @property
    def symmetric(self) -> bool:
        """Whether the kernel of inputs with themselves is symmetric under exchange of the inputs."""
        return self.left.shape == self.right.shape and bool(torch.equal(self.left, self.right))

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
    eye = torch.eye(n_outputs, dtype=dtype, device=device)
    if isinstance(reduce, tuple):
        if len(reduce) != 2 or not all(isinstance(c, int) for c in reduce):
            raise ValueError(f"reduce={reduce!r}: a pair of class indices (c, d) is expected.")
        for c in reduce:
            if not 0 <= c < n_outputs:
                raise ValueError(
                    f"reduce={reduce!r}: class {c} is outside [0, {n_outputs}); the model has {n_outputs}."
                )
        return Reduction(eye[reduce[0] : reduce[0] + 1], eye[reduce[1] : reduce[1] + 1], True, reduce)
    if reduce in ("full", "flat"):
        return Reduction(eye, eye, False, reduce)
    if reduce == "trace":
        return Reduction(eye, eye, True, reduce)
    if reduce == "mean_logit":
        mean = torch.full((1, n_outputs), 1.0 / n_outputs, dtype=dtype, device=device)
        return Reduction(mean, mean, True, reduce)
    raise ValueError(f"reduce={reduce!r} is unknown; expected one of {', '.join(NAMES)}, or a pair (c, d) of classes.")


def contract(j1: Tensor, j2: Tensor, *, paired: bool) -> Tensor:
    """Contract projected Jacobians (N1, A, P) and (N2, B, P) to (N1, N2) or (N1, A, N2, B)."""
    n1, a, p = j1.shape
    n2, b, _ = j2.shape
    if paired:
        return j1.reshape(n1, a * p) @ j2.reshape(n2, b * p).T
    return (j1.reshape(n1 * a, p) @ j2.reshape(n2 * b, p).T).reshape(n1, a, n2, b)
