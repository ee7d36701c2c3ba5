"""The Transformer against a slow one that computes every position, with its mask; shapes, seeds, refusals."""

import math

import pytest
import torch

from entk_tutorial.features import modular_pairs
from entk_tutorial.models.transformer import TENSORS, ModularTransformer, modular_tokens


def every_position(model: ModularTransformer, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
    """Causal attention and neurons at all three positions, head by head; logits of the last."""
    r = model.W_E[tokens] + model.W_pos
    mask = torch.ones(3, 3).tril().bool()
    heads, patterns = [], []
    for h in range(model.heads):
        rows = slice(h * model.d_head, (h + 1) * model.d_head)
        q, k, v = (r @ w[rows].T for w in (model.W_Q, model.W_K, model.W_V))
        scores = (q @ k.transpose(1, 2)) / math.sqrt(model.d_head)
        pattern = scores.masked_fill(~mask, -torch.inf).softmax(2)
        patterns.append(pattern[:, 2])
        heads.append(pattern @ v)
    middle = r + torch.cat(heads, 2) @ model.W_O.T
    neurons = (middle @ model.W_in.T).clamp(min=0)
    out = middle + neurons @ model.W_out.T
    return {
        "attention": torch.stack(patterns, 1),
        "after_attention": middle[:, 2],
        "neurons": neurons[:, 2],
        "residual": out[:, 2],
        "forward": (out @ model.W_U.T)[:, 2],
    }


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_the_last_position_alone_gives_what_all_positions_give(heads):
    model = ModularTransformer(7, d_model=8, heads=heads, d_mlp=12, seed=3).double()
    tokens = torch.randint(8, (40, 3), generator=torch.Generator().manual_seed(0))
    for name, expected in every_position(model, tokens).items():
        torch.testing.assert_close(getattr(model, name)(tokens), expected, rtol=1e-12, atol=1e-12)


def test_gradients_agree_too():
    model = ModularTransformer(5, d_model=8, heads=2, d_mlp=12, seed=1).double()
    tokens = modular_tokens(5)
    fast = torch.autograd.grad(model(tokens).square().sum(), list(model.parameters()))
    slow = torch.autograd.grad(every_position(model, tokens)["forward"].square().sum(), list(model.parameters()))
    for a, b in zip(fast, slow, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


def test_weights_have_their_shapes_and_scales():
    model = ModularTransformer(29)
    shapes = {name: tuple(w.shape) for name, w in model.named_parameters()}
    assert tuple(shapes) == TENSORS
    assert shapes == {
        "W_E": (30, 64), "W_pos": (3, 64), "W_Q": (64, 64), "W_K": (64, 64), "W_V": (64, 64), "W_O": (64, 64),
        "W_in": (256, 64), "W_out": (64, 256), "W_U": (30, 64),
    }  # fmt: skip
    for name, fan in (("W_E", 64), ("W_Q", 64), ("W_in", 256), ("W_out", 64), ("W_U", 30)):
        assert float(getattr(model, name).detach().std()) == pytest.approx(fan**-0.5, rel=0.05), name


def test_the_seed_decides_and_the_callers_generator_is_left():
    before = torch.get_rng_state()
    a, b, c = (ModularTransformer(5, d_model=8, heads=2, d_mlp=4, seed=s) for s in (0, 0, 1))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a.W_in, b.W_in) and not torch.equal(a.W_in, c.W_in)


def test_tokens_are_the_pairs_and_the_equals_sign():
    tokens = modular_tokens(5)
    assert torch.equal(tokens[:, :2], modular_pairs(5)) and bool((tokens[:, 2] == 5).all())


@pytest.mark.parametrize("wrong", [{"p": 8}, {"p": 5, "heads": 3}, {"p": 5, "d_mlp": 0}, {"p": 5, "heads": 0}], ids=str)
def test_sizes_that_make_no_network(wrong):
    with pytest.raises(ValueError):
        ModularTransformer(**{"d_model": 8, "heads": 2, "d_mlp": 4, **wrong})


def test_two_tokens_are_no_sentence():
    with pytest.raises(ValueError, match="n, m and '='"):
        ModularTransformer(5, d_model=8, heads=2, d_mlp=4)(modular_pairs(5))


def test_weights_of_another_width_are_refused():
    with pytest.raises(RuntimeError, match="size mismatch"):
        ModularTransformer(5, d_model=8, heads=2, d_mlp=4).load_state_dict(
            ModularTransformer(5, d_model=8, heads=2, d_mlp=6).state_dict()
        )
