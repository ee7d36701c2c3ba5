from __future__ import annotations

import pytest
import torch

from entk_tutorial.experiments import language_bias
from entk_tutorial.experiments.language_bias import ACTIVATIONS, Config, known_prior
from entk_tutorial.models.text_base import activation_function

SHORT = Config(
    vocabulary=80,
    unseen=8,
    length=8,
    d_model=16,
    width=64,
    record=(5, 30),
    lr=1e-2,
    mlp=(1, 20),
    conditions=("no_positions", "prior_given"),
)


@pytest.fixture(scope="module")
def result() -> language_bias.Result:
    return language_bias.run(SHORT, seeds=[50])


def test_relu_knows_the_prior_of_words_never_seen_and_tanh_does_not(result: language_bias.Result) -> None:
    assert result.mean("mlp_relu_limit") > result.mean("mlp_gelu_limit") > 0.1
    assert result.mean("mlp_tanh_limit") == pytest.approx(0.0, abs=1e-12)
    assert result.mean("mlp_relu_64") == pytest.approx(result.mean("mlp_relu_limit"), abs=0.2)
    assert abs(result.mean("mlp_tanh_64")) < 0.1


def test_at_the_papers_scale_gelu_does_as_tanh(result: language_bias.Result) -> None:
    assert result.mean("mlp_gelu_paper_limit") < 0.01
    # ReLU is homogeneous: with all raw scales equal, the ratio is that of scales 1.
    assert result.mean("mlp_relu_paper_limit") == pytest.approx(result.mean("mlp_relu_limit"), abs=1e-6)


def test_taking_the_mean_off_takes_the_prior_away(result: language_bias.Result) -> None:
    prior = {a: result.mean(f"no_positions_{a}_prior_30") for a in ("relu", "relu_centred", "tanh")}
    assert prior["relu"] > 0.2 + max(prior["relu_centred"], prior["tanh"])


def test_with_the_prior_given_the_mean_gains_little(result: language_bias.Result) -> None:
    gain = result.mean("no_positions_relu_minus_relu_centred_30")
    given = result.mean("prior_given_relu_minus_relu_centred_30")
    assert gain < 0 and abs(given) < abs(gain) / 2


def test_centred_and_raised_activations_have_the_means_they_should() -> None:
    z = torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    means = {name: float(activation_function(a)(z).mean()) for name, a in ACTIVATIONS.items()}
    assert means["relu_centred"] == pytest.approx(0.0, abs=5e-3)
    assert means["tanh"] == pytest.approx(0.0, abs=5e-3)
    assert means["tanh_raised"] == pytest.approx(means["relu"], abs=5e-3)


def test_known_prior_of_predictions() -> None:
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    assert known_prior(p.log().expand(2, 3) + 4.0, p) == pytest.approx(1.0)
    assert known_prior(torch.zeros(2, 3), p) == pytest.approx(0.0)
    assert known_prior(p.log().flip(0)[None], p) < 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"record": ()}, "growing"),
        ({"unseen": 0}, "1 or more"),
        ({"small": 0.0}, "positive"),
        ({"conditions": ("dark",)}, "dark"),
    ],
)
def test_settings_that_cannot_run_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)  # type: ignore[arg-type]
