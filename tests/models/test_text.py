from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from entk_tutorial.models import text

BUILDERS: dict[str, Any] = {
    "linear": partial(text.LinearText, pooling="mean"),
    "mlp": partial(text.MLPText, activation=lambda u: torch.cos(u), pooling="mean"),  # phi(0) = 1 at padding
    "mlp deep": partial(text.MLPText, depth=2),
    "mlp pooled": partial(text.MLPText, pool_first=True),
    "cnn": partial(text.CNNText, activation=torch.cos, pooling="mean"),
    "cnn pad token": partial(text.CNNText, window=3, padding=2, pad_token=1),
    "tied": text.AttentionText,
    "tied last": partial(text.AttentionText, query="last", scores="identity"),
    "uniform": partial(text.AttentionText, variant="uniform", pooling="mean"),
    "heads": partial(text.AttentionText, variant="heads", heads=3),
    "hadamard": text.HadamardText,
    "hadamard tied": partial(text.HadamardText, tied=True),
    "mv": text.MVText,
    "rnn additive": partial(text.RNNText, kind="additive", readout="last"),
    "rnn gated": text.RNNText,
    "matrix product": text.MatrixProductText,
    "matrix product residual": partial(text.MatrixProductText, residual=True),
}
TOKENS = torch.tensor([[0, 1, 2, -1], [3, 3, -1, -1], [2, 0, 1, 3]])


@pytest.mark.parametrize("name", list(BUILDERS))
def test_outputs_do_not_depend_on_padding_or_neighbours(name: str) -> None:
    model = BUILDERS[name](4, 16, seed=0)
    out = model(TOKENS)
    assert out.shape == (3, 1) and out.dtype == torch.float64
    torch.testing.assert_close(model(torch.nn.functional.pad(TOKENS, (0, 5), value=-1)), out)
    torch.testing.assert_close(model(TOKENS[1:2, :2]), out[1:2])
    torch.testing.assert_close(model(TOKENS.flip(0)), out.flip(0))


@pytest.mark.parametrize("name", list(BUILDERS))
def test_weights_come_from_the_seed_alone(name: str) -> None:
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one, two, other = (BUILDERS[name](4, 16, seed=s)(TOKENS) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.equal(one, two) and not torch.equal(one, other)


def test_raw_weights_are_standard_normal() -> None:
    model = text.MLPText(50, 200, seed=0, sigma_w=7.0)
    for p in model.parameters():
        assert float(p.detach().std()) == pytest.approx(1.0, abs=0.15)


def test_features_replace_one_hot_vectors() -> None:
    one_hot, dense = (text.CNNText(4, 16, seed=0, features=f)(TOKENS) for f in (None, torch.eye(4)))
    torch.testing.assert_close(one_hot, dense)
    assert text.LinearText(4, 16, features=torch.ones(4, 2)).E.shape == (2, 16)


def test_float32_for_training() -> None:
    model = text.MLPText(4, 16, features=torch.ones(4, 2), dtype=torch.float32)
    assert model(TOKENS).dtype == torch.float32


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: text.MLPText(4, 8, activation="swish"), "unknown activation 'swish'"),
        (lambda: text.LinearText(4, 8, pooling="max"), "unknown pooling 'max'; expected one of sum, mean"),
        (lambda: text.AttentionText(4, 8, variant="flash"), "unknown variant"),
        (lambda: text.AttentionText(4, 8, heads=2), "need variant='heads'"),
        (lambda: text.RNNText(4, 8, kind="lstm"), "unknown kind"),
        (lambda: text.MLPText(4, 8, depth=0), "depth = 0"),
        (lambda: text.LinearText(4, 0), "expected 1 or more"),
        (lambda: text.LinearText(4, 8, features=torch.ones(3, 2)), "one row a token"),
    ],
)
def test_mistakes_are_named(build: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
