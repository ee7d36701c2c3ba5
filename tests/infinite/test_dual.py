from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from entk_tutorial.infinite import activation_mean, dual_activation

FUNCTIONS = {
    "linear": lambda u: u * 1.0,
    "erf": torch.erf,
    "gelu": lambda u: u * (1 + torch.erf(u / math.sqrt(2))) / 2,
    "quad": lambda u: u**2,
    "tanh": torch.tanh,
    "silu": torch.nn.functional.silu,
}
COVARIANCES = [(1.0, 1.0, 0.3), (2.0, 0.5, -0.9), (4.0, 4.0, 3.9), (0.01, 0.04, 0.02), (1.0, 1.0, 1.0), (1.0, 2.0, 0.0)]


@pytest.mark.parametrize("abc", COVARIANCES)
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_names_agree_with_quadrature_of_the_function(name: str, abc: tuple[float, float, float]) -> None:
    named, function = dual_activation(name, *abc), dual_activation(FUNCTIONS[name], *abc)
    np.testing.assert_allclose(named.value, function.value, atol=1e-11)
    np.testing.assert_allclose(named.derivative, function.derivative, atol=1e-11)


@pytest.mark.parametrize("abc", [(1.0, 1.0, 0.3), (2.0, 0.5, -0.9), (3.0, 1.0, 0.0)])
def test_relu_agrees_with_sampling(abc: tuple[float, float, float]) -> None:
    a, b, c = abc
    z = np.random.default_rng(0).standard_normal((2, 1_000_000))
    u = math.sqrt(a) * z[0]
    w = c / math.sqrt(a) * z[0] + math.sqrt(b - c * c / a) * z[1]
    dual = dual_activation("relu", a, b, c)
    for exact, sample in ((dual.value, np.maximum(u, 0) * np.maximum(w, 0)), (dual.derivative, (u > 0) & (w > 0))):
        assert abs(sample.mean() - exact) < 4 * sample.std() / 1000


@pytest.mark.parametrize("scale", [1.0, 2.0, 3.0, 0.1, 1e-5, 1e7, math.pi])
@pytest.mark.parametrize("variance", [1.0, 0.3, 1e-12, 7e11])
def test_relu_at_perfect_correlation_keeps_all_digits(scale: float, variance: float) -> None:
    a, b, c = variance, variance * scale**2, variance * scale  # u' = scale * u: the angle is 0
    dual = dual_activation("relu", a, b, c)
    assert float(dual.derivative) == pytest.approx(0.5, abs=1e-12)
    assert float(dual.value) == pytest.approx(c / 2, rel=1e-12)
    assert float(dual_activation("relu", a, b, -c).derivative) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("power", [10, 20, 30, 40, 48])
def test_relu_at_small_angles_is_accurate(power: int) -> None:
    gap = 2.0**-power  # cos(theta) = 1 - gap exactly, so theta = 2 arcsin(sqrt(gap / 2))
    angle = 2 * math.asin(math.sqrt(gap / 2))
    dual = dual_activation("relu", 1.0, 1.0, 1 - gap)
    assert float(dual.derivative) == pytest.approx((math.pi - angle) / (2 * math.pi), rel=1e-14)


@pytest.mark.parametrize("name", ["linear", "relu", "erf", "gelu", "quad", "tanh", "silu"])
def test_zero_variance_is_finite_and_gives_phi_of_zero(name: str) -> None:
    dual = dual_activation(name, np.array([0.0, 0.0]), np.array([0.0, 2.0]), np.array([0.0, 0.0]))
    np.testing.assert_allclose(dual.value, 0.0, atol=1e-15)
    assert np.isfinite(dual.derivative).all()


@pytest.mark.parametrize("name", ["linear", "relu", "erf", "gelu", "quad", "tanh", "silu"])
@pytest.mark.parametrize("variance", [1e-4, 0.01, 1.0, 9.0])
def test_the_bias_constant_squared_is_the_dual_of_independent_inputs(name: str, variance: float) -> None:
    mean = float(activation_mean(name, variance))
    assert float(dual_activation(name, variance, variance, 0.0).value) == pytest.approx(mean**2, abs=1e-12)


def test_large_gelu_variance_does_not_cancel() -> None:
    dual = dual_activation("gelu", 1e8, 1e8, 1e8)  # gelu approaches relu
    assert float(dual.value) == pytest.approx(5e7, rel=1e-4)
    assert float(dual.derivative) == pytest.approx(0.5, rel=1e-3)


def test_quadrature_error_is_stated_and_covers_the_truth() -> None:
    coarse = dual_activation("tanh", 25.0, 25.0, 12.5)
    fine = np.random.default_rng(1).standard_normal((2, 2_000_000))
    u, w = 5 * fine[0], 5 * (0.5 * fine[0] + math.sqrt(0.75) * fine[1])
    assert 0 < coarse.error < 1e-5
    assert float(coarse.value) == pytest.approx((np.tanh(u) * np.tanh(w)).mean(), abs=3e-3)
    assert dual_activation("tanh", 1.0, 1.0, 0.5).error < 1e-12
    assert dual_activation("relu", 1.0, 1.0, 0.5).error == 0.0


@pytest.mark.parametrize("function", [torch.abs, lambda u: torch.nn.functional.leaky_relu(u, 0.1)])
def test_a_kink_shows_in_the_stated_error(function: object) -> None:
    dual = dual_activation(function, 1.0, 1.0, 0.5)  # type: ignore[arg-type]
    assert dual.error < 1e-3
    if function is torch.abs:  # E|u||w| = 2/pi (sqrt(1-r^2) + r arcsin r)
        assert float(dual.value) == pytest.approx(2 / math.pi * (math.sqrt(0.75) + 0.5 * math.asin(0.5)), abs=1e-3)


def test_a_given_derivative_is_used() -> None:
    dual = dual_activation(torch.sin, 1.0, 1.0, 0.0, derivative=torch.ones_like)
    assert float(dual.derivative) == pytest.approx(1.0)


def test_smooth_tables_are_positive_semidefinite() -> None:
    x = np.random.default_rng(0).standard_normal((30, 5)) * 2
    q = x @ x.T
    table = dual_activation("tanh", np.diag(q)[:, None], np.diag(q)[None, :], q)
    assert np.linalg.eigvalsh(table.value).min() > -1e-10
    assert np.linalg.eigvalsh(table.derivative).min() > -1e-10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("rleu", 1.0, 1.0, 0.0), "unknown activation 'rleu'; expected one of linear"),
        (("relu", -1.0, 1.0, 0.0), "negative"),
        (("relu", 1.0, 1.0, 1.1), "exceeds"),
        (("relu", float("nan"), 1.0, 0.0), "not finite"),
        ((lambda u: u.sum(), 1.0, 1.0, 0.0), "elementwise"),
    ],
)
def test_mistakes_are_named(arguments: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dual_activation(*arguments)  # type: ignore[arg-type]


def test_unknown_name_of_a_mean_is_named() -> None:
    with pytest.raises(ValueError, match="unknown activation"):
        activation_mean("rleu", 1.0)
