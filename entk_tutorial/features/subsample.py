r"""How well the leading eigenspaces of a kernel on some of the inputs stand for those on all of them."""

from __future__ import annotations

import torch
from torch import Tensor


def subset_shares(columns: Tensor, rows: Tensor, vectors: Tensor, windows: dict[str, slice]) -> dict[str, float]:
    r"""Share of each window of eigenvectors on all inputs that the same window on a subset finds.

    An eigenvector v of the small kernel, with eigenvalue :math:`\lambda`, reaches every input by
    :math:`u(x) = \frac{1}{\lambda} \sum_{x' \in S} K(x, x')\, v(x')`. The share of a window of d eigenvectors is
    :math:`\lVert Q^\top U \rVert_F^2/d`, with Q an orthonormal basis of the extended ones and U the eigenvectors on all
    inputs: 1 if they span the same, d/N for a random span.

    Args:
        columns: (N, n) kernel between all inputs and the subset.
        rows: (n,) which inputs the subset holds, distinct.
        vectors: (N, k) eigenvectors on all inputs, leading first.
        windows: name -> slice of them, counted from 0.

    Raises:
        ValueError: fewer inputs in the subset than a window reaches, or shapes that do not fit.

    Example:
        >>> k = torch.diag(torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64))
        >>> seen = torch.tensor([0, 2])                     # the second eigenvector lives on input 1 alone
        >>> subset_shares(k[:, seen], seen, torch.eye(4, dtype=torch.float64), {"first two": slice(0, 2)})
        {'first two': 0.5}

    Source: the Nyström method. Chapter: book/beyond/scaling-up.
    """
    n = len(rows)
    if columns.ndim != 2 or columns.shape[1] != n or len(vectors) != len(columns):
        raise ValueError(
            f"columns {tuple(columns.shape)}, rows {tuple(rows.shape)}, vectors {tuple(vectors.shape)}; (N, n), (n,) "
            "and (N, k) are expected."
        )
    reach = max(part.stop for part in windows.values())
    if n < reach:
        raise ValueError(
            f"a subset of {n} inputs has {n} eigenvectors; the windows reach to {reach}. Take more inputs."
        )
    small = columns[rows].double()
    values, inner = torch.linalg.eigh((small + small.T) / 2)
    values, inner = values.flip(0)[:reach], inner.flip(1)[:, :reach]
    extended = columns.double() @ (inner / values)
    out = {}
    for name, part in windows.items():
        q = torch.linalg.qr(extended[:, part])[0]
        found = (q.T @ vectors[:, part].double()).square().sum()
        out[name] = round(float(found) / q.shape[1], 12)
    return out
