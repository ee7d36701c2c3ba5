r"""Two causal language models: an MLP on each word of the context, and a small Transformer that predicts everywhere.

Both return logits over the vocabulary, and both are short enough to see that no position can look at its target: the
first is given only what stands before it, the second masks what comes after. Chapter: book/text/language-model.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, linear

from entk_tutorial.models.text_base import activation_function, normal

__all__ = ["MLPLanguage", "TransformerLanguage"]


class MLPLanguage(nn.Module):
    r"""Logits that add up over the words of the context, each from an MLP; NTK parametrisation.

    .. math:: f_c(x) = \sum_{t\in x} s_c(t), \qquad
              s_c(a) = \frac{\sigma_v}{\sqrt n}\, v_c\cdot\phi\Big(\frac{\sigma_w}{\sqrt n} W e_a\Big), \quad
              e_a = \sigma_e E_a

    Its parameters carry the names of the groups of ``mlp_kernel``: E (tokens, n), W (n, n), v (V, n).

    Args:
        tokens: number of different tokens in contexts.
        width: n.
        targets: number V of classes; by default one a token.
        activation: of the hidden layer.
        sigma_e: scale of the embedding.
        sigma_w: scale of the hidden layer.
        sigma_v: scale of the readout.
        seed: of the weights.
        dtype: of the parameters.

    Raises:
        ValueError: for counts below 1, or an activation that is not known.

    Example:
        >>> model = MLPLanguage(tokens=5, width=8, seed=0)
        >>> context = torch.tensor([[0, 3]])
        >>> bool(torch.allclose(model(context), model.scores()[[0, 3]].sum(0)))
        True

    Source: [Sun, Li & Lu 2023]. Chapter: book/text/language-model.
    """

    def __init__(
        self,
        tokens: int,
        width: int,
        *,
        targets: int | None = None,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        sigma_e: float = 1.0,
        sigma_w: float = 1.0,
        sigma_v: float = 1.0,
        seed: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        classes = tokens if targets is None else targets
        if min(tokens, width, classes) < 1:
            raise ValueError(f"tokens={tokens}, width={width}, targets={classes}; expected 1 or more of each.")
        generator = torch.Generator().manual_seed(seed)
        self.phi = activation_function(activation)
        self.sigma_e, self.sigma_w, self.sigma_v = sigma_e, sigma_w, sigma_v
        self.E = normal(generator, dtype, tokens, width)  # (tokens, n)
        self.W = normal(generator, dtype, width, width)  # (n, n)
        self.v = normal(generator, dtype, classes, width)  # (V, n): one readout a class

    def scores(self) -> Tensor:
        """Label scores of all tokens, the logits of the context of one word: (tokens, V)."""
        root = self.E.shape[1] ** 0.5
        h = self.phi(self.sigma_w * self.sigma_e / root * self.E @ self.W.T)  # (tokens, n)
        return self.sigma_v / root * h @ self.v.T  # (tokens, V)

    def forward(self, contexts: Tensor) -> Tensor:
        """(N, T) tokens -> (N, V)."""
        return self.scores()[contexts].sum(1)  # (N, T, V) -> (N, V)


class Block(nn.ParameterDict):
    """The weights of one layer: W_Q, W_K, W_V, W_O, W_in, W_out."""


class TransformerLanguage(nn.Module):
    r"""A decoder with learned positions: attention, then neurons, in each layer; no LayerNorm.

    With d = ``d_model`` and residual stream r:

    .. math::
        r &\leftarrow r + W_O \operatorname{concat}_h \operatorname{softmax}_{s \le t}
            \big(q_{h,t}\cdot k_{h,s}/\sqrt{d/\text{heads}}\big)\, v_{h,s} \\
        r &\leftarrow r + W_{out}\, \phi(W_{in}\, r), \qquad \text{logits} = W_U\, r \;(+\, b_U)

    Weights are N(0, ``scale`` squared / fan-in), embeddings N(0, ``scale`` squared), positions of half their size; the
    unembedding is smaller by another root of d, so that all targets start about equally likely.

    Args:
        tokens: number V of tokens, and of classes.
        length: longest context.
        d_model: width of the residual stream, a multiple of ``heads``.
        heads: attention heads.
        layers: number of layers.
        d_mlp: neurons a layer; by default four times ``d_model``.
        activation: of the neurons.
        scale: of the initial weights. At 1 the neurons' inputs have a variance near 1.
        positions: whether each position has a vector of its own, which is added to the embedding.
        output_bias: (V,) at which a bias of each class starts, such as the logarithms of its frequency; None for none.
        ahead: how many later tokens a position sees. 0 is a language model; from 1 on it sees its target, which is
            here for an exercise on leaks only.
        targets: number of classes; by default one a token.
        seed: of the weights.

    Shapes:
        (N, T) tokens with T <= length -> (N, T, V): at position t the logits of the token at t + 1.

    Raises:
        ValueError: for counts below 1, heads that do not divide ``d_model``, or contexts that are too long.

    Example:
        >>> model = TransformerLanguage(tokens=5, length=4, d_model=8, heads=2, seed=0)
        >>> one, other = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0, 1, 4, 4]])
        >>> [bool(torch.equal(model(one)[:, t], model(other)[:, t])) for t in range(4)]
        [True, True, False, False]

    Chapter: book/text/language-model.
    """

    def __init__(
        self,
        tokens: int,
        length: int,
        *,
        d_model: int = 64,
        heads: int = 4,
        layers: int = 1,
        d_mlp: int | None = None,
        activation: str | Callable[[Tensor], Tensor] = "relu",
        scale: float = 1.0,
        positions: bool = True,
        output_bias: Tensor | None = None,
        ahead: int = 0,
        targets: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        classes = tokens if targets is None else targets
        neurons = 4 * d_model if d_mlp is None else d_mlp
        if min(tokens, length, d_model, heads, layers, neurons, classes, ahead + 1) < 1 or d_model % heads:
            raise ValueError(
                f"tokens={tokens}, length={length}, d_model={d_model}, heads={heads}, layers={layers}, "
                f"d_mlp={neurons}, targets={classes}, ahead={ahead}; expected 1 or more of each (ahead: 0), and "
                "heads a divisor of d_model."
            )
        generator = torch.Generator().manual_seed(seed)

        def weights(rows: int, columns: int, size: float) -> nn.Parameter:
            return nn.Parameter(size * normal(generator, torch.float32, rows, columns).detach())

        inner, outer = scale / math.sqrt(d_model), scale / math.sqrt(neurons)
        self.length, self.heads, self.ahead = length, heads, ahead
        self.phi = activation_function(activation)
        self.W_E = weights(tokens, d_model, scale)
        # Drawn in any case, so that the other weights do not depend on it.
        vectors = weights(length, d_model, scale / 2)
        self.W_pos = vectors if positions else None
        self.blocks = nn.ModuleList(
            Block(
                {name: weights(d_model, d_model, inner) for name in ("W_Q", "W_K", "W_V", "W_O")}
                | {"W_in": weights(neurons, d_model, inner), "W_out": weights(d_model, neurons, outer)}
            )
            for _ in range(layers)
        )
        self.W_U = weights(classes, d_model, scale / d_model)  # small: at the start all targets are about as likely
        self.b_U = None if output_bias is None else nn.Parameter(output_bias.detach().float().clone())

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, T) tokens -> (N, T, V) logits."""
        if tokens.ndim != 2 or tokens.shape[1] > self.length:
            raise ValueError(f"tokens have shape {tuple(tokens.shape)}; expected (N, T) with T <= {self.length}.")
        r = embedding(tokens, self.W_E)  # (N, T, d)
        if self.W_pos is not None:
            r = r + self.W_pos[: tokens.shape[1]]
        square = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device)
        mask = square.tril(self.ahead)  # (T, T): position t sees s <= t + ahead
        for block in self.blocks:
            assert isinstance(block, Block)
            q, k, v = (
                linear(r, block[name]).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, heads, T, d/heads)
                for name in ("W_Q", "W_K", "W_V")
            )
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
            r = r + linear(mixed.transpose(1, 2).flatten(2), block["W_O"])  # (N, T, d)
            r = r + linear(self.phi(linear(r, block["W_in"])), block["W_out"])
        logits = linear(r, self.W_U)
        return logits if self.b_U is None else logits + self.b_U
