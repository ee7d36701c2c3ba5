r"""The trace kernel of :class:`QuadraticMLP` on all pairs, as products, without its p^4 entries."""

from __future__ import annotations

import torch
from torch import Tensor

from entk_tutorial.models.modular import QuadraticMLP

LAYERS = ("fc1", "fc2", "total")
"""The two layers' kernels and their sum."""


class QuadraticKernel:
    r"""Products with the trace kernel of all p*p pairs, by layer, in the order of ``modular_pairs(p)``.

    With :math:`A, B` the halves of :math:`W_1^\top` (rows: digits, columns: neurons), :math:`z_h = A_{nh} + B_{mh}` and
    :math:`u_h^2 = \sum_c W_{ch}^2`, the two layers' kernels are

    .. math:: K_1 = \frac{\delta_{nn'} + \delta_{mm'}}{p^2 H^2} \sum_h u_h^2\, z_h z_h', \qquad
              K_2 = \frac{1}{4 p H^2} \sum_h z_h^2\, z_h'^2.

    The sum in :math:`K_1` splits into four p x p tables, :math:`Q^{AA}_{nn'} + Q^{AB}_{nm'} + Q^{AB}_{n'm} +
    Q^{BB}_{mm'}`, so a product with it takes some :math:`4p^3` multiplications; one with :math:`K_2` takes
    :math:`2p^2H`. A product with the table would take :math:`p^4`. Exact: the same numbers as ``empirical_ntk`` to
    rounding.

    Args:
        model: its weights are copied.
        dtype: of the arithmetic.

    Attributes:
        p: modulus.
        size: N = p*p.
        activations: (N, H) factor of the second layer's kernel, :math:`K_2 = a a^\top`.

    Example:
        >>> kernel = QuadraticKernel(QuadraticMLP(5, hidden=8, seed=0), torch.float64)
        >>> kernel.times(torch.eye(25, dtype=torch.float64)).shape
        torch.Size([25, 25])

    Chapter: book/beyond/scaling-up.
    """

    def __init__(self, model: QuadraticMLP, dtype: torch.dtype = torch.float32) -> None:
        """Form the three tables, in float64, and the factor."""
        self.p, self.size, self.dtype = model.p, model.p**2, dtype
        with torch.no_grad():
            halves = model.fc1.weight.detach().cpu().double().T  # (2p, H)
            readout = model.fc2.weight.detach().cpu().double()  # (p, H)
            a, b = halves[: self.p], halves[self.p :]
            scaled = halves * readout.square().sum(0) / (self.p * model.hidden) ** 2
            self._aa = (scaled[: self.p] @ a.T).to(dtype)
            self._ab = (scaled[: self.p] @ b.T).to(dtype)
            self._bb = (scaled[self.p :] @ b.T).to(dtype)
            factor = (a[:, None] + b[None]).to(dtype).square_().reshape(self.size, -1)  # (N, H)
            self.activations = factor.div_(2 * self.p**0.5 * model.hidden)

    def times(self, v: Tensor, layer: str = "total") -> Tensor:
        """Product of one of :data:`LAYERS` with (N, b) vectors.

        Raises:
            ValueError: another number of rows, or an unknown layer.
        """
        if layer not in LAYERS:
            raise ValueError(f"layer={layer!r} is unknown; expected one of {', '.join(LAYERS)}.")
        if v.ndim != 2 or len(v) != self.size:
            raise ValueError(f"v has shape {tuple(v.shape)}; ({self.size}, b) is expected, a row for each pair.")
        v = v.to(self.dtype)
        out = torch.zeros_like(v)
        if layer != "fc2":
            out += self._first(v)
        if layer != "fc1":
            out.addmm_(self.activations, self.activations.T @ v)
        return out

    def _first(self, v: Tensor) -> Tensor:
        p, b = self.p, v.shape[1]
        grid = v.reshape(p, p, b)  # n', m'
        over_n, over_m = grid.sum(0), grid.sum(1)  # (m', b), (n', b)
        # Inputs that share n: the sum over m' of (AA[n,n] + AB[n,m'] + AB[n,m] + BB[m,m']) v[n,m'].
        out = (self._aa.diagonal()[:, None] + self._ab)[:, :, None] * over_m[:, None]
        out += torch.einsum("nk,nkb->nb", self._ab, grid)[:, None]
        out += torch.matmul(self._bb, grid)
        # Inputs that share m: the sum over n' of (AA[n,n'] + AB[n,m] + AB[n',m] + BB[m,m]) v[n',m].
        out += (self._ab + self._bb.diagonal()[None])[:, :, None] * over_n[None]
        out += torch.einsum("km,kmb->mb", self._ab, grid)[None]
        out += torch.matmul(self._aa, grid.reshape(p, p * b)).reshape(p, p, b)
        return out.reshape(self.size, b)

    def diagonal_mean(self, layer: str = "total") -> float:
        """Mean of the kernel's diagonal: its trace over N."""
        if layer not in LAYERS:
            raise ValueError(f"layer={layer!r} is unknown; expected one of {', '.join(LAYERS)}.")
        first = 2 * (self._aa.diagonal()[:, None] + 2 * self._ab + self._bb.diagonal()[None]).double().mean()
        second = self.activations.double().square().sum() / self.size
        return float({"fc1": first, "fc2": second, "total": first + second}[layer])

    def columns(self, rows: Tensor, layer: str = "total") -> Tensor:
        """The kernel between all pairs and some of them: (N, len(rows))."""
        unit = torch.zeros(self.size, len(rows), dtype=self.dtype)
        unit[rows, torch.arange(len(rows))] = 1
        return self.times(unit, layer)
