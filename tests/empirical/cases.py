"""Models and inputs for the empirical kernel, and a dense reference that shares no code with the package.

Each case builds its module in float64 from a fixed seed. ``reference`` is a plain double loop of
``torch.autograd.grad``: one example, one output at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

DOUBLE = torch.float64


class Pooled(nn.Module):
    """(N, T, D) -> (N, C), mean over tokens."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 4, bias=bias), nn.Linear(4, 2, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x).tanh()).mean(1)


class Tokens(nn.Module):
    """Embedding, position embedding, linear: (N, T) ids -> (N, C)."""

    def __init__(self, padding_idx: int | None = None, positions: bool = False, sparse: bool = False) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 3, padding_idx=padding_idx, sparse=sparse)
        self.place = nn.Embedding(5, 3) if positions else None
        self.out = nn.Linear(3, 2)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embed(ids)
        if self.place is not None:
            h = h + self.place(torch.arange(ids.shape[1])[None])  # (1, T): the batch axis is broadcast
        return self.out(h.tanh()).sum(1)


class FirstPosition(Tokens):
    """Reads out position 0 only, with position ids (T,): where T = N, only the position tells it from a batch axis."""

    def forward(self, ids: Tensor) -> Tensor:
        assert self.place is not None
        return self.out((self.embed(ids) + self.place(torch.arange(ids.shape[1]))).tanh()[:, 0])


class Twice(nn.Module):
    """One layer applied twice; registered under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.again = self.first
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.again(self.first(x).tanh()).tanh())


class TiedLinears(nn.Module):
    """Two linear layers, one weight, two biases."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).tanh())


class TiedUnembedding(nn.Module):
    """Embedding.weight is Linear.weight: the cross terms are the point."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(6, 3)
        self.mix = nn.Linear(3, 3)
        self.unembed = nn.Linear(3, 6, bias=False)
        self.unembed.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        return self.unembed(self.mix(self.embed(ids)).tanh().mean(1))


class ByHand(nn.Module):
    """A weight used once in its layer and once outside."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(3, 3), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.linear(self.fc(x).tanh(), self.fc.weight.T))


class Transposed(nn.Module):
    """(N, T, D) with the batch axis second inside; ``first`` reads position 0 only."""

    def __init__(self, first: bool = False) -> None:
        super().__init__()
        self.first, self.up, self.down = first, nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.down(self.up(x.transpose(0, 1)).tanh())  # (T, N, 2)
        return h[0] if self.first else h.square().sum(0)


class Sorted(nn.Module):
    """Puts the batch into another order, and back: nothing in the outputs shows it."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        order = x.sum(1).argsort()
        return self.down(self.up(x[order]).tanh())[order.argsort()]


class InPlace(nn.Module):
    """In-place on the caller's input and on layer outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x.relu_())
        return self.down(h.relu_()).add_(1.0)


class Convolutional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.out = nn.Conv1d(3, 4, 2), nn.LayerNorm(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:  # (N, T, 3)
        return self.out(self.norm(self.conv(x.transpose(1, 2)).mean(2)).tanh())


class BatchNormed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.norm(self.up(x)).tanh())


class RawAttention(nn.Module):
    """Attention from bare parameters; einsum or the fused call."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.qkv = nn.Parameter(torch.randn(3, 3, 4))
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = torch.einsum("ntd,kde->knte", x, self.qkv)
        if self.fused:
            return self.out(F.scaled_dot_product_attention(q, k, v)).mean(1)
        scores = (torch.einsum("nte,nse->nts", q, k) / 2).softmax(-1)
        return self.out(torch.einsum("nts,nse->nte", scores, v)).mean(1)


class MultiHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.out = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 1), value=1.0)
        return self.out(self.attention(x, x, x, need_weights=False)[0]).mean(1)


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.out = nn.GRU(3, 4, batch_first=True), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.rnn(x)[0][:, -1])


class Counting(nn.Module):
    """Two buffers: one used, one counted up in every forward pass."""

    scale: Tensor
    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)
        self.register_buffer("scale", torch.tensor(3.0))
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.fc(x * self.scale).sin()


class TwoInputs(nn.Module):
    """Called as model(x, mask) or model(x=..., mask=...)."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(3, 2)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return (self.fc(x).tanh() * mask[..., None]).sum(1)


class Unused(nn.Module):
    """A frozen parameter, two that no output depends on, and a subclass with an extra parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.used, self.idle = nn.Linear(3, 3), nn.Linear(3, 2), nn.Linear(5, 5)
        self.frozen.requires_grad_(False)
        self.used.register_parameter("spare", nn.Parameter(torch.randn(7)))

    def forward(self, x: Tensor) -> Tensor:
        return self.used(self.frozen(x).tanh())


class Branching(nn.Module):
    """A Python branch on the data; one side does not use the layer at all."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.fc = nn.Parameter(torch.randn(2)), nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = [self.scale * self.fc(row).sin() if row.sum() > 0 else torch.ones(2).to(row) for row in x]
        return torch.stack(rows)


