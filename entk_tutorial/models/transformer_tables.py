"""The modular Transformer by tables of its tokens: the same logits and gradients, at less cost.

A pair (n, m) goes into attention through two tokens out of p, so keys, values and scores are tables with p rows that
the pairs look up, and the query at "=" is one vector for all of them. What is left to do for each pair is to mix three
values, and the layers behind.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn.functional import linear

from entk_tutorial.models.transformer import ModularTransformer

__all__ = ["table_logits"]


def table_logits(model: ModularTransformer, pairs: Tensor) -> Tensor:
    r"""Logits at "=" for pairs of digits, as the network gives them for the sentence "n m =".

    Args:
        model: the network.
        pairs: (N, 2) integers below p: n and m.

    Returns:
        (N, p+1), with a graph if gradients are on.

    Raises:
        ValueError: pairs of another shape.

    Example:
        >>> import torch
        >>> from entk_tutorial.models.transformer import modular_tokens
        >>> model = ModularTransformer(5, d_model=8, heads=2, d_mlp=16, seed=0).double()
        >>> tokens = modular_tokens(5)
        >>> bool(torch.allclose(table_logits(model, tokens[:, :2]), model(tokens), rtol=1e-12))
        True

    Chapter: book/beyond/scaling-up.
    """
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"pairs have shape {tuple(pairs.shape)}; (N, 2) is expected: n and m.")
    heads, d_head = model.heads, model.d_head
    digits = model.W_E[: model.p]
    equals = model.W_E[model.p] + model.W_pos[2]  # (d,), the same in every sentence
    query = linear(equals, model.W_Q).unflatten(0, (heads, d_head))
    scores, values = [], []
    for stream in (digits + model.W_pos[0], digits + model.W_pos[1], equals.unsqueeze(0)):  # (p, d), (p, d), (1, d)
        key = linear(stream, model.W_K).unflatten(1, (heads, d_head))
        scores.append((query * key).sum(2) / math.sqrt(d_head))  # (p, heads)
        values.append(linear(stream, model.W_V).unflatten(1, (heads, d_head)))
    n, m = pairs.unbind(1)
    each = [scores[0][n], scores[1][m], scores[2].expand(len(pairs), heads)]
    # The softmax over three numbers, spelled out: a stack and its copy would cost more.
    top = each[0].detach().maximum(each[1].detach()).maximum(each[2].detach())
    weight = [(score - top).exp() for score in each]
    total = weight[0] + weight[1] + weight[2]
    first, second, third = ((w / total).unsqueeze(2) for w in weight)
    mixed = first * values[0][n] + second * values[1][m] + third * values[2]  # (N, heads, d_head)
    residual = equals + linear(mixed.flatten(1), model.W_O)
    residual = residual + linear(linear(residual, model.W_in).relu(), model.W_out)
    return linear(residual, model.W_U)
