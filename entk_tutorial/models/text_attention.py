"""Finite self-attention: tied, with vanishing scores, or with many independent heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entk_tutorial.models.text_base import PADDING, TextModel, check_choice, normal, pooling_factor


class AttentionText(TextModel):
    """One layer of self-attention whose values are the embeddings. Twin of ``attention_kernel``.

    ``"tied"``: scores beta e_i.e_j / n; parameters E, v. ``"uniform"``: scores beta q_i.k_j / n; parameters E, W_q,
    W_k, v. ``"heads"``: scores beta q_i.k_j / sqrt(n) in each of H heads, whose outputs are added and divided by
    sqrt(H); parameters E, W_q (H, n, n), W_k (H, n, n), v (H, n).
    """

    W_q: nn.Parameter
    W_k: nn.Parameter

    def __init__(
        self,
        vocab: int,
        width: int,
        *,
        features: Tensor | None = None,
        variant: str = "tied",
        scores: str = "softmax",
        query: str = "sum",
        heads: int = 1,
        beta: float = 1.0,
        sigma_e: float = 1.0,
        sigma_q: float = 1.0,
        sigma_k: float = 1.0,
        sigma_v: float = 1.0,
        pooling: str = "sum",
        seed: int = 0,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            vocab, width, features=features, sigma_e=sigma_e, sigma_v=sigma_v, generator=generator, dtype=dtype
        )
        self.variant = check_choice("variant", variant, ("tied", "uniform", "heads"))
        self.scores = check_choice("scores", scores, ("softmax", "identity"))
        self.query = check_choice("query", query, ("sum", "last"))
        self.pooling = check_choice("pooling", pooling, ("sum", "mean"))
        if heads < 1 or (heads > 1 and variant != "heads"):
            raise ValueError(
                f"heads = {heads} with variant {variant!r}; several heads need variant='heads', and none needs less "
                "than 1"
            )
        self.beta, self.sigma_q, self.sigma_k = beta, sigma_q, sigma_k
        self.heads = heads
        if variant != "tied":
            self.W_q = normal(generator, dtype, heads, width, width)  # (H, n, n)
            self.W_k = normal(generator, dtype, heads, width, width)  # (H, n, n)
        self.v = normal(generator, dtype, heads, width)  # (H, n)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, 1)."""
        mask = tokens != PADDING  # (N, T)
        lengths = mask.sum(dim=1)  # (N,)
        e = self.embed(tokens)  # (N, T, n)
        s = self._scores(e)  # (N, H, T, T)
        if self.scores == "softmax":
            s = s.masked_fill(~mask[:, None, None, :], -torch.inf)
            s = torch.softmax(s, dim=-1)
        asks = (
            mask if self.query == "sum" else torch.arange(tokens.shape[1], device=tokens.device) == lengths[:, None] - 1
        )
        weight = (s * asks[:, None, :, None]).sum(dim=2)  # (N, H, T): attention that each key receives
        h = weight @ e  # (N, H, n)
        out = torch.einsum("nhd,hd->n", h, self.v)[:, None] * self.sigma_v / (self.width * self.heads) ** 0.5  # (N, 1)
        return out * pooling_factor(self.pooling, lengths)

    def _scores(self, e: Tensor) -> Tensor:
        """(N, T, n) -> (N, H, T, T)."""
        if self.variant == "tied":
            return self.beta / self.width * (e @ e.mT)[:, None]
        q = self.sigma_q / self.width**0.5 * torch.einsum("hij,ntj->nhti", self.W_q, e)  # (N, H, T, n)
        k = self.sigma_k / self.width**0.5 * torch.einsum("hij,ntj->nhti", self.W_k, e)  # (N, H, T, n)
        scale = self.width if self.variant == "uniform" else self.width**0.5
        return self.beta / scale * (q @ k.mT)