class Doubled(nn.Linear):
    """A Linear with another forward."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, 2 * self.weight, self.bias)


class NoGradRegion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            h = self.body(x).tanh()
        return self.head(h)


def weight_normed() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)), nn.Tanh(), nn.Linear(4, 2))


def non_contiguous() -> nn.Module:
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    model[0].weight = nn.Parameter(torch.randn(3, 4).T)
    return model


def mlp(outputs: int = 2, bias: bool = True) -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4, bias=bias), nn.Tanh(), nn.Linear(4, outputs, bias=bias))


def vectors(n: int, seed: int) -> Tensor:
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def sequences(n: int, seed: int, length: int = 4) -> Tensor:
    return torch.randn(n, length, 3, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def ids(n: int, seed: int, length: int = 4) -> Tensor:
    return torch.randint(6, (n, length), generator=torch.Generator().manual_seed(seed))


def masked(n: int, seed: int) -> tuple[Tensor, Tensor]:
    x = sequences(n, seed)
    return x, x[..., 0] > 0


@dataclass(frozen=True)
class Case:
    """A model, its inputs, and what is expected of the way it is taken.

    ``rules``: parameters that must go by rule (ALL: every one); None asks for nothing. ``warns``: whether the general
    way falls back.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Callable[[int, int], Tensor | tuple[Tensor, ...] | dict[str, Tensor]]
    rules: tuple[str, ...] | None = None
    warns: bool = False
    n: int = 5


ALL = ("all",)
PAIR = ("up.weight", "up.bias", "down.weight", "down.bias")

CASES = [
    Case("linear", lambda: nn.Linear(3, 2), vectors, ("weight", "bias")),
    Case("linear, no bias", lambda: nn.Linear(3, 2, bias=False), vectors, ("weight",)),
    Case("one output", lambda: mlp(1), vectors),
    Case("one example", mlp, vectors, n=1),
    Case("pooled sequence", Pooled, sequences, ("up.weight", "up.bias", "down.weight", "down.bias")),
    Case("pooled long sequence", lambda: Pooled(False), lambda n, s: sequences(n, s, 30)),
    Case("embedding", Tokens, ids, ("embed.weight", "out.weight", "out.bias")),
    Case("embedding, one token", Tokens, lambda n, s: ids(n, s, 1), ("embed.weight", "out.weight", "out.bias")),
    Case("embedding, long", Tokens, lambda n, s: ids(n, s, 40), ("embed.weight", "out.weight", "out.bias")),
    Case("embedding, padding", lambda: Tokens(padding_idx=0), ids, ("embed.weight", "out.weight", "out.bias")),
    Case("embedding, last is padding", lambda: Tokens(padding_idx=-1), ids),
    Case("embedding, sparse", lambda: Tokens(sparse=True), ids),
    Case("embedding, int32 long", Tokens, lambda n, s: ids(n, s, 40).int()),
    Case("positions", lambda: Tokens(positions=True), ids, ("embed.weight", "place.weight", "out.weight", "out.bias")),
    Case("positions, T = N", lambda: Tokens(positions=True), ids, n=4),
    Case("positions, T = N, first", lambda: FirstPosition(positions=True), ids, n=4),
    Case("applied twice", Twice, vectors, ("first.weight", "first.bias", "out.weight", "out.bias")),
    Case("tied linears", TiedLinears, vectors, ("a.weight", "a.bias", "b.bias")),
    Case("tied unembedding", TiedUnembedding, ids, ("embed.weight", "mix.weight", "mix.bias")),
    Case("by hand", ByHand, vectors, ("fc.weight", "fc.bias", "out.weight", "out.bias")),
    Case("transposed", Transposed, sequences, PAIR),
    Case("transposed, T = N", Transposed, sequences, PAIR, n=4),
    Case("transposed, T = N, first", lambda: Transposed(first=True), sequences, PAIR, n=4),
    Case("transposed, T = probe", Transposed, lambda n, s: sequences(n, s, 8), PAIR, n=11),
    Case("sorted batch", Sorted, vectors, (), n=7),
    Case("in place", InPlace, vectors, ("up.weight", "up.bias", "down.weight", "down.bias")),
    Case("convolution, layer norm", Convolutional, sequences, ALL),
    Case("batch norm, eval", lambda: BatchNormed().eval(), vectors, ALL),
    Case("attention, einsum", lambda: RawAttention(False), sequences, ("qkv", "out.weight", "out.bias")),
    Case("attention, fused", lambda: RawAttention(True), sequences, ("qkv", "out.weight", "out.bias")),
    Case("multi-head attention", lambda: MultiHead().eval(), sequences, ALL),
    Case("recurrent", Recurrent, sequences, ("out.weight", "out.bias"), warns=True),
    Case("buffers", Counting, vectors, ("fc.weight", "fc.bias")),
    Case("non-contiguous", non_contiguous, vectors, ("0.weight", "0.bias", "2.weight", "2.bias")),
    Case("tuple", TwoInputs, masked, ("fc.weight", "fc.bias")),
    Case("dict", TwoInputs, lambda n, s: dict(zip(("x", "mask"), masked(n, s), strict=True)), ("fc.weight", "fc.bias")),
    Case("unused and frozen", Unused, vectors),
    Case("branching", Branching, vectors, (), warns=True),
    Case("weight norm", weight_normed, vectors, ("0.bias", "2.weight", "2.bias")),
    Case("other forward", lambda: nn.Sequential(Doubled(3, 4), nn.Tanh(), nn.Linear(4, 2)), vectors),
    Case("no_grad region", NoGradRegion, vectors, ("body.weight", "body.bias", "head.weight", "head.bias")),
]


