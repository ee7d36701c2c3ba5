from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from entk_tutorial import empirical_ntk
from entk_tutorial.empirical import ModelError
from entk_tutorial.survey import readout


class Encoder(nn.Module):
    """Token vectors in an output object, as encoders return them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.mix = nn.Embedding(7, 4), nn.Linear(4, 5)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        return {"tokens": self.mix(self.embed(ids)), "other": ids.sum()}


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder().double()


IDS = torch.tensor([[1, 2, 0], [3, 4, 5], [6, 0, 0]])
MASK = (IDS != 0).long()


@pytest.mark.parametrize(
    ("pool", "expected"),
    [
        ("mean", lambda t: torch.stack([t[0, :2].mean(0), t[1].mean(0), t[2, 0]])),
        ("first", lambda t: t[:, 0]),
        ("last", lambda t: torch.stack([t[0, 1], t[1, 2], t[2, 0]])),
    ],
)
def test_pooling_leaves_padding_out(encoder, pool, expected):
    wrapped = readout(encoder, {"ids": IDS, "mask": MASK}, select="tokens", pool=pool, mask="mask")
    torch.testing.assert_close(wrapped(ids=IDS, mask=MASK), expected(encoder(IDS)["tokens"]))
    by_place = readout(encoder, (IDS, MASK), select="tokens", pool=pool, mask=1)
    torch.testing.assert_close(by_place(IDS, MASK), wrapped(ids=IDS, mask=MASK))


def test_without_a_mask_every_token_counts(encoder):
    tokens = encoder(IDS)["tokens"]
    torch.testing.assert_close(readout(encoder, IDS, select="tokens", pool="mean")(IDS), tokens.mean(1))
    torch.testing.assert_close(readout(encoder, IDS, select="tokens", pool="last")(IDS), tokens[:, -1])


def test_random_directions_estimate_the_trace_over_all_outputs(encoder):
    model = readout(encoder, IDS, select="tokens", pool="mean", normalise=True)
    full = empirical_ntk(model, IDS)
    drawn = torch.stack(
        [
            empirical_ntk(
                readout(encoder, IDS, select="tokens", pool="mean", normalise=True, directions=4, seed=s), IDS
            )
            for s in range(60)
        ]
    )
    error = (drawn.mean(0) - full).abs() / (drawn.std(0) / 60**0.5)
    assert float(error.max()) < 4  # unbiased: within standard errors
    assert float((drawn[0] - full).abs().max()) > 0


def test_given_directions_and_a_function_of_the_output(encoder):
    eye = torch.eye(5)[:, :2]
    wrapped = readout(encoder, IDS, select=lambda out: out["tokens"][:, 0], directions=eye)
    torch.testing.assert_close(wrapped(IDS), encoder(IDS)["tokens"][:, 0, :2])
    attribute = readout(nn.Linear(2, 3), torch.ones(4, 2), select="T")  # an attribute, where there are no keys
    assert attribute(torch.ones(3, 2)).shape == (3, 3)


def test_mode_and_parameters_are_those_of_the_model(encoder):
    assert readout(encoder.eval(), IDS, select="tokens", pool="mean").training is False
    assert readout(encoder.train(), IDS, select="tokens", pool="mean").training is True
    assert next(encoder.parameters()) is next(readout(encoder, IDS, select="tokens", pool="mean").parameters())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, r"returns a dict with \['tokens', 'other'\]; choose one"),
        ({"select": "nothing"}, "not in the output"),
        ({"select": "tokens"}, "a vector a token; how"),
        ({"select": "tokens", "pool": "mean", "mask": "attention_mask"}, "mask='attention_mask'"),
        ({"select": lambda out: out["tokens"][:, 0], "pool": "mean"}, "no token axis"),
        ({"select": "tokens", "pool": "mean", "directions": torch.ones(3, 2)}, r"\(5, A\) fits"),
    ],
)
def test_outputs_that_are_no_matrix_are_named_with_the_cure(encoder, options, reason):
    with pytest.raises(ModelError, match=reason):
        readout(encoder, IDS, **options)


def test_other_mistakes(encoder):
    with pytest.raises(ValueError, match="pool='max'"):
        readout(encoder, IDS, pool="max")
    with pytest.raises(ValueError, match="directions=0"):
        readout(encoder, IDS, select="tokens", pool="mean", directions=0)
    with pytest.raises(ModelError, match="single precision"):
        readout(encoder.half(), IDS, select="tokens", pool="mean")
    with pytest.raises(ModelError, match="cannot be called"):
        readout(nn.Linear(2, 3), torch.ones(4, 5))
    with pytest.raises(ModelError, match="returns a SimpleNamespace"):
        readout(_Object(), torch.ones(2, 2))


class _Object(nn.Module):
    def forward(self, x: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(value=x)
