r"""The products: a layer's share of the kernel from its inputs and cotangents.

With tokens :math:`t` and projected outputs :math:`a`, the gradient at example :math:`n` is
:math:`\sum_t g_{nat}\, x_{nt}^\top`, so

.. math:: K_{nm} = \sum_a \sum_{t t'} (x_{nt} \cdot x_{mt'})\,(g_{nat} \cdot g_{mat'}).

For an embedding :math:`x` is one-hot and the first factor is the equality of token ids; for a bias it is 1. A layer
called twice just has more tokens: the cross terms come by themselves. Tokens whose cotangent is zero for all examples
of a tile are left out: all but the last position, where a model reads out that one only. Each rule has two forms,
"token" (the formula above) and "row" (write down one projected output's gradients, then multiply), and takes the one
that counts fewer operations. Of a tile against itself only the upper triangle is multiplied, panel by panel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from entk_tutorial.empirical.reductions import contract
from entk_tutorial.empirical.structured.joint import joint_groups
from entk_tutorial.empirical.structured.taps import ParameterTap, Tap

TOKEN_GRAM_LIMIT = 1 << 24
"""Elements of one temporary token Gram: 64 MB in float32."""
PANEL = 1024
"""Rows of one panel of a product, at most."""


def panel_rows(n: int) -> int:
    """Rows of a panel of n: small enough that little below the diagonal is multiplied, large enough for the library."""
    return max(min(n, 96), min(PANEL, -(-n // 8)))


def panels(n: int, *, same: bool) -> Iterator[tuple[slice, slice]]:
    """Rows, and the columns to multiply them by: all, or those from the diagonal on if both sides are the same."""
    step = panel_rows(n) if same else PANEL
    for start in range(0, n, step):
        yield slice(start, min(start + step, n)), slice(start if same else 0, None)


class Buffers:
    """Memory that panels use in turn: to ask the system for fresh pages each time costs as much as a product."""

    def __init__(self) -> None:
        """Empty."""
        self._held: dict[str, Tensor] = {}

    def product(self, role: str, left: Tensor, right: Tensor) -> Tensor:
        """``left @ right.T`` in the buffer of that role."""
        rows, columns = left.shape[0], right.shape[0]
        flat = self._held.get(role)
        if flat is None or flat.numel() < rows * columns or flat.dtype != left.dtype:
            flat = self._held[role] = left.new_empty(rows * columns)
        out = flat[: rows * columns].view(rows, columns)
        return torch.mm(left, right.T, out=out)


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

    def rows(self, index: slice) -> Factors:
        """The examples at ``index``; nothing is copied."""
        return replace(self, source=None if self.source is None else self.source[index], g=self.g[index])

    def row_gradients(self, a: int) -> Tensor:
        """(N, P) gradients of projected output ``a``, written down."""
        g = self.g[:, a]
        if self.kind == "linear":
            assert self.source is not None
            return torch.einsum("nto,nti->noi", g, self.source).flatten(1)
        if self.kind == "embedding":
            assert self.source is not None
            out = g.new_zeros((g.shape[0], self.size[0], g.shape[-1]))
            index = self.source.unsqueeze(-1).expand(-1, -1, g.shape[-1])
            return out.scatter_add_(1, index, g).flatten(1)
        return g.flatten(1)

    def products(self, other: Factors) -> Tensor:
        """This tile against another, all pairs of projected outputs: (N1, A, N2, B)."""
        if self.kind == "bias":
            return contract(self.g.flatten(2), other.g.flatten(2), paired=False)
        token, row = rule_operations(self.kind, self.g.shape, other.g.shape, self.size, paired=False)
        if token > row:
            left = torch.stack([self.row_gradients(a) for a in range(self.g.shape[1])], 1)
            right = torch.stack([other.row_gradients(b) for b in range(other.g.shape[1])], 1)
            return contract(left, right, paired=False)
        n1, a, t1, _ = self.g.shape
        n2, b, t2, _ = other.g.shape
        out = self.g.new_zeros((n1, a, n2, b))
        for t in range(t1):
            for u in range(t2):
                similar = self._similarity(other, slice(t, t + 1), slice(u, u + 1))
                block = contract(self.g[:, :, t], other.g[:, :, u], paired=False)
                out += block.mul_(similar[:, None, :, None])
        return out

    def add_products(self, other: Factors, target: Tensor, buffers: Buffers) -> None:
        """Add this tile against another, equal outputs paired, to ``target`` (N1, N2).

        If ``other`` is this tile itself, what lies below the diagonal panels is left alone.
        """
        same = self is other
        if self.kind == "bias":
            left, right = self.g.flatten(1), other.g.flatten(1)
            for rows, columns in panels(len(left), same=same):
                target[rows, columns].addmm_(left[rows], right[columns].T)
            return
        token, row = rule_operations(self.kind, self.g.shape, other.g.shape, self.size, paired=True)
        if token > row:
            for a in range(self.g.shape[1]):
                left = self.row_gradients(a)
                right = left if same else other.row_gradients(a)
                for rows, columns in panels(len(left), same=same):
                    target[rows, columns].addmm_(left[rows], right[columns].T)
        elif self.g.shape[2] == other.g.shape[2] == 1:
            self._add_single_token(other, target, buffers, same=same)
        else:
            self._add_token_grams(other, target, same=same)

    def _similarity(self, other: Factors, t: slice = slice(None), u: slice = slice(None)) -> Tensor:
        """Token Gram between tokens ``t`` of self and ``u`` of other: equality of ids, or scalar products."""
        assert self.source is not None and other.source is not None
        if self.kind == "embedding":
            left, right = self.source[:, t], other.source[:, u]
            return (left.reshape(-1, 1) == right.reshape(1, -1)).to(self.g.dtype)
        return self.source[:, t].flatten(0, -2) @ other.source[:, u].flatten(0, -2).T

    def _add_single_token(self, other: Factors, target: Tensor, buffers: Buffers, *, same: bool) -> None:
        left, right = self.g.flatten(1), other.g.flatten(1)
        # The output layer of a network that ends in one: the cotangents do not depend on the example.
        scale = float(left[0] @ right[0]) if _all_rows_equal(left) and _all_rows_equal(right) else None
        for rows, columns in panels(len(left), same=same):
            mine, theirs, out = self.rows(rows), other.rows(columns), target[rows, columns]
            if self.kind == "embedding":
                similar = mine._similarity(theirs)
            else:
                assert mine.source is not None and theirs.source is not None
                x, y = mine.source.flatten(1), theirs.source.flatten(1)
                if scale is not None:
                    out.addmm_(x, y.T, alpha=scale)
                    continue
                similar = buffers.product("similar", x, y)
            out.addcmul_(buffers.product("gram", left[rows], right[columns]), similar)

    def _add_token_grams(self, other: Factors, target: Tensor, *, same: bool) -> None:
        n1, a, t1, o = self.g.shape
        n2, _, t2, _ = other.g.shape
        step = min(panel_rows(n1), max(1, TOKEN_GRAM_LIMIT // (t1 * t2 * n2)))
        right = other.g.permute(0, 2, 1, 3).reshape(n2 * t2, a * o)
        for start in range(0, n1, step):
            rows, columns = slice(start, min(start + step, n1)), slice(start if same else 0, None)
            left = self.g[rows].permute(0, 2, 1, 3).reshape(-1, a * o)
            gram = left @ right[(columns.start * t2) :].T
            gram *= self.rows(rows)._similarity(other.rows(columns))
            target[rows, columns] += gram.reshape(len(left) // t1, t1, -1, t2).sum((1, 3))


def _all_rows_equal(g: Tensor) -> bool:
    return bool(torch.equal(g[0], g[-1])) and bool((g == g[0]).all())


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
    parameters = o * inner if kind == "linear" else size[0] * o
    return token, n1 * n2 * outputs * parameters + write


@dataclass(frozen=True)
class JointFactors:
    """A parameter used in several ways that have no cross terms: their products add up.

    Attributes:
        parts: key of the part -> factors; a part without cotangents is left out.
    """

    parts: dict[str, Factors]

    def products(self, other: JointFactors) -> Tensor | None:
        """This tile against another, (N1, A, N2, B); None if they have no part in common."""
        total: Tensor | None = None
        for key, part in self.parts.items():
            if key in other.parts:
                block = part.products(other.parts[key])
                total = block if total is None else total.add_(block)
        return total

    def add_products(self, other: JointFactors, target: Tensor, buffers: Buffers) -> None:
        """See :meth:`Factors.add_products`."""
        for key, part in self.parts.items():
            if key in other.parts:
                part.add_products(other.parts[key], target, buffers)


@dataclass(frozen=True)
class Part:
    """Uses of a parameter whose cross terms come by themselves: taps that share their tokens.

    Attributes:
        name: of the parameter.
        key: the same for every batch.
        kind: ``"linear"``, ``"embedding"`` or ``"bias"``.
        taps: whose tokens are put side by side; for a bias, summed.
        size: (rows, columns) of the weight, or of the view of it.
        numel: entries of the parameter.
    """

    name: str
    key: str
    kind: str
    taps: tuple[ParameterTap, ...]
    size: tuple[int, ...]
    numel: int

    def cotangent(self, by_leaf: Mapping[int, Tensor | None]) -> Tensor:
        """(N, T, O) from one reverse pass's gradients, leaf by leaf; T = 1 for a bias."""
        each = [tap.cotangent(by_leaf[id(tap.leaf)]) for tap in self.taps]
        if self.kind != "bias":
            return each[0] if len(each) == 1 else torch.cat(each, 1)
        whole = [tap.whole(g, self.numel) for tap, g in zip(self.taps, each, strict=True)]
        return torch.stack(whole).sum(0) if len(whole) > 1 else whole[0]

    def factors(self, g: Tensor, dtype: torch.dtype) -> Factors | None:
        """With cotangents (N, A, T, O), less the tokens that no output depends on; None if no token is left."""
        if self.kind == "bias":
            return Factors("bias", None, g.to(dtype), self.size)
        source = self.taps[0].source if len(self.taps) == 1 else torch.cat([t.source for t in self.taps], 1)
        if g.shape[2] > 1:
            alive = (g != 0).any(3).any(1).any(0)
            if not bool(alive.all()):
                g, source = g[:, :, alive], source[:, alive]
        if g.shape[2] == 0:
            return None
        return Factors(self.kind, source if self.kind == "embedding" else source.to(dtype), g.to(dtype), self.size)


def parts_of(name: str, taps: Sequence[Tap], size: tuple[int, ...]) -> list[Part]:
    """The parts of parameter ``name``, of shape ``size``, from its taps.

    Raises:
        KeyError: taps that have cross terms which no rule gives; the certificate refuses those before.
    """
    numel = math.prod(size)
    bare = [tap for tap in taps if isinstance(tap, ParameterTap)]
    groups = [[0]] if len(bare) == 1 else joint_groups(bare, numel) if bare else []
    if groups is None:
        raise KeyError(f"parameter {name!r}: its taps have cross terms that no rule gives")
    return [
        Part(
            name,
            f"{name} {group[0]}",
            bare[group[0]].kind,
            tuple(bare[i] for i in group),
            size if bare[group[0]].kind == "bias" else tuple(bare[group[0]].positions.shape),
            numel,
        )
        for group in groups
    ]
