"""The linearised model against ridge regression by hand, and against gradient descent run to its end."""

import pytest
import torch
from torch import nn

from entk_tutorial.empirical import InputError, LinearizedModel, ModelError, empirical_ntk

from .cases import mlp, vectors

X, NEW = vectors(6, 0), vectors(4, 1)
Y = torch.randn(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def linear():
    model = nn.Linear(3, 2).double()
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64))
    return model


@pytest.mark.parametrize("around", ["model", "zero"])
@pytest.mark.parametrize("ridge", [0.5, 10.0])
def test_ridge_regression_in_feature_space(around, ridge):
    model, features = linear(), torch.cat([X, torch.ones(6, 1).double()], 1)
    start = (
        torch.cat([model.weight, model.bias[:, None]], 1).detach().T
        if around == "model"
        else torch.zeros(4, 2).double()
    )
    step = torch.linalg.solve(
        features.T @ features + ridge * torch.eye(4).double(), features.T @ (Y - features @ start)
    )
    expected = torch.cat([NEW, torch.ones(4, 1).double()], 1) @ (start + step)
    found = LinearizedModel(model, X, Y, ridge=ridge, around=around).predict(NEW)
    assert torch.allclose(found, expected, atol=1e-10)


def test_gradient_descent_on_a_linear_model_ends_there():
    model, x, y = linear(), X[:3], Y[:3]  # fewer examples than parameters: the data are fitted
    predicted = LinearizedModel(model, x, y, ridge=0.0).predict(NEW)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3000):
        sgd.zero_grad()
        (model(x) - y).square().sum().backward()
        sgd.step()
    assert float((model(x) - y).detach().abs().max()) < 1e-8
    assert torch.allclose(predicted, model(NEW).detach(), atol=1e-6)


def test_by_hand_with_the_flat_kernel_of_a_nonlinear_model():
    model = mlp().double()
    k, cross = empirical_ntk(model, X, reduce="flat"), empirical_ntk(model, NEW, X, reduce="flat")
    residual = (Y - model(X).detach()).reshape(-1)
    expected = model(NEW).detach() + (cross @ torch.linalg.solve(k + 0.1 * torch.eye(12).double(), residual)).reshape(
        4, 2
    )
    assert torch.allclose(LinearizedModel(model, X, Y, ridge=0.1).predict(NEW), expected, atol=1e-8)


def test_training_the_model_later_changes_nothing():
    model, x = mlp().double(), X.clone()
    lin = LinearizedModel(model, x, Y, ridge=0.1)
    before = lin.predict(NEW)
    with torch.no_grad():
        x.zero_()
        for p in model.parameters():
            p.add_(1.0)
    model.requires_grad_(False)
    assert torch.equal(lin.predict(NEW), before)


def test_targets_that_carry_gradients_are_taken_as_numbers():
    lin = LinearizedModel(linear(), X, Y.clone().requires_grad_(), ridge=1.0)
    assert not lin.predict(NEW).requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_singular_kernel_is_refused_without_ridge(dtype):
    model, x = mlp().to(dtype), X[[0, 1, 2, 1, 0, 2]].to(dtype)
    with pytest.raises(ValueError, match="Raise the ridge"):
        LinearizedModel(model, x, Y, ridge=0.0)
    assert torch.isfinite(LinearizedModel(model, x, Y, ridge=0.1).predict(x)).all()


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"ridge": -1.0}, ValueError, "ridge=-1.0"),
        ({"ridge": float("nan")}, ValueError, "ridge=nan"),
        ({"ridge": float("inf")}, ValueError, "ridge=inf"),
        ({"around": "origin"}, ValueError, "'origin' is unknown"),
        ({"y_train": Y[:5]}, InputError, r"\(6, 2\) is expected"),
        ({"y_train": Y[:, 0]}, InputError, r"\(6, 2\) is expected"),
        ({"y_train": Y * float("nan")}, InputError, "clean the targets"),
        ({"x_train": X[:0]}, InputError, "N = 0"),
        ({"model": nn.Sequential(linear(), nn.Dropout(0.5))}, ModelError, "eval"),
    ],
)
def test_bad_input(change, error, message):
    arguments = {"model": linear(), "x_train": X, "y_train": Y, "ridge": 1.0} | change
    with pytest.raises(error, match=message):
        LinearizedModel(**arguments)
