r"""The products: a layer's share of the kernel from its inputs and cotangents.

With tokens :math:`t` and projected outputs :math:`a`, the gradient at example :math:`n` is
:math:`\sum_t g_{nat}\, x_{nt}^\top`, so

.. math:: K_{nm} = \sum_a \sum_{t t'} (x_{nt} \cdot x_{mt'})\,(g_{nat} \cdot g_{mat'}).

For an embedding :math:`x` is one-hot and the first factor is the equality of token ids; for a bias it is 1. A layer
called twice just has more tokens: the cross terms come by themselves. Tokens whose cotangent is zero for all examples
of a tile are left out: all but the last position, where a model reads out that one only. Each rule has two forms,
"token" (the formula above) and "row" (write down one projected output's gradients, then multiply), and takes the one
that counts fewer operations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.empirical.reductions import contract
from entk_tutorial.empirical.structured.joint import joint_groups
from entk_tutorial.empirical.structured.taps import ParameterTap, Tap

TOKEN_GRAM_LIMIT = 1 << 24
"""Elements of one temporary token Gram: 64 MB in float32."""


@dataclass(frozen=True)
class Factors:
    """The two factors of a parameter's gradient on a tile of examples.

    Attributes:
        kind: ``"linear"``, ``"embedding"`` or ``"bias"``.
        source: (N, T, I) inputs, (N, T) ids, or None for a bias.
        g: (N, A, T, O) cotangents; for a bias summed over tokens, T = 1.
        size: (rows, columns) of the weight.
    """

    kind: str
    source: Tensor | None
    g: Tensor
    size: tuple[int, ...]

    def row_gradients(self, a: int) -> Tensor:
        """(N, P) gradients of projected output ``a``, written down."""
        g = self.g[:, a]
        if self.kind == "linear":
            assert self.source is not None
            return torch.einsum("nto,nti->noi", g, self.source).flatten(1)
        if self.kind == "embedding":
            assert self.source is not None
            out = g.new_zeros((g.shape[0], *self.size))
            index = self.source.unsqueeze(-1).expand(-1, -1, g.shape[-1])
            return out.scatter_add_(1, index, g).flatten(1)
        return g.flatten(1)

    def products(self, other: Factors, *, paired: bool) -> Tensor:
        """This tile against another: (N1, N2) if ``paired``, else (N1, A, N2, B)."""
        if self.kind == "bias":
            return contract(self.g.flatten(2), other.g.flatten(2), paired=paired)
        token, row = rule_operations(self.kind, self.g.shape, other.g.shape, self.size, paired=paired)
        if token <= row:
            return self._token_form(other, paired=paired)
        return self._row_form(other, paired=paired)

    def _row_form(self, other: Factors, *, paired: bool) -> Tensor:
        if paired:
            rows = range(self.g.shape[1])
            total = self.row_gradients(0) @ other.row_gradients(0).T
            for a in rows[1:]:
                total += self.row_gradients(a) @ other.row_gradients(a).T
            return total
        left = torch.stack([self.row_gradients(a) for a in range(self.g.shape[1])], 1)
        right = torch.stack([other.row_gradients(b) for b in range(other.g.shape[1])], 1)
        return contract(left, right, paired=False)

    def _similarity(self, other: Factors, t: slice, u: int | slice, rows: slice) -> Tensor:
        """Token Gram between tokens ``t`` of self and ``u`` of other: equality of ids, or scalar products."""
        assert self.source is not None and other.source is not None
        if self.kind == "embedding":
            left, right = self.source[rows, t], other.source[:, u]
            return (left.reshape(-1, 1) == right.reshape(1, -1)).to(self.g.dtype)
        return self.source[rows, t].flatten(0, -2) @ other.source[:, u].flatten(0, -2).T

    def _token_form(self, other: Factors, *, paired: bool) -> Tensor:
        n1, a, t1, o = self.g.shape
        n2, b, t2, _ = other.g.shape
        if not paired:
            out = self.g.new_zeros((n1, a, n2, b))
            for t in range(t1):
                for u in range(t2):
                    similar = self._similarity(other, slice(t, t + 1), slice(u, u + 1), slice(None))
                    block = contract(self.g[:, :, t], other.g[:, :, u], paired=False)
                    out += block.mul_(similar[:, None, :, None])
            return out
        if t1 == t2 == 1:
            similar = self._similarity(other, slice(None), slice(None), slice(None))
            return similar * contract(self.g.flatten(2), other.g.flatten(2), paired=True)
        out = self.g.new_empty((n1, n2))
        step = max(1, TOKEN_GRAM_LIMIT // (t1 * t2 * n2))
        right = other.g.permute(0, 2, 1, 3).reshape(n2 * t2, a * o)
        for start in range(0, n1, step):
            rows = slice(start, min(start + step, n1))
            left = self.g[rows].permute(0, 2, 1, 3).reshape(-1, a * o)
            gram = left @ right.T
            gram *= self._similarity(other, slice(None), slice(None), rows)
            out[rows] = gram.reshape(-1, t1, n2, t2).sum((1, 3))
        return out


def rule_operations(
    kind: str, g1: Sequence[int], g2: Sequence[int], size: tuple[int, ...], *, paired: bool
) -> tuple[int, int]:
    """Multiply-adds of the token form and of the row form, for cotangents of shape (N, A, T, O)."""
    n1, a, t1, o = g1
    n2, b, t2, _ = g2
    outputs = a if paired else a * b
    inner = size[1] if kind == "linear" else 1
    token = n1 * n2 * t1 * t2 * (inner + outputs * o)
    write = (n1 * a * t1 + n2 * b * t2) * o * inner
    parameters = size[0] * size[1] if len(size) == 2 else o
    return token, n1 * n2 * outputs * parameters + write


@dataclass(frozen=True)
class JointFactors:
    """A parameter used in several ways that have no cross terms: their products add up.

    Attributes:
        parts: position of the first tap -> factors; a part without cotangents is left out.
    """

    parts: dict[int, Factors]

    def products(self, other: JointFactors, *, paired: bool) -> Tensor | None:
        """This tile against another; None if they have no part in common."""
        total: Tensor | None = None
        for key, part in self.parts.items():
            if key in other.parts:
                block = part.products(other.parts[key], paired=paired)
                total = block if total is None else total.add_(block)
        return total


def factors_of(
    name: str,
    kind: str,
    taps: list[Tap],
    cotangents: dict[int, Tensor],
    size: tuple[int, ...],
    dtype: torch.dtype,
) -> JointFactors:
    """Factors of parameter ``name`` from its taps and their cotangents (N, A, T, O), by tap identity."""
    if not taps:
        raise KeyError(f"parameter {name!r} was never used; it has no taps")
    bare = [tap for tap in taps if isinstance(tap, ParameterTap)]
    if not bare:
        part = _side_by_side(kind, taps, cotangents, size, dtype)
        return JointFactors({} if part is None else {0: part})
    groups = joint_groups(bare, math.prod(size))
    if groups is None:
        raise KeyError(f"parameter {name!r}: its taps have cross terms that no rule gives")
    parts: dict[int, Factors] = {}
    for group in groups:
        mine = [bare[i] for i in group]
        if mine[0].kind == "bias":
            g = sum(tap.whole(cotangents[id(tap)], math.prod(size)) for tap in mine)
            assert isinstance(g, Tensor)
            parts[group[0]] = Factors("bias", None, g.to(dtype), size)
        else:
            part = _side_by_side(mine[0].kind, mine, cotangents, tuple(mine[0].positions.shape), dtype)
            if part is not None:
                parts[group[0]] = part
    return JointFactors(parts)


def _side_by_side(
    kind: str, taps: Sequence[Tap], cotangents: dict[int, Tensor], size: tuple[int, ...], dtype: torch.dtype
) -> Factors | None:
    """Factors with the tokens of all taps, less those that no output of the tile depends on; None if none is left."""
    g = torch.cat([cotangents[id(t)] for t in taps], 2)
    if kind == "bias":
        return Factors(kind, None, g.sum(2, keepdim=True).to(dtype), size)
    source = torch.cat([t.source for t in taps], 1)
    alive = (g != 0).any(3).any(1).any(0)
    if not bool(alive.all()):
        g, source = g[:, :, alive], source[:, alive]
    if g.shape[2] == 0:
        return None
    return Factors(kind, source if kind == "embedding" else source.to(dtype), g.to(dtype), size)
