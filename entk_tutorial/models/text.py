"""Finite twins of the infinite-width text kernels: the same architectures, at a width one can count.

Every model is in NTK parametrisation: weights are N(0, 1), and each sigma and each 1/sqrt(n) stands in the forward
pass. Its parameters carry the names of the groups in ``entk_tutorial.infinite``, so that
``empirical_ntk(model, x, by="parameter")`` can be laid beside ``kernel.by_group``. Chapter: book/infinite/finite-width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from entk_tutorial.models.text_attention import AttentionText
from entk_tutorial.models.text_base import (
    PADDING,
    TextModel,
    activation_function,
    check_choice,
    normal,
    pooling_factor,
)
from entk_tutorial.models.text_multiplicative import HadamardText, MatrixProductText, MVText, RNNText

__all__ = [
    "AttentionText",
    "CNNText",
    "HadamardText",
    "LinearText",
    "MLPText",
    "MVText",
    "MatrixProductText",
    "RNNText",
    "TextModel",
]


class LinearText(TextModel):
    """Pooled embeddings and a linear readout; parameters E, v. Twin of ``linear_kernel``.

    Example:
        >>> model = LinearText(vocab=3, width=8, seed=0)
        >>> model(torch.tensor([[0, 1, -1], [2, 2, 0]])).shape
        torch.Size([2, 1])
    """

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        features: Tensor | None = None,
        sigma_e: float = 1.0,
        sigma_v: float = 1.0,
        pooling: str = "sum",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            vocab, width, features=features, sigma_e=sigma_e, sigma_v=sigma_v, generator=generator, dtype=dtype
        )
        self.pooling = check_choice("pooling", pooling, ("sum", "mean"))
        self.v = normal(generator, dtype, width)  # (n,)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, 1)."""
        lengths = (tokens != PADDING).sum(dim=1)  # (N,)
        h = self.embed(tokens).sum(dim=1)  # (N, n)
        return self.read(h * pooling_factor(self.pooling, lengths))


class MLPText(TextModel):
    """An MLP on each token, then pooled; or on the pooled document. Twin of ``mlp_kernel``.

    Parameters E, W (n, n), or W1, W2, ... if deep, and v.
    """

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        features: Tensor | None = None,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        sigma_e: float = 1.0,
        sigma_w: float = 1.0,
        sigma_v: float = 1.0,
        pooling: str = "sum",
        pool_first: bool = False,
        depth: int = 1,
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            vocab, width, features=features, sigma_e=sigma_e, sigma_v=sigma_v, generator=generator, dtype=dtype
        )
        if depth < 1:
            raise ValueError(f"depth = {depth}; expected 1 hidden layer or more")
        self.pooling = check_choice("pooling", pooling, ("sum", "mean"))
        self.phi, self.sigma_w, self.pool_first = activation_function(activation), sigma_w, pool_first
        self.hidden = ["W"] if depth == 1 else [f"W{i + 1}" for i in range(depth)]
        for name in self.hidden:
            self.register_parameter(name, normal(generator, dtype, width, width))  # (n, n)
        self.v = normal(generator, dtype, width)  # (n,)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, 1)."""
        mask = tokens != PADDING  # (N, T)
        scale = pooling_factor(self.pooling, mask.sum(dim=1))  # (N, 1) or 1
        e = self.embed(tokens)  # (N, T, n)
        if self.pool_first:
            return self.read(self._layers(e.sum(dim=1) * scale))  # (N, n) -> (N, 1)
        h = (
            self._layers(e) * mask[..., None]
        )  # (N, T, n); an activation with phi(0) != 0 would leave something at padding
        return self.read(h.sum(dim=1) * scale)

    def _layers(self, x: Tensor) -> Tensor:
        for name in self.hidden:
            x = self.phi(self.linear(getattr(self, name), x, self.sigma_w))  # (..., n)
        return x


class CNNText(TextModel):
    """A convolution over ``window`` tokens, an activation, pooling over windows. Twin of ``cnn_kernel``.

    Parameters E, W (k, n, n), v.
    """

    W: nn.Parameter

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        features: Tensor | None = None,
        window: int = 2,
        padding: int = 0,
        pad_token: int | None = None,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        sigma_e: float = 1.0,
        sigma_w: float = 1.0,
        sigma_v: float = 1.0,
        pooling: str = "sum",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            vocab, width, features=features, sigma_e=sigma_e, sigma_v=sigma_v, generator=generator, dtype=dtype
        )
        self.pooling = check_choice("pooling", pooling, ("sum", "mean"))
        self.window, self.padding, self.pad_token = window, padding, pad_token
        self.phi, self.sigma_w = activation_function(activation), sigma_w
        self.W = normal(generator, dtype, window, width, width)  # (k, n, n): one matrix a slot
        self.v = normal(generator, dtype, width)  # (n,)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, 1)."""
        lengths = (tokens != PADDING).sum(dim=1)  # (N,)
        e = self.embed(self._pad(tokens, lengths))  # (N, T + 2p, n)
        positions = e.shape[1] - self.window + 1  # J
        slots = [self.linear(self.W[r], e[:, r : r + positions], self.sigma_w) for r in range(self.window)]
        u = torch.stack(slots).sum(dim=0) / self.window**0.5  # (N, J, n)
        number = lengths + 2 * self.padding - self.window + 1  # (N,) windows that lie inside the padded document
        inside = torch.arange(positions, device=tokens.device)[None, :] < number[:, None]  # (N, J)
        h = (self.phi(u) * inside[..., None]).sum(dim=1)  # (N, n)
        return self.read(h * pooling_factor(self.pooling, number))

    def _pad(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Put ``padding`` slots at each end of every document: (N, T) -> (N, T + 2p)."""
        p = self.padding
        tokens = nn.functional.pad(tokens, (p, p), value=PADDING)
        if self.pad_token is None:
            return tokens
        place, end = torch.arange(tokens.shape[1], device=tokens.device)[None, :], p + lengths[:, None]
        return torch.where((place < p) | ((place >= end) & (place < end + p)), self.pad_token, tokens)
