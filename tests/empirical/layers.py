"""Layers and small networks of torch.nn, each with the parameters that must go the general way ("" for none)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

DOUBLE = torch.float64


class Made(nn.Module):
    """Modules and parameters by name, and a function of them and the input."""

    def __init__(self, function: Callable[..., Tensor], **parts: Any) -> None:
        super().__init__()
        for name, part in parts.items():
            if isinstance(part, nn.Parameter):
                self.register_parameter(name, part)
            else:
                self.add_module(name, part)
        self.function = function

    def forward(self, *x: Tensor) -> Tensor:
        return self.function(self, *x)


def param(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape) / 2)


def _draw(shape: tuple[int, ...], seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def images(n: int, seed: int) -> Tensor:
    return _draw((n, 4, 6, 6), seed)


def tokens(n: int, seed: int) -> Tensor:
    return _draw((n, 5, 4), seed)


def words(n: int, seed: int) -> Tensor:
    return torch.randint(7, (n, 5), generator=torch.Generator().manual_seed(seed))


def _on_images(layer: nn.Module, channels: int = 4) -> nn.Module:
    return Made(lambda m, x: m.out(m.layer(x).tanh().flatten(2).mean(2)), layer=layer, out=nn.Linear(channels, 2))


def _on_tokens(layer: nn.Module, width: int = 4) -> nn.Module:
    return Made(lambda m, x: m.out(m.layer(x).tanh()).mean(1), layer=layer, out=nn.Linear(width, 2))


def _conv(*args: Any, **settings: Any) -> Callable[[], nn.Module]:
    return lambda: _on_images(nn.Conv2d(4, 6, *args, **settings), 6)


def _attention(call: Callable[..., Tensor] | None = None, **settings: Any) -> Callable[[], nn.Module]:
    own = call or (lambda m, x: m.layer(x, x, x)[0])
    settings = {"batch_first": True} | settings
    return lambda: Made(
        lambda m, x: m.out(own(m, x)).mean(1), layer=nn.MultiheadAttention(4, 2, **settings), out=nn.Linear(4, 2)
    )


def _time_first(m: nn.Module, x: Tensor) -> Tensor:
    x = x.transpose(0, 1)
    return m.layer(x, x, x)[0].transpose(0, 1)


def _masked(m: nn.Module, x: Tensor) -> Tensor:
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    padding = torch.cat([torch.zeros_like(x[:, :4, 0], dtype=torch.bool), x[:, :1, 0] > 0], 1)
    return m.layer(x, x, x, attn_mask=causal, key_padding_mask=padding)[0]


def _block(**settings: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, **settings)


def _encode_padded(m: nn.Module, x: Tensor) -> Tensor:
    padding = torch.cat([torch.zeros_like(x[:, :4, 0], dtype=torch.bool), x[:, :1, 0] > 0], 1)
    return m.out(m.layer(x, src_key_padding_mask=padding))[:, 0]


def _bag(**settings: Any) -> Callable[[], nn.Module]:
    return lambda: Made(lambda m, x: m.out(m.bag(x).tanh()), bag=nn.EmbeddingBag(7, 4, **settings), out=nn.Linear(4, 2))


def _recurrent(layer: nn.Module, width: int) -> nn.Module:
    return Made(lambda m, x: m.out(m.layer(x)[0][:, -1]), layer=layer, out=nn.Linear(width, 2))


def _cell(m: nn.Module, x: Tensor) -> Tensor:
    h = x.new_zeros(len(x), 4)
    for t in range(3):
        h = m.layer(x[:, t], h)
    return m.out(h)


def _patches(m: nn.Module, x: Tensor) -> Tensor:
    h = m.patch(x).flatten(2).mT
    h = torch.cat([m.cls.expand(len(x), -1, -1), h], 1) + m.place
    return m.out(m.norm(m.block(h))[:, 0])


def _mixer(m: nn.Module, x: Tensor) -> Tensor:
    h = x + m.t2(m.t1(m.n1(x).mT).relu()).mT
    return m.out((h + m.c2(m.c1(m.n2(h)).relu())).mean(1))


def _residual(m: nn.Module, x: Tensor) -> Tensor:
    h = m.b1(m.c1(x)).relu_()
    short = m.short(h)
    h = m.b2(m.c2(h))
    h += short
    return m.out(F.adaptive_avg_pool2d(h.relu_(), 1).flatten(1))


def _characters(m: nn.Module, x: Tensor) -> Tensor:
    e = m.embed(x).mT
    return m.out(torch.cat([F.max_pool1d(h, h.shape[2]).squeeze(2) for h in (m.one(e).tanh(), m.two(e).tanh())], 1))


def _tied_decoder(m: nn.Module, x: Tensor) -> Tensor:
    h = m.embed(x) + m.place(torch.arange(x.shape[1]))
    h = m.block(h, src_mask=nn.Transformer.generate_square_subsequent_mask(5).to(h), is_causal=True)
    return F.linear(m.norm(h)[:, -1], m.embed.weight)


def _windows(m: nn.Module, x: Tensor) -> Tensor:
    """Attention with a table of relative positions and a learned temperature."""
    q, k, v = m.qkv(x).unflatten(-1, (3, 2, 2)).permute(2, 0, 3, 1, 4)
    apart = torch.arange(5)[:, None] - torch.arange(5)[None] + 4
    bias = m.table[apart.view(-1)].view(5, 5, 2).permute(2, 0, 1).contiguous()
    scores = (q @ k.mT * m.scale + bias.unsqueeze(0)).softmax(-1)
    return m.out((scores @ v).transpose(1, 2).flatten(2)).mean(1)


def _minus_one(m: nn.Module, x: Tensor) -> Tensor:
    x = torch.where(x == 6, -1, x)
    seen = (x >= 0).unsqueeze(-1)
    return m.out((m.embed(x.clamp(min=0)) * seen).tanh().sum(1))


def _elementwise(m: nn.Module, x: Tensor) -> Tensor:
    h = (x / (m.a.abs().detach() + 1 + m.a)).sin() - torch.where(x > 0, m.b, x) + torch.lerp(x, m.c, 0.3)
    h += m.d
    return m.out(torch.maximum(h, m.e) * m.s).mean(1)


LSTM = " ".join(f"layer.{name}_l{end}" for end in ("0", "0_reverse") for name in
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))  # fmt: skip
GATES = "layer.weight_ih layer.weight_hh layer.bias_ih layer.bias_hh"

# name: (module, inputs, parameters that go the general way)
LAYERS: dict[str, tuple[Callable[[], nn.Module], Callable[[int, int], Tensor], str]] = {
    "conv": (_conv(3), images, ""),
    "conv, no bias": (_conv(3, bias=False), images, ""),
    "conv, stride and padding": (_conv(3, stride=2, padding=1), images, ""),
    "conv, oblong": (_conv((3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2)), images, ""),
    "conv, same": (_conv((3, 4), padding="same", dilation=(1, 2)), images, ""),
    "conv, valid": (_conv(3, padding="valid"), images, ""),
    "conv, reflect": (_conv(3, padding=1, padding_mode="reflect"), images, ""),
    "conv, circular": (_conv(3, padding=1, padding_mode="circular"), images, ""),
    "conv, replicate": (_conv(3, padding=(0, 1), padding_mode="replicate"), images, ""),
    "conv, groups": (_conv(3, groups=2), images, ""),
    "conv, depthwise": (
        lambda: Made(
            lambda m, x: m.out(m.layer(x.repeat(1, 3, 1, 1)).tanh().flatten(2).mean(2)),
            layer=nn.Conv2d(12, 24, 3, groups=12), out=nn.Linear(24, 2),
        ), images, "",
    ),
    "conv, frames in the batch": (
        lambda: Made(
            lambda m, x: m.out(m.layer(x.reshape(-1, 2, 6, 6)).tanh().flatten(2).mean(2).unflatten(0, (-1, 2)).sum(1)),
            layer=nn.Conv2d(2, 4, 3), out=nn.Linear(4, 2),
        ), images, "",
    ),
    "conv1d": (
        lambda: Made(lambda m, x: m.out(m.layer(x.mT).tanh().mean(2)),
                     layer=nn.Conv1d(4, 6, 3, padding=2, stride=2, dilation=2), out=nn.Linear(6, 2)), tokens, "",
    ),
    "conv3d": (lambda: Made(lambda m, x: m.out(m.layer(x.unflatten(1, (2, 2))).tanh().flatten(2).mean(2)),
                            layer=nn.Conv3d(2, 4, 2), out=nn.Linear(4, 2)), images, ""),
    "transposed conv": (
        lambda: _on_images(nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1), 6), images, "",
    ),
    "transposed conv, groups": (
        lambda: _on_images(nn.ConvTranspose2d(4, 6, (3, 2), stride=(1, 2), dilation=(2, 1), groups=2), 6), images, "",
    ),
    "layer norm": (lambda: _on_tokens(nn.LayerNorm(4)), tokens, ""),
    "layer norm, two axes": (lambda: _on_tokens(nn.LayerNorm((5, 4), bias=False)), tokens, ""),
    "rms norm": (lambda: _on_tokens(nn.RMSNorm(4)), tokens, ""),
    "group norm": (lambda: _on_images(nn.GroupNorm(2, 4)), images, ""),
    "instance norm": (lambda: _on_images(nn.InstanceNorm2d(4, affine=True)), images, ""),
    "batch norm, eval": (lambda: _on_images(nn.BatchNorm2d(4)).eval(), images, ""),
    "prelu": (lambda: _on_images(nn.PReLU(4)), images, ""),
    "prelu, one slope": (lambda: _on_tokens(nn.PReLU()), tokens, ""),
    "bilinear": (lambda: Made(lambda m, x: m.layer(x, x.sin()).tanh().mean(1), layer=nn.Bilinear(4, 4, 2)), tokens, ""),
    "attention": (_attention(), tokens, ""),
    "attention, eval": (lambda: _attention()().eval(), tokens, ""),
    "attention, no weights": (_attention(lambda m, x: m.layer(x, x, x, need_weights=False)[0]), tokens, ""),
    "attention, time first": (_attention(_time_first, batch_first=False), tokens, ""),
    "attention, bias_k and bias_v": (_attention(add_bias_kv=True), tokens, ""),
    "attention, zero attn": (_attention(add_bias_kv=True, add_zero_attn=True, bias=False), tokens, ""),
    "attention, kdim and vdim": (
        _attention(lambda m, x: m.layer(x, x[..., :2], x[..., 1:])[0], kdim=2, vdim=3), tokens, "",
    ),
    "attention, other keys": (_attention(lambda m, x: m.layer(x[:, :2], x, x)[0]), tokens, ""),
    "attention, masks": (_attention(_masked), tokens, ""),
    "attention, learned queries": (
        lambda: Made(lambda m, x: m.out(m.layer(m.q.repeat(len(x), 1, 1), x, x)[0]).mean(1), q=param(1, 3, 4),
                     layer=nn.MultiheadAttention(4, 2, batch_first=True), out=nn.Linear(4, 2)), tokens, "",
    ),
    "fused attention, learned queries": (
        lambda: Made(lambda m, x: m.out(F.scaled_dot_product_attention(m.q, x, x)).mean(1), q=param(1, 3, 4),
                     out=nn.Linear(4, 2)), tokens, "q",
    ),
    "relative positions": (
        lambda: Made(_windows, qkv=nn.Linear(4, 12), table=param(9, 2), scale=param(2, 1, 1), out=nn.Linear(4, 2)),
        tokens, "",
    ),
    "encoder layer": (lambda: _on_tokens(_block()).eval(), tokens, ""),
    "encoder layer, norm first": (lambda: _on_tokens(_block(norm_first=True, activation="gelu")).eval(), tokens, ""),
    "encoder, padding": (
        lambda: Made(_encode_padded, layer=nn.TransformerEncoder(_block(), 2), out=nn.Linear(4, 2)).eval(), tokens, "",
    ),
    "decoder layer": (
        lambda: Made(lambda m, x: m.out(m.layer(x[:, :2], x)).mean(1), out=nn.Linear(4, 2),
                     layer=nn.TransformerDecoderLayer(4, 2, 6, batch_first=True)).eval(), tokens, "",
    ),
    "embedding bag, sum": (_bag(mode="sum"), words, ""),
    "embedding bag, mean, padding": (_bag(mode="mean", padding_idx=-1), words, ""),
    "embedding bag, max": (_bag(mode="max"), words, "bag.weight"),
    "minus one as padding": (lambda: Made(_minus_one, embed=nn.Embedding(7, 4), out=nn.Linear(4, 2)), words, ""),
    "RNN": (lambda: _recurrent(nn.RNN(4, 3, batch_first=True), 3), tokens, " ".join(LSTM.split()[:4])),
    "GRU": (lambda: _recurrent(nn.GRU(4, 3, batch_first=True), 3), tokens, " ".join(LSTM.split()[:4])),
    "LSTM": (lambda: _recurrent(nn.LSTM(4, 3, batch_first=True, bidirectional=True), 6), tokens, LSTM),
    "GRU cell": (lambda: Made(_cell, layer=nn.GRUCell(4, 4), out=nn.Linear(4, 2)), tokens, GATES),
    "weight norm": (lambda: _on_tokens(weight_norm(nn.Linear(4, 4))), tokens,
                    "layer.parametrizations.weight.original0 layer.parametrizations.weight.original1"),
    "spectral norm": (lambda: _on_tokens(spectral_norm(nn.Linear(4, 4))).eval(), tokens,
                      "layer.parametrizations.weight.original"),
    "elementwise": (
        lambda: Made(_elementwise, a=param(4), b=param(4), c=param(5, 1), d=param(4), e=param(5, 4), s=param(),
                     out=nn.Linear(4, 2)), tokens, "a",
    ),
    "low-rank update": (
        lambda: Made(lambda m, x: m.out(m.layer(x) + x @ m.a @ m.b / 3).mean(1), layer=nn.Linear(4, 4), a=param(4, 2),
                     b=param(2, 4), out=nn.Linear(4, 2)), tokens, "",
    ),
    "addmm": (
        lambda: Made(lambda m, x: m.out(torch.addmm(m.b, x.reshape(-1, 4), m.w).view(-1, 5, 4).tanh()).mean(1),
                     b=param(4), w=param(4, 4), out=nn.Linear(4, 2)), tokens, "",
    ),
    "vision transformer": (
        lambda: Made(_patches, patch=nn.Conv2d(4, 4, 3, stride=3), cls=param(1, 1, 4), place=param(1, 5, 4),
                     block=_block(norm_first=True), norm=nn.LayerNorm(4), out=nn.Linear(4, 2)).eval(), images, "",
    ),
    "mixer": (
        lambda: Made(_mixer, n1=nn.LayerNorm(4), n2=nn.LayerNorm(4), t1=nn.Linear(5, 6), t2=nn.Linear(6, 5),
                     c1=nn.Linear(4, 6), c2=nn.Linear(6, 4), out=nn.Linear(4, 2)), tokens, "",
    ),
    "residual network": (
        lambda: Made(_residual, c1=nn.Conv2d(4, 4, 3, padding=1, bias=False), b1=nn.BatchNorm2d(4),
                     short=nn.Conv2d(4, 6, 1, 2, bias=False), c2=nn.Conv2d(4, 6, 3, 2, 1, bias=False),
                     b2=nn.BatchNorm2d(6), out=nn.Linear(6, 2)).eval(), images, "",
    ),
    "character network": (
        lambda: Made(_characters, embed=nn.Embedding(7, 4, padding_idx=0), one=nn.Conv1d(4, 3, 1),
                     two=nn.Conv1d(4, 3, 2), out=nn.Linear(6, 2)), words, "",
    ),
    "decoder, tied": (
        lambda: Made(_tied_decoder, embed=nn.Embedding(7, 4), place=nn.Embedding(5, 4), block=_block(norm_first=True),
                     norm=nn.LayerNorm(4)).eval(), words, "",
    ),
}  # fmt: skip


def made(name: str) -> nn.Module:
    """The module of a row from a fixed seed, affine parameters and statistics not at their starting values."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = LAYERS[name][0]()
        for part in model.modules():
            if isinstance(part, nn.modules.batchnorm._NormBase) and part.running_mean is not None:
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2.0)
        for p in model.parameters():
            if p.ndim == 1:
                p.data += torch.randn_like(p) / 3
    return model.double()
