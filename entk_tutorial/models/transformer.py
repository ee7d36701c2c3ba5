r"""The one-layer Transformer that learns modular addition, its weights spelled out."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from entk_tutorial.features.fourier import check_modulus, modular_pairs

TENSORS = ("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out", "W_U")
"""The nine weight tensors, in the order of the forward pass."""


class ModularTransformer(nn.Module):
    r"""One layer of causal softmax attention and one of ReLU neurons; no LayerNorm, no biases.

    The input is the sentence "n m =", the answer is read at "=". Only there is a loss, and at the last position the
    causal mask hides nothing: so the query, the neurons and the logits are computed at the last position alone. What
    the first two positions would compute after attention reaches no output.

    With d = ``d_model``, residual stream r, and weights drawn as N(0, 1) times the scale in brackets:

    .. math::
        r_s &= W_E[\text{token}_s] + W_{pos}[s] \\
        a_h &= \operatorname{softmax}_s\!\left( q_h \cdot k_{h,s} / \sqrt{d/\text{heads}} \right), \qquad
               q = W_Q\, r_3,\; k_s = W_K\, r_s,\; v_s = W_V\, r_s \\
        r' &= r_3 + W_O \operatorname{concat}_h \sum_s a_{h,s} v_{h,s} \\
        r'' &= r' + W_{out} \operatorname{relu}(W_{in}\, r'), \qquad \text{logits} = W_U\, r''

    Args:
        p: modulus; the vocabulary has p + 1 tokens, and "=" is token p.
        d_model: width of the residual stream, a multiple of ``heads``.
        heads: attention heads.
        d_mlp: neurons.
        seed: of the initial weights, through a private generator.

    Shapes:
        ``W_E`` (p+1, d), ``W_pos`` (3, d), ``W_Q W_K W_V W_O`` (d, d), ``W_out`` (d, d_mlp) [all 1/sqrt(d)],
        ``W_in`` (d_mlp, d) [1/sqrt(d_mlp)], ``W_U`` (p+1, d) [1/sqrt(p+1)]. Input (N, 3) tokens, output (N, p+1).

    Raises:
        ValueError: a modulus that is even or below 3, widths below 1, or heads that do not divide ``d_model``.

    Example:
        >>> model = ModularTransformer(5, d_model=8, heads=2, d_mlp=16, seed=0)
        >>> model(modular_tokens(5)).shape
        torch.Size([25, 6])

    Source: [Lin 2025], after [Nanda 2023]. Chapter: book/microscope/modular-transformer.
    """

    def __init__(self, p: int, d_model: int = 64, heads: int = 4, d_mlp: int = 256, seed: int = 0) -> None:
        """Draw the weights."""
        super().__init__()
        check_modulus(p)
        if min(d_model, heads, d_mlp) < 1 or d_model % heads:
            raise ValueError(
                f"d_model={d_model}, heads={heads}, d_mlp={d_mlp}: all at least 1, and heads a divisor of d_model."
            )
        self.p, self.heads, self.d_head = p, heads, d_model // heads
        generator = torch.Generator().manual_seed(seed)

        def normal(rows: int, columns: int, fan: int) -> nn.Parameter:
            return nn.Parameter(torch.randn(rows, columns, generator=generator) / math.sqrt(fan))

        self.W_E = normal(p + 1, d_model, d_model)
        self.W_pos = normal(3, d_model, d_model)
        self.W_Q = normal(d_model, d_model, d_model)
        self.W_K = normal(d_model, d_model, d_model)
        self.W_V = normal(d_model, d_model, d_model)
        self.W_O = normal(d_model, d_model, d_model)
        self.W_in = normal(d_mlp, d_model, d_mlp)
        self.W_out = normal(d_model, d_mlp, d_model)
        self.W_U = normal(p + 1, d_model, p + 1)

    def embed(self, tokens: Tensor) -> Tensor:
        """Residual stream before attention: (N, 3) tokens -> (N, 3, d).

        Raises:
            ValueError: tokens of another shape.
        """
        if tokens.ndim != 2 or tokens.shape[1] != 3:
            raise ValueError(f"tokens have shape {tuple(tokens.shape)}; (N, 3) is expected: n, m and '='.")
        return embedding(tokens, self.W_E) + self.W_pos

    def attention(self, tokens: Tensor) -> Tensor:
        """Attention of the last position to the three positions: (N, heads, 3), each row adding up to 1."""
        return self._attend(self.embed(tokens))

    def _attend(self, r: Tensor) -> Tensor:
        q = linear(r[:, -1:], self.W_Q).unflatten(2, (self.heads, -1))  # (N, 1, d) -> (N, 1, heads, d_head)
        k = linear(r, self.W_K).unflatten(2, (self.heads, -1))  # (N, 3, d) -> (N, 3, heads, d_head)
        scores = (q * k).sum(3) / math.sqrt(self.d_head)  # (N, 3, heads)
        return scores.softmax(1).transpose(1, 2)  # (N, heads, 3)

    def after_attention(self, tokens: Tensor) -> Tensor:
        """Residual stream at "=" between attention and neurons: (N, d)."""
        r = self.embed(tokens)
        v = linear(r, self.W_V).unflatten(2, (self.heads, -1))  # (N, 3, heads, d_head)
        mixed = (self._attend(r).transpose(1, 2).unsqueeze(3) * v).sum(1)  # (N, heads, d_head)
        return r[:, -1] + linear(mixed.flatten(1), self.W_O)

    def neurons(self, tokens: Tensor) -> Tensor:
        """Activations of the ReLU neurons at "=": (N, d_mlp)."""
        return linear(self.after_attention(tokens), self.W_in).relu()

    def residual(self, tokens: Tensor) -> Tensor:
        """Residual stream at "=" that the unembedding reads: (N, d)."""
        r = self.after_attention(tokens)
        return r + linear(linear(r, self.W_in).relu(), self.W_out)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits at "=": (N, 3) -> (N, p+1), the last one for "=" itself."""
        return linear(self.residual(tokens), self.W_U)


def modular_tokens(p: int) -> Tensor:
    """The sentences "n m =" of all pairs, in the order of :func:`modular_pairs`: (p*p, 3) int64, "=" is p.

    Example:
        >>> modular_tokens(3)[:2].tolist()
        [[0, 0, 3], [0, 1, 3]]
    """
    check_modulus(p)
    return torch.cat([modular_pairs(p), torch.full((p * p, 1), p)], 1)
