from __future__ import annotations

import numpy as np
import pytest
import torch

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.experiments import token_kernel_error
from entk_tutorial.experiments.token_kernel_error import Config, predicted_constants, predicted_error, relative_errors
from entk_tutorial.infinite import mlp_kernel
from entk_tutorial.models.text import MLPText


@pytest.mark.parametrize("activation", ["tanh", "erf", "relu", "gelu"])
def test_three_gram_matrices_are_the_empirical_kernel(activation: str) -> None:
    fast = token_kernel_error.token_kernel(activation, 7, 24, seed=3).double()
    model = MLPText(7, 24, activation=activation, seed=3)
    slow = empirical_ntk(model, torch.arange(7)[:, None], method="jacobian")
    assert torch.allclose(fast, slow, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_the_closed_form_has_no_error(activation: str) -> None:
    exact = mlp_kernel([[a] for a in range(12)], activation=activation).ntk
    assert max(relative_errors(exact, activation).values()) < 1e-12
    errors = relative_errors(1.25 * exact, activation)
    assert errors["whole"] == pytest.approx(0.25)
    assert errors["centred"] == pytest.approx(0.25)


def test_constants_of_relu_on_paper() -> None:
    law, mean = predicted_constants("relu"), 1 / (2 * np.pi)
    assert law.bias == pytest.approx(mean)
    assert law.centred == pytest.approx(np.sqrt((0.5 - mean) ** 2 + 0.25) / (1.5 - mean))
    assert law.saturation == pytest.approx(np.sqrt(0.5) / mean)
    assert predicted_constants("tanh").saturation == float("inf")


def test_the_law_in_a_short_run() -> None:
    config = Config(vocabularies=(60, 120, 240), widths=(128, 512), activations=("tanh", "relu"))
    result = token_kernel_error.run(config, seeds=[0, 1])
    for name in ("tanh", "relu"):
        assert abs(result.mean(f"{name}_exponent_v") - 0.5) < 0.08
        assert abs(result.mean(f"{name}_exponent_n") + 0.5) < 0.08
        assert abs(result.mean(f"{name}_constant_ratio") - 1) < 0.15
    assert abs(result.mean("relu_exponent_v", "bias_norm")) < 0.1  # the growth is hidden
    assert "tanh_exponent_v" not in result.controls["bias_norm"]


def test_whole_norm_saturates_where_there_is_a_bias() -> None:
    limit = predicted_constants("relu").saturation / 16
    assert predicted_error("relu", 10**7, 256, "whole") == pytest.approx(limit, rel=1e-3)
    assert predicted_error("tanh", 400, 100, "whole") == predicted_error("tanh", 400, 100)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocabularies": (60, 120)}, "3 or more growing"),
        ({"widths": (64, 64)}, "2 or more growing"),
        ({"activations": ("sine",)}, "expected names out of"),
    ],
)
def test_settings_that_cannot_run_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)  # type: ignore[arg-type]
