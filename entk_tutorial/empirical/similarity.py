r"""How alike two kernels are, and what a frozen kernel alone would predict."""

from __future__ import annotations

import torch
from torch import Tensor


def centered_cosine(kernel: Tensor, other: Tensor) -> float:
    r"""Cosine of the angle between two kernels after centring: 1 for the same kernel up to scale and offset.

    .. math:: \frac{\langle H K H, H K' H \rangle_F}{\lVert H K H \rVert_F\, \lVert H K' H \rVert_F},
        \qquad H = I - \tfrac1N \mathbf{1}\mathbf{1}^\top

    With :math:`K' = Y Y^\top` it is the centred kernel-target alignment; one minus the cosine to the kernel at
    initialisation is the kernel distance. For positive semi-definite kernels it lies in [0, 1].

    Args:
        kernel: (N, N) symmetric.
        other: (N, N) symmetric, over the same N inputs.

    Raises:
        ValueError: matrices that are not square or of different sizes, entries that are not finite, or a kernel that
            is constant: nothing is left of it after centring.

    Example:
        >>> k = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
        >>> round(centered_cosine(k, 5 * k + 7), 6)
        1.0
        >>> y = torch.tensor([[1.0], [-1.0], [0.0]])
        >>> round(centered_cosine(y @ y.T, torch.eye(3)), 6)      # one direction of two
        0.707107

    Chapter: book/microscope/grokking.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1] or kernel.shape != other.shape:
        raise ValueError(
            f"kernels have shapes {tuple(kernel.shape)} and {tuple(other.shape)}; two square matrices over the same "
            "inputs are expected."
        )
    centred = []
    for k in (kernel, other.to(kernel.device)):
        if not bool(torch.isfinite(k).all()):
            raise ValueError("a kernel holds a NaN or an infinity; check what it came from.")
        double = k.double()
        rest = double - double.mean(0, keepdim=True)
        rest = rest - rest.mean(1, keepdim=True)
        norm = float(torch.linalg.matrix_norm(rest))
        if norm <= 1e-12 * float(torch.linalg.matrix_norm(double)):
            raise ValueError("a kernel is constant: centring leaves nothing, and zero has no direction.")
        centred.append(rest / norm)
    return float((centred[0] * centred[1]).sum())


def kernel_regression(kernel: Tensor, train: Tensor, targets: Tensor, *, ridge: float) -> Tensor:
    r"""Kernel ridge regression on some of the rows; predictions on all of them.

    .. math:: f = \bar y + K_{\cdot, T} (K_{TT} + \rho\, \bar k\, I)^{-1} (Y_T - \bar y)

    with :math:`\bar k` the mean of the diagonal of :math:`K_{TT}` and :math:`\bar y` the mean target: one kernel over
    inputs for all outputs, such as a trace kernel. :class:`~entk_tutorial.empirical.linearized.LinearizedModel` uses
    the flat kernel instead, with its blocks between outputs.

    Args:
        kernel: (N, N) symmetric, positive semi-definite.
        train: (T,) rows that are fitted.
        targets: (N, C) targets; only those of ``train`` are read.
        ridge: :math:`\rho > 0`, as a share of the mean diagonal: the scale of the kernel does not matter.

    Returns:
        Tensor (N, C), float64.

    Raises:
        ValueError: shapes that do not fit, no training rows, or a ridge that is not positive.

    Example:
        >>> k = torch.tensor([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.5, 0.5, 1.0]])
        >>> y = torch.tensor([[1.0], [-1.0], [0.0]])
        >>> kernel_regression(k, torch.tensor([0, 1]), y, ridge=1e-9).round(decimals=6).flatten().tolist()
        [1.0, -1.0, 0.0]

    Chapter: book/microscope/grokking.
    """
    n = len(kernel)
    if kernel.shape != (n, n) or targets.ndim != 2 or len(targets) != n or train.ndim != 1 or len(train) == 0:
        raise ValueError(
            f"kernel {tuple(kernel.shape)}, targets {tuple(targets.shape)}, train {tuple(train.shape)}: expected "
            "(N, N), (N, C) and a list of rows that is not empty."
        )
    if not 0 < ridge < float("inf"):
        raise ValueError(f"ridge={ridge}; a positive share of the mean diagonal is expected, e.g. 1e-3.")
    double, y = kernel.double(), targets[train].double()
    mean = y.mean(0, keepdim=True)
    inner = double[train][:, train]
    scale = float(inner.diagonal().mean())
    inner = inner + ridge * scale * torch.eye(len(train), dtype=torch.float64, device=inner.device)
    weights = torch.cholesky_solve(y - mean, torch.linalg.cholesky(inner))
    return mean + double[:, train] @ weights
