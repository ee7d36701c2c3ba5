"""Finite models that multiply: Hadamard products, matrix-vector, recurrent networks, products of matrices."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entk_tutorial.models.text_base import PADDING, TextModel, check_choice, normal


class HadamardText(TextModel):
    """Elementwise products of neighbours. Twin of ``hadamard_kernel``.

    (A e_j) * (B e_{j+1}) with parameters E, A, B, v; or, tied, e_j * e_{j+1} with E, v.
    """

    A: nn.Parameter
    B: nn.Parameter

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        features: Tensor | None = None,
        tied: bool = False,
        sigma_e: float = 1.0,
        sigma_a: float = 1.0,
        sigma_b: float = 1.0,
        sigma_v: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            vocab, width, features=features, sigma_e=sigma_e, sigma_v=sigma_v, generator=generator, dtype=dtype
        )
        self.tied, self.sigma_a, self.sigma_b = tied, sigma_a, sigma_b
        if not tied:
            self.A = normal(generator, dtype, width, width)  # (n, n)
            self.B = normal(generator, dtype, width, width)  # (n, n)
        self.v = normal(generator, dtype, width)  # (n,)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, 1)."""
        e = self.embed(tokens)  # (N, T, n), zero at padding, so that no product crosses the end
        first, second = e[:, :-1], e[:, 1:]  # (N, T-1, n)
        if not self.tied:
            first, second = self.linear(self.A, first, self.sigma_a), self.linear(self.B, second, self.sigma_b)
        return self.read((first * second).sum(dim=1))


class MVText(TextModel):
    """Each token has a vector, and a matrix that acts on the next vector. Twin of ``mv_kernel``.

    Parameters E, M (V, n, n), v.
    """

    M: nn.Parameter

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        features: Tensor | None = None,
        sigma_e: float = 1.0,
        sigma_u: float = 1.0,
        sigma_m: float = 1.0,
        sigma_v: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            vocab, width, features=features, sigma_e=sigma_e, sigma_v=sigma_v, generator=generator, dtype=dtype
        )
        self.sigma_u, self.sigma_m = sigma_u, sigma_m
        self.M = normal(generator, dtype, vocab, width, width)  # (V, n, n)
        self.v = normal(generator, dtype, width)  # (n,)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, 1)."""
        e = self.embed(tokens)  # (N, T, n)
        matrices = self.M[tokens[:, :-1].clamp(min=0)]  # (N, T-1, n, n); at padding they meet e = 0
        pairs = (matrices @ e[:, 1:, :, None]).squeeze(-1).sum(dim=1)  # (N, n)
        return self.read(self.sigma_u * e.sum(dim=1) + self.sigma_m / self.width**0.5 * pairs)


class RNNText(TextModel):
    """Linear recurrent networks, additive or gated. Twin of ``rnn_kernel``.

    Read at the last state, or summed over states.

    Parameters E, W_x, W_h, v (additive) or E, W_g, W_u, W_b, v (gated).
    """

    W_x: nn.Parameter
    W_h: nn.Parameter
    W_g: nn.Parameter
    W_u: nn.Parameter
    W_b: nn.Parameter

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        features: Tensor | None = None,
        kind: str = "gated",
        readout: str = "sum",
        sigma_e: float = 1.0,
        sigma_x: float = 1.0,
        sigma_h: float = 1.0,
        sigma_g: float = 1.0,
        sigma_u: float = 1.0,
        sigma_b: float = 1.0,
        sigma_v: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            vocab, width, features=features, sigma_e=sigma_e, sigma_v=sigma_v, generator=generator, dtype=dtype
        )
        self.kind = check_choice("kind", kind, ("additive", "gated"))
        self.readout = check_choice("readout", readout, ("sum", "last"))
        self.sigma_x, self.sigma_h = sigma_x, sigma_h
        self.sigma_g, self.sigma_u, self.sigma_b = sigma_g, sigma_u, sigma_b
        for name in ("W_x", "W_h") if kind == "additive" else ("W_g", "W_u", "W_b"):
            self.register_parameter(name, normal(generator, dtype, width, width))  # (n, n)
        self.v = normal(generator, dtype, width)  # (n,)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, 1)."""
        e = self.embed(tokens)  # (N, T, n)
        h = torch.zeros_like(e[:, 0])  # (N, n)
        states = torch.zeros_like(h)  # (N, n)
        for t in range(tokens.shape[1]):
            here = (tokens[:, t] != PADDING)[:, None]  # (N, 1); beyond the end the state stays
            h = torch.where(here, self._step(e[:, t], h), h)
            states = states + h * here
        return self.read(states if self.readout == "sum" else h)

    def _step(self, e: Tensor, h: Tensor) -> Tensor:
        """(N, n), (N, n) -> (N, n)."""
        if self.kind == "additive":
            return self.linear(self.W_x, e, self.sigma_x) + self.linear(self.W_h, h, self.sigma_h)
        gate = self.linear(self.W_g, e, self.sigma_g)
        return gate * self.linear(self.W_u, h, self.sigma_u) + self.linear(self.W_b, e, self.sigma_b)


class MatrixProductText(nn.Module):
    """The product of the document's token matrices between two vectors. Twin of ``matrix_product_kernel``.

    Parameters M (V, n, n), u, w.
    """

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        residual: bool = False,
        sigma_m: float = 1.0,
        sigma_v: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.width, self.residual, self.sigma_m, self.sigma_v = width, residual, sigma_m, sigma_v
        self.M = normal(generator, dtype, vocab, width, width)  # (V, n, n)
        self.u = normal(generator, dtype, width)  # (n,)
        self.w = normal(generator, dtype, width)  # (n,)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, 1)."""
        h = self.w.expand(tokens.shape[0], -1)  # (N, n)
        for t in reversed(range(tokens.shape[1])):  # the last matrix acts first
            matrix = self.M[tokens[:, t].clamp(min=0)]  # (N, n, n)
            new = self.sigma_m / self.width**0.5 * (matrix @ h[:, :, None]).squeeze(-1)  # (N, n)
            new = new + h if self.residual else new
            h = torch.where((tokens[:, t] != PADDING)[:, None], new, h)
        return self.sigma_v / self.width**0.5 * (h @ self.u)[:, None]
