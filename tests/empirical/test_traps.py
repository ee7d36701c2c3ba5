"""Traps that other libraries fall into, and attempts to make the engine give a wrong number, by name."""

import warnings

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import nn
from torch.utils.checkpoint import checkpoint

from entk_tutorial.empirical import FallbackWarning, ModelError, empirical_ntk, jacobian, plan

from .cases import assert_near, cast, reference
from .layers import DOUBLE, Made, param, tokens, words


def vectors(n, seed):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def linear(a=4, b=4):
    return nn.Linear(a, b)


def _layer(function, **parts):
    return lambda: Made(function, layer=linear(), out=linear(4, 2), **parts)


def _head(function, **parts):
    return lambda: Made(lambda m, x: m.out(function(m, x)), out=linear(4, 2), **parts)


class _Square(torch.autograd.Function):
    """x @ w^2, of whose use of w no watcher sees anything."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return x @ w**2

    @staticmethod
    def backward(ctx, g):
        x, w = ctx.saved_tensors
        return g @ (w**2).T, 2 * w * (x.T @ g)


def _sine(x: torch.Tensor, w: torch.Tensor):
    return torch.sin(x @ w)


with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    _scripted = torch.jit.script(_sine)


def _hooked():
    model = Made(lambda m, x: m.out(m.layer(x).tanh()), layer=linear(), out=linear(4, 2))
    model.layer.register_forward_hook(lambda layer, args, out: out * 2 + layer.weight.sum())
    model.out.register_forward_pre_hook(lambda layer, args: (args[0].sin(),))
    return model


def _overwritten(m, x):
    w = m.w.clone()
    w[0] = 0
    return x @ w


def _scaled_copy(m, x):
    w = m.w.clone()
    w *= 3
    return (x @ w).tanh()


def _added_to_a_view(m, x):
    w = m.w * 1.0
    w[:2] += m.b
    return (x @ w).tanh()


def _in_place(m, x):
    h = m.layer(x.relu_())
    h.mul_(m.s).add_(m.b).relu_()
    return m.out(h).sub_(1.0)


def _experts(m, x):
    chosen = m.gate(x).softmax(-1)
    which, out = chosen.argmax(-1), torch.zeros_like(x)
    for e, expert in enumerate((m.one, m.two)):
        mine = which == e
        out[mine] = expert(x[mine]) * chosen[mine, e : e + 1]
    return out


def _soft_experts(m, x):
    chosen = m.gate(x).softmax(-1)
    open_ = F.one_hot(chosen.argmax(-1), 2).to(x) * chosen
    return sum(open_[:, e : e + 1] * expert(x) for e, expert in enumerate((m.one, m.two)))


def _inner_gradient(m, x):
    with torch.enable_grad():
        z = x.detach().clone().requires_grad_()
        return torch.autograd.grad((z @ m.w).tanh().sum(), z, create_graph=True)[0]


def _two_names():
    model = Made(lambda m, x: m.out(m.again(m.layer(x).tanh()).tanh()), layer=linear(), out=linear(4, 2))
    model.again = model.layer
    return model


def _frozen():
    model = Made(lambda m, x: m.out(m.layer(x).tanh()), layer=linear(), out=linear(4, 2))
    model.layer.requires_grad_(False)
    return model


def _non_contiguous():
    model = Made(lambda m, x: m.out(m.layer(x).tanh()), layer=linear(), out=linear(4, 2))
    model.layer.weight = nn.Parameter(torch.randn(4, 4, dtype=DOUBLE).T)
    return model


def _buffered():
    model = nn.Sequential(linear(), nn.BatchNorm1d(4), nn.Tanh(), linear(4, 2)).eval()
    model[1].running_var.fill_(2.0)
    return model


def _tied():
    return Made(lambda m, x: F.linear(m.layer(m.e(x)).tanh().mean(1), m.e.weight), e=nn.Embedding(7, 4), layer=linear())


def _checkpointed(reentrant):
    def forward(m, x):
        return m.out(checkpoint(lambda z: m.two(m.one(z).tanh()).tanh(), m.layer(x), use_reentrant=reentrant))

    return lambda: Made(forward, layer=linear(), one=linear(), two=linear(), out=linear(4, 2))


def _minus(m, x):
    mask = (x >= 0).unsqueeze(-1)
    return m.out((m.e(x.clamp(min=0)) * mask).sum(1))


# name: (model, inputs, parameters that go the general way)
TRAPS = {
    "layer applied twice": (_layer(lambda m, x: m.out(m.layer(m.layer(x).tanh()).tanh())), vectors, ""),
    "module under two names": (_two_names, vectors, ""),
    "integer input": (
        lambda: Made(lambda m, x: m.out(m.e(x.int())).tanh().sum(1), e=nn.Embedding(7, 4), out=linear(4, 2)), words, "",
    ),
    "one-hot input": (_head(lambda m, x: (F.one_hot(x, 7).to(m.w) @ m.w).tanh().sum(1), w=param(7, 4)), words, ""),
    "padding by -1": (lambda: Made(_minus, e=nn.Embedding(7, 4), out=linear(4, 2)),
                      lambda n, s: words(n, s) - 1, ""),
    "tied embedding and unembedding": (_tied, words, ""),
    "tied, transposed": (_layer(lambda m, x: m.out(m.layer(x).tanh() @ m.layer.weight)), vectors, ""),
    "tied convolution": (
        lambda: Made(lambda m, x: m.out(F.conv_transpose1d(m.c(x.mT).tanh(), m.c.weight).mT).mean(1),
                     c=nn.Conv1d(4, 3, 2), out=linear(4, 2)), tokens, "",
    ),
    "convolution and by hand": (
        lambda: Made(lambda m, x: m.out((m.c(x.mT).mT + F.linear(x, m.c.weight[:, :, 0])).tanh()).mean(1),
                     c=nn.Conv1d(4, 4, 1), out=linear(4, 2)), tokens, "",
    ),
    "linear and by hand": (
        _layer(lambda m, x: m.out((m.layer(x).tanh() * m.layer.weight[0]) @ m.layer.weight)), vectors, "",
    ),
    "norm used twice": (
        lambda: Made(lambda m, x: m.out(m.norm(m.norm(x).sin() * m.norm.weight)).mean(1), norm=nn.LayerNorm(4),
                     out=linear(4, 2)), tokens, "",
    ),
    "in-place operations": (_layer(_in_place, s=param(4), b=param(4)), vectors, ""),
    "fused attention": (
        lambda: Made(lambda m, x: m.out(F.scaled_dot_product_attention(*m.qkv(x).chunk(3, -1), is_causal=True))[:, -1],
                     qkv=linear(4, 12), out=linear(4, 2)), tokens, "",
    ),
    "functions with buffers": (_buffered, vectors, ""),
    "non-contiguous weight": (_non_contiguous, vectors, ""),
    "frozen parameters": (_frozen, vectors, ""),
    "expanded input": (_layer(lambda m, x: m.out(m.layer(x).tanh()).mean(1)),
                       lambda n, s: vectors(n, s)[:, None].expand(n, 3, 4), ""),
    "equal examples": (_layer(lambda m, x: m.out(m.layer(x).tanh())), lambda n, s: vectors(1, s).expand(n, 4), ""),
    "returns a view": (_layer(lambda m, x: m.layer(x)[:, ::3].T.contiguous().T), vectors, ""),
    "returns one output expanded": (_layer(lambda m, x: m.out(m.layer(x))[:, :1].expand(-1, 3)), vectors, ""),
    "returns a parameter": (lambda: Made(lambda m, x: m.b.expand(len(x), 2), b=param(2)), vectors, ""),
    "parameter times zero": (_layer(lambda m, x: m.out(m.layer(x)) * 0), vectors, ""),
    "dead units": (_layer(lambda m, x: m.out((m.layer(x) - 100).relu())), vectors, ""),
    "under no_grad": (_layer(lambda m, x: m.out(m.layer(x) / m.layer.weight.detach().norm())), vectors, ""),
    # Computed again without the taps, with the same saved tensors, since the parameters ask for gradients both times.
    "checkpointed": (_checkpointed(False), vectors, ""),
    "copy overwritten": (_head(_overwritten, w=param(4, 4)), vectors, "w"),
    "copy scaled in place": (_head(_scaled_copy, w=param(4, 4)), vectors, "w"),
    "view added to": (_head(_added_to_a_view, w=param(4, 4), b=param(4)), vectors, "w b"),
    "forward hooks": (_hooked, vectors, "layer.weight"),
    "own autograd function": (
        _head(lambda m, x: (_Square.apply(x, m.w) + x @ m.w).tanh(), w=param(4, 4)), vectors, "w",
    ),
    "scripted": (_head(lambda m, x: _scripted(x, m.w) + x @ m.w, w=param(4, 4)), vectors, "w"),
    "rows scrambled": (
        _layer(lambda m, x: m.out(m.layer(x.reshape(5, -1, 4)).tanh().reshape(-1, 5, 4)).mean(1)), tokens,
        "layer.weight layer.bias",
    ),
    "batch folded, slowest": (
        _head(lambda m, x: (x.reshape(-1, 4) @ m.w).tanh().view(-1, 5, 4).sum(1), w=param(4, 4)), tokens, "",
    ),
    "batch folded, fastest": (
        _head(lambda m, x: (x.transpose(0, 1).reshape(-1, 4) @ m.w).tanh().view(5, -1, 4).sum(0), w=param(4, 4)),
        tokens, "",
    ),
    "places repeated for each example": (
        _head(lambda m, x: (x.reshape(-1, 4) + m.t.repeat(len(x), 1)).tanh().view(-1, 5, 4).sum(1), t=param(5, 4)),
        tokens, "",
    ),
    "weight expanded for each example": (
        _head(lambda m, x: torch.bmm(x, m.w.unsqueeze(0).expand(len(x), -1, -1)).tanh().mean(1), w=param(4, 4)),
        tokens, "",
    ),
    "examples as channels": (
        _head(lambda m, x: F.conv1d(x.reshape(1, -1, 4), m.w.repeat(len(x) * 5, 1, 1), groups=len(x) * 5,
                                    padding=1).reshape(-1, 5, 4).tanh().mean(1), w=param(1, 1, 3)), tokens, "",
    ),
    "weights joined": (
        _head(lambda m, x: (x @ torch.cat([m.a, m.b])).tanh(), a=param(1, 4), b=param(3, 4)), vectors, "a b",
    ),
    "softmax of a weight": (_head(lambda m, x: (x @ m.w.softmax(0)).tanh(), w=param(4, 4)), vectors, "w"),
    "sign of a weight": (_head(lambda m, x: (x * (m.w > 0) + m.w).tanh(), w=param(4)), vectors, ""),
    "weight from the left": (_head(lambda m, x: F.linear(m.w, x).T.tanh(), w=param(4, 4)), vectors, "w"),
    "distances": (_head(lambda m, x: (-torch.cdist(x, m.w)).exp(), w=param(4, 4)), vectors, "w"),
    "vmap inside": (_layer(lambda m, x: torch.func.vmap(lambda r: m.out((m.layer.weight @ r).tanh()))(x)), vectors,
                    "layer.weight out.weight out.bias"),
    "gradient inside": (_head(_inner_gradient, w=param(4, 4)), vectors, "w"),
    "complex": (
        _head(lambda m, x: (x.to(torch.complex128) @ torch.complex(m.a, m.b)).abs(), a=param(4, 4), b=param(4, 4)),
        vectors, "a b",
    ),
    "Fourier transform": (
        _head(lambda m, x: torch.fft.irfft(torch.fft.rfft(x) * torch.view_as_complex(m.w), n=4), w=param(3, 2)),
        vectors, "w",
    ),
    "experts, routed": (
        _head(_experts, gate=linear(4, 2), one=linear(), two=linear()), vectors,
        "one.weight one.bias two.weight two.bias",
    ),
    "experts, all run": (_head(_soft_experts, gate=linear(4, 2), one=linear(), two=linear()), vectors, ""),
}  # fmt: skip


def made(name):
    """The model with weights of its own seed: some parts were made when this file was read, after who knows what."""
    model, generator = TRAPS[name][0]().double(), torch.Generator().manual_seed(6)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=DOUBLE) / 2)
    return model


def both(model, x, other):
    """The kernel and the definition, for two sets of inputs."""
    truth = sum(reference(model, cast(x, DOUBLE), cast(other, DOUBLE)).values())
    return empirical_ntk(model, x, other, reduce="full"), truth


@pytest.fixture
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        yield


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("name", TRAPS)
def test_no_trap_gives_a_wrong_number(name):
    model, x, other = made(name), TRAPS[name][1](11, 0), TRAPS[name][1](3, 1)
    found, truth = both(model, x, other)
    assert_near(found, truth, 1e-10)
    assert " ".join(plan(model, x).general) == TRAPS[name][2]


def test_zero_dimensional_outputs_are_refused():
    for function in (lambda m, x: m.out(x).sum(), lambda m, x: m.out(x).sum(1)):
        with pytest.raises(ModelError, match=r"\(N, C\) with C >= 1 is expected"):
            empirical_ntk(Made(function, out=linear(4, 2)).double(), vectors(3, 0))


def test_reentrant_checkpoints_are_refused_or_right():
    """torch itself forbids autograd.grad through them; nothing else may come out."""
    model = made("checkpointed")
    model.function = _checkpointed(True)().function
    x = vectors(3, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises((ModelError, RuntimeError), match=r"use_reentrant=False|[Cc]heckpoint"):
            empirical_ntk(model, x)


def test_autocast_around_the_kernel_is_off():
    model, x = made("layer applied twice"), vectors(5, 0)
    expected = empirical_ntk(model, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for k in (empirical_ntk(model, x), empirical_ntk(model.float(), x.float())):
            assert_near(k, expected, 1e-6)


def test_attention_keeps_its_fast_path_for_the_caller():
    model = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True).double().eval()
    wrapped = Made(lambda m, x: m.layer(x)[:, 0], layer=model)
    before = torch.backends.mha.get_fastpath_enabled()
    empirical_ntk(wrapped, tokens(3, 0))
    assert torch.backends.mha.get_fastpath_enabled() == before


def _rarely(m, x):
    """A second use of w that no watcher sees, and that only few examples have."""
    h = x @ m.w
    return m.out(torch.where((x.abs() > 9).any(1, keepdim=True), h + _scripted(x, m.w), h))


def _by_rank(m, x):
    """Puts the batch in order and back by products with a permutation: no index, no sort."""
    rank = (x[:, :1] > x[:, 0]).sum(1)
    order = (rank[:, None] == torch.arange(len(x))).to(x).T
    return order.T @ m.out((order @ x @ m.w).tanh())


@pytest.mark.parametrize("forward", [_rarely, _by_rank])
def test_what_the_probed_examples_do_not_show_is_seen_in_the_tile(forward):
    torch.manual_seed(0)
    model = Made(forward, w=param(4, 4), out=linear(4, 2)).double()
    x = vectors(20, 0).clamp(-2, 2)
    x[:, 0] = torch.arange(20)
    x[:, 0] -= 7 * (torch.arange(20) == 4)  # the probe is in order, and so small that nothing is rare
    x[:, 0] /= 3
    x[1, 1] = 10.0
    with pytest.warns(FallbackWarning, match="rule does not apply"):
        found = empirical_ntk(model, x, reduce="full")
    assert_near(found, sum(reference(model, x).values()), 1e-10)


def test_a_wrong_gradient_of_vmap_is_found_and_named():
    model, x = made("distances"), vectors(30, 0)
    with pytest.warns(FallbackWarning, match="wrong gradient of 'w': found by a plain backward pass"):
        j = jacobian(model, x, by="parameter")["w"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        truth = reference(model, x)["w"]
    assert_near(torch.einsum("ncp,mdp->nmcd", j, j), truth, 1e-10)


def _attend(m, x):
    """Attention whose keys have a bias: softmax takes it away, so its gradient is zero but for rounding."""
    q, k, v = m.q(x), m.k(x), m.v(x)
    y = ((q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v).mean(1)
    return m.out(y / y.norm(dim=1, keepdim=True))


def test_a_gradient_that_is_zero_but_for_rounding_needs_no_fallback():
    torch.manual_seed(0)
    parts = {name: nn.Linear(48, 48) for name in ("q", "k", "v")}
    model = Made(_attend, **parts, out=nn.Linear(48, 3))
    x = torch.randn(24, 9, 48, generator=torch.Generator().manual_seed(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        kernels = empirical_ntk(model, x, by="parameter")
        jacobian(model, x)
    assert "k.bias" in plan(model, x).structured
    assert float(kernels["k.bias"].abs().max()) < 1e-8 * float(kernels["v.bias"].abs().max())


FALLBACKS = {
    "a Python branch": (lambda m, x: m.out(x @ m.w.cos() if x.sum() > 0 else x), r"reads a value|branches in Python"),
    "own autograd function": (lambda m, x: m.out(_Square.apply(x, m.w)), "setup_context"),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_a_fallback_names_its_cause_and_cure(name):
    forward, words_ = FALLBACKS[name]
    model = Made(forward, w=param(4, 4), out=linear(4, 2)).double()
    with pytest.warns(FallbackWarning, match=words_):
        jacobian(model, vectors(2, 0).abs())


def test_an_infinite_derivative_names_its_examples():
    model = Made(lambda m, x: m.out(x @ m.w).abs().sqrt(), w=param(4, 4), out=nn.Linear(4, 2, bias=False)).double()
    x = vectors(20, 0)
    x[[3, 17]] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        with pytest.raises(ModelError, match=r"examples 3, 17 of x1: .*sqrt of 0\?.*Leave these examples out"):
            empirical_ntk(model, x)
        with pytest.raises(ModelError, match="examples 0, 2 of x2"):
            empirical_ntk(model, x[4:9], x[[3, 4, 17]], reduce="flat")
