r"""Where a family of functions lives: its share of a layer's kernel, and what the share would be by accident.

A window of leading eigenvectors needs a place to cut and a list of frequencies. The share of the trace needs neither,
adds up to 1 over all families, and has an exact chance level. What it says is coarser: how much, not how early.
"""

from __future__ import annotations

import torch
from torch import Tensor

from entk_tutorial.features.ablation import line_residues
from entk_tutorial.features.fourier import modular_pairs


def partition_share(kernel: Tensor, residue: Tensor) -> float:
    r"""Share of a kernel's centred trace in the functions of a residue.

    .. math:: \frac{\operatorname{tr} P K}{\operatorname{tr} C K} \quad\text{with}\quad
              \operatorname{tr} P K = \sum_s \frac{1}{|s|} \sum_{x, x' \in s} (C K C)(x, x')

    where C subtracts the mean over the inputs and P projects on the centred functions of the residue s.

    Args:
        kernel: (N, N) symmetric, e.g. the kernel of one layer, or the Gram matrix of its inputs.
        residue: (N,) integers; inputs with equal residues form a class.

    Returns:
        float in [0, 1] for a positive semi-definite kernel; (number of classes - 1) / (N - 1) for one without a
        preference, e.g. the identity.

    Raises:
        ValueError: shapes that do not fit, or a kernel that is constant.

    Example:
        >>> value = torch.tensor([1.0, 1.0, -1.0, -1.0])
        >>> partition_share(torch.outer(value, value), torch.tensor([0, 0, 1, 1]))
        1.0
        >>> round(partition_share(torch.eye(4), torch.tensor([0, 0, 1, 1])), 6)      # 1 of 3 dimensions
        0.333333

    Chapter: book/microscope/layers.
    """
    return _share(centred(kernel), residue)


def centred(kernel: Tensor) -> Tensor:
    """A kernel with the mean over the inputs taken out on both sides: C K C, float64.

    Raises:
        ValueError: a kernel that is not square, or that is constant.
    """
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"kernel has shape {tuple(kernel.shape)}; (N, N) is expected.")
    k = kernel.detach().double().cpu()
    out = k - k.mean(0) - k.mean(1, keepdim=True) + k.mean()
    if float(out.trace()) <= 1e-14 * float(k.diagonal().abs().sum()):
        raise ValueError("the kernel is constant over the inputs: there is nothing to share out.")
    return out


def _share(k: Tensor, residue: Tensor) -> float:
    if residue.shape != k.shape[:1]:
        raise ValueError(f"residue has shape {tuple(residue.shape)}; one a row of {tuple(k.shape)} is expected.")
    _, group = torch.unique(residue, return_inverse=True)
    counts = torch.bincount(group).double()
    rows = k.new_zeros(len(counts), k.shape[1]).index_add_(0, group, k)
    inside = rows[group, torch.arange(len(group))]  # of each column, the sum over the rows of its own class
    return float((inside / counts[group]).sum() / k.trace())


def family_shares(kernel: Tensor, p: int) -> dict[str, float]:
    r"""Share of a kernel's centred trace in each of the p + 1 families of functions of one linear form.

    Args:
        kernel: (p*p, p*p), rows in the order of :func:`modular_pairs`.
        p: modulus, an odd prime.

    Returns:
        dict: ``"m"``, ``"n"``, ``"sum"``, ..., ``"diff"`` -> share; they add up to 1, and chance gives 1/(p + 1) each.

    Raises:
        ValueError: another number of rows, a constant kernel, a modulus that is no odd prime.

    Example:
        >>> shares = family_shares(torch.eye(25), 5)
        >>> round(shares["sum"], 6), round(sum(shares.values()), 6)
        (0.166667, 1.0)

    Chapter: book/microscope/layers.
    """
    k = centred(kernel)
    return {name: _share(k, residue) for name, residue in line_residues(p).items()}


def share_null(
    kernel: Tensor, p: int, family: str, *, group: str = "digits", draws: int = 100, seed: int = 0
) -> Tensor:
    r"""Shares of a family after its meaning was destroyed: what the number would be if the claim were empty.

    Args:
        kernel: (p*p, p*p).
        p: modulus, an odd prime.
        family: a key of :func:`line_residues`.
        group: ``"rows"`` permutes all rows, which destroys everything but the dimension. ``"digits"`` gives the
            digits other names, both the same: functions of pi(n) + pi(m) instead of n + m. They are mixed functions
            of the two digits, as symmetric in them as the true ones, and know nothing of addition. The families n and
            m do not change under it.
        draws: number of permutations.
        seed: of the private generator.

    Returns:
        Tensor (draws,) float64.

    Raises:
        ValueError: an unknown family or group, or no draw.

    Example:
        >>> share_null(torch.eye(25), 5, "sum", draws=2).round(decimals=6).tolist()
        [0.166667, 0.166667]

    Chapter: book/microscope/layers.
    """
    residues = line_residues(p)
    if family not in residues or group not in ("rows", "digits") or draws < 1:
        raise ValueError(
            f"family={family!r}, group={group!r}, draws={draws}: one of {', '.join(residues)}, 'rows' or 'digits', and "
            "at least one draw are expected."
        )
    k, own = centred(kernel), residues[family]
    n, m = modular_pairs(p).T
    generator = torch.Generator().manual_seed(seed)
    values = []
    for _ in range(draws):
        if group == "rows":
            residue = own[torch.randperm(len(own), generator=generator)]
        else:
            name = torch.randperm(p, generator=generator)
            residue = own[name[n] * p + name[m]]
        values.append(_share(k, residue))
    return torch.tensor(values, dtype=torch.float64)