def build(case: Case, dtype: torch.dtype = DOUBLE) -> nn.Module:
    """The module of a case from a fixed seed, with buffers that are not at their starting values."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = case.build()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d):
                assert module.running_mean is not None and module.running_var is not None
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
    return model.to(dtype)


def cast(x, dtype: torch.dtype):
    """Floating inputs in another dtype, as fresh copies."""
    if isinstance(x, Tensor):
        return x.to(dtype, copy=True) if x.is_floating_point() else x.clone()
    if isinstance(x, dict):
        return {k: cast(v, dtype) for k, v in x.items()}
    return tuple(cast(t, dtype) for t in x)


def _row(model: nn.Module, x, n: int) -> Tensor:
    """Output (C,) of example n alone; inputs are copied, since a model may overwrite them."""
    if isinstance(x, Tensor):
        return model(x[n : n + 1].clone())[0]
    if isinstance(x, dict):
        return model(**{k: t[n : n + 1].clone() for k, t in x.items()})[0]
    return model(*[t[n : n + 1].clone() for t in x])[0]


def _size(x) -> int:
    tensors = [x] if isinstance(x, Tensor) else list(x.values()) if isinstance(x, dict) else list(x)
    return len(tensors[0])


def reference_gradients(model: nn.Module, x) -> dict[str, Tensor]:
    """Parameter name -> (N, C, P_i), one example and one output at a time."""
    names, params = zip(*[(k, p) for k, p in model.named_parameters() if p.requires_grad], strict=True)
    rows: dict[str, list[Tensor]] = {name: [] for name in names}
    for n in range(_size(x)):
        y = _row(model, x, n)
        for c in range(len(y)):
            grads = [None] * len(params)
            if y.requires_grad:
                grads = torch.autograd.grad(y[c], params, retain_graph=True, allow_unused=True)
            for name, p, g in zip(names, params, grads, strict=True):
                g = torch.zeros_like(p) if g is None else g.to_dense() if g.is_sparse else g
                rows[name].append(g.detach().reshape(-1))
    return {name: torch.stack(r).reshape(_size(x), -1, r[0].numel()) for name, r in rows.items()}


def reference(model: nn.Module, x1, x2=None) -> dict[str, Tensor]:
    """Parameter name -> (N1, N2, C, C), the full kernel, by the definition."""
    j1 = reference_gradients(model, x1)
    j2 = j1 if x2 is None else reference_gradients(model, x2)
    return {k: torch.einsum("ncp,mdp->nmcd", j1[k], j2[k]) for k in j1}


def reduced(full: Tensor, reduce) -> Tensor:
    """The reductions, from their definitions."""
    n1, n2, c, _ = full.shape
    if reduce == "full":
        return full
    if reduce == "flat":
        return torch.stack(
            [torch.stack([full[i // c, j // c, i % c, j % c] for j in range(n2 * c)]) for i in range(n1 * c)]
        )
    if reduce == "trace":
        return sum(full[:, :, a, a] for a in range(c))
    if reduce == "mean_logit":
        return full.mean((2, 3))
    return full[:, :, reduce[0], reduce[1]]


def assert_near(found: Tensor, expected: Tensor, rtol: float) -> None:
    """Relative to the largest entry; a failure prints index, both values and their ratio."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    gap = (found.double() - expected.double()).abs()
    if bool((gap <= rtol * expected.double().abs().max()).all()):
        return
    index = tuple(int(i) for i in torch.unravel_index(gap.argmax(), gap.shape))
    a, b = float(found[index]), float(expected[index])
    raise AssertionError(f"at {index}: found {a!r}, expected {b!r}, ratio {a / b if b else float('inf'):.6g}")
