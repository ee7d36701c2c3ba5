from __future__ import annotations

from typing import Any

import pytest
import torch

from entk_tutorial import infinite
from entk_tutorial.infinite import (
    critical_learning_rate,
    double_difference,
    gradient_flow,
    interaction_documents,
    kernel_gradient_descent,
    label_scores,
)

G = torch.Generator().manual_seed(0)
X = torch.randn(6, 4, generator=G, dtype=torch.float64)
KERNEL = X @ X.T  # rank 4 of 6
Y = torch.randn(6, generator=G, dtype=torch.float64)
TEST = torch.randn(3, 4, generator=G, dtype=torch.float64) @ X.T
CLASSES = torch.tensor([0, 1, 2, 0, 1, 2])


def test_flow_is_the_limit_of_many_small_steps() -> None:
    f0, f0_test = torch.ones(6, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    flow = gradient_flow(KERNEL, Y, [0.0, 0.5], TEST, f0, f0_test)
    steps = kernel_gradient_descent(KERNEL, Y, lr=0.5 / 20000, steps=20000, f0=f0)
    torch.testing.assert_close(flow.train[0], f0)
    torch.testing.assert_close(flow.train[1], steps.outputs, rtol=1e-3, atol=1e-3)
    assert flow.test is not None
    torch.testing.assert_close(flow.test[1], steps.predict(TEST, f0_test), rtol=1e-3, atol=1e-3)


def test_flow_at_infinity_projects_on_what_the_kernel_can_reach() -> None:
    flow = gradient_flow(KERNEL, Y, [float("inf")], TEST)
    projector = X @ torch.linalg.pinv(X)
    torch.testing.assert_close(flow.train[0], projector @ Y)
    assert flow.test is not None
    torch.testing.assert_close(flow.test[0], TEST @ torch.linalg.pinv(KERNEL, rtol=1e-10) @ Y)


def test_each_eigenvector_learns_at_its_own_rate() -> None:
    kernel = torch.diag(torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64))
    flow = gradient_flow(kernel, torch.ones(3), [1.0])
    expected = 1 - torch.exp(-torch.tensor([2.0, 0.5, 0.0], dtype=torch.float64))
    torch.testing.assert_close(flow.train[0], expected)


def test_several_outputs_flow_side_by_side() -> None:
    targets = torch.stack([Y, -2 * Y], dim=1)
    both, one = gradient_flow(KERNEL, targets, [0.1, 1.0], TEST), gradient_flow(KERNEL, Y, [0.1, 1.0], TEST)
    assert both.train.shape == (2, 6, 2) and both.test is not None and one.test is not None
    torch.testing.assert_close(both.test[:, :, 1], -2 * one.test)


@pytest.mark.parametrize(
    ("loss", "y", "f0"),
    [
        ("mse", Y, None),
        ("logistic", torch.tensor([1, 0, 1, 1, 0, 0]), None),
        ("softmax", CLASSES, torch.zeros(6, 3)),
        ("softmax", torch.nn.functional.one_hot(CLASSES), None),
    ],
)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_descent_is_gradient_descent_on_a_linear_model(loss: str, y: Any, f0: Any, reduction: str) -> None:
    functional = {"mse": lambda f, t: 0.5 * (f - t) ** 2, "logistic": None, "softmax": None}
    shape = (4,) if y.ndim == 1 and loss != "softmax" else (4, 3)
    weights = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
    run = kernel_gradient_descent(KERNEL, y, loss, lr=0.05, steps=30, f0=f0, reduction=reduction)
    for _ in range(30):
        f = X @ weights
        if loss == "mse":
            values = functional["mse"](f, y)  # type: ignore[misc]
        elif loss == "logistic":
            values = torch.nn.functional.binary_cross_entropy_with_logits(f, y.double(), reduction="none")
        else:
            values = torch.nn.functional.cross_entropy(f, CLASSES, reduction="none")
        total = values.sum() if reduction == "sum" else values.mean()
        (gradient,) = torch.autograd.grad(total, weights)
        weights = (weights - 0.05 * gradient).detach().requires_grad_(True)
    torch.testing.assert_close(run.outputs, (X @ weights).detach())
    assert run.losses.shape == (31,) and bool((run.losses.diff() <= 0).all())


def test_features_and_kernel_train_alike() -> None:
    train, test = [[0, 1], [1, 2], [2, 2, 3], [0, 3]], [[0], [1, 3]]
    y = torch.tensor([1, 0, 0, 1])
    maps = infinite.mv_features(train, test)
    kernel, cross = infinite.mv_kernel(train).ntk, infinite.mv_kernel(test, train).ntk
    sparse = kernel_gradient_descent(maps.train(), y, "logistic", lr=0.1, steps=50)
    dense = kernel_gradient_descent(kernel, y, "logistic", lr=0.1, steps=50)
    torch.testing.assert_close(sparse.predict(maps.transpose()), dense.predict(cross))
    torch.testing.assert_close(label_scores(maps.transpose(), y), label_scores(cross, y))
    assert critical_learning_rate(maps.train()) == pytest.approx(critical_learning_rate(kernel), rel=1e-9)


def test_label_scores_are_the_first_step_and_count_co_occurrence() -> None:
    train, probes, y = [[0, 1], [0, 2], [1, 2]], [[0], [1], [2], [3]], torch.tensor([1, 1, 0])
    run = kernel_gradient_descent(infinite.linear_kernel(train).ntk, y, "logistic", lr=1.0, steps=1)
    cross = infinite.linear_kernel(probes, train).ntk
    torch.testing.assert_close(run.predict(cross), label_scores(cross, y))
    assert label_scores(cross, y).tolist() == [2.0, 0.0, 0.0, 0.0]  # 2 * (positive - negative counts) / 2
    biased = label_scores(infinite.mlp_kernel(probes, train).ntk, y)
    assert float(biased[3]) > 0  # relu: a token never seen gets the sign of the larger class


@pytest.mark.parametrize("loss", ["mse", "logistic", "softmax"])
def test_critical_learning_rate_separates_convergence_from_divergence(loss: str) -> None:
    kernel = KERNEL + torch.eye(6, dtype=torch.float64)
    y = {"mse": Y, "logistic": torch.full((6,), 0.0), "softmax": torch.nn.functional.one_hot(CLASSES)}[loss]
    rate = critical_learning_rate(kernel, loss)
    safe = kernel_gradient_descent(kernel, y, loss, lr=0.99 * rate, steps=200)
    assert float(safe.losses[-1]) < float(safe.losses[0])
    if loss == "mse":
        with pytest.raises(ValueError, match="lower lr below critical_learning_rate"):
            kernel_gradient_descent(kernel, y, loss, lr=1.5 * rate, steps=5000)


def test_a_mean_loss_allows_n_times_the_rate() -> None:
    assert critical_learning_rate(KERNEL, reduction="mean") == pytest.approx(6 * critical_learning_rate(KERNEL))


@pytest.mark.parametrize(
    ("kernel", "interacts"),
    [
        (infinite.linear_kernel, False),
        (infinite.mlp_kernel, False),
        (lambda *d: infinite.rnn_kernel(*d, kind="additive"), False),
        (lambda *d: infinite.cnn_kernel(*d, activation="linear"), False),
        (infinite.cnn_kernel, True),
        (infinite.mv_kernel, True),
        (infinite.rnn_kernel, True),
    ],
)
def test_double_difference_is_zero_exactly_for_additive_families(kernel: Any, interacts: bool) -> None:
    train = [[0, 1, 2], [0, 3, 3], [2, 1], [3, 1], [4, 0, 1]]
    y = torch.tensor([0, 1, 1, 0, 1])
    run = kernel_gradient_descent(kernel(train).ntk, y, "logistic", lr=0.02, steps=100)
    probes = interaction_documents(0, 1, 7, 8)  # 7 and 8 never occur in training
    gap = float(double_difference(run.predict(kernel(probes, train).ntk)))
    assert (abs(gap) > 1e-3) if interacts else (abs(gap) < 1e-12)


def test_callback_sees_every_step() -> None:
    seen: list[int] = []
    kernel_gradient_descent(KERNEL, Y, lr=0.01, steps=3, callback=lambda step, f, c: seen.append(step))
    assert seen == [0, 1, 2, 3]


BAD: list[tuple[Any, str]] = [
    (lambda: gradient_flow(KERNEL[:3], Y, [1.0]), "expected \\(N, N\\)"),
    (lambda: gradient_flow(KERNEL + X[:, :1], Y, [1.0]), "not symmetric"),
    (lambda: gradient_flow(KERNEL, Y[:3], [1.0]), "one row a training input"),
    (lambda: gradient_flow(KERNEL, Y, [-1.0]), "0 or more"),
    (lambda: gradient_flow(KERNEL, Y, [1.0], TEST[:, :2]), "test inputs by training inputs"),
    (lambda: gradient_flow(KERNEL, Y, [1.0], f0=Y[:2]), "f0 has shape"),
    (lambda: gradient_flow(KERNEL, Y, [1.0], f0_test=Y), "without kernel_test"),
    (lambda: kernel_gradient_descent(KERNEL, Y, "hinge"), "unknown loss 'hinge'"),
    (lambda: kernel_gradient_descent(KERNEL, torch.tensor([1, -1, 1, 1, 1, 1]), "logistic"), "take \\(y \\+ 1\\) / 2"),
    (lambda: kernel_gradient_descent(KERNEL, CLASSES, "softmax"), "together with f0"),
    (lambda: kernel_gradient_descent(KERNEL, torch.ones(6, 3), "softmax"), "sum to 1"),
    (lambda: kernel_gradient_descent(KERNEL, Y, lr=-1.0), "positive, finite learning rate"),
    (lambda: kernel_gradient_descent(KERNEL, Y, reduction="max"), "unknown reduction"),
    (lambda: kernel_gradient_descent(TEST, Y), "expected \\(N, N\\)"),
    (lambda: kernel_gradient_descent(KERNEL, Y, lr=0.01).predict(KERNEL[:, :2]), "other inputs by training inputs"),
    (lambda: critical_learning_rate(KERNEL, "hinge"), "unknown loss"),
    (lambda: critical_learning_rate(0 * KERNEL), "the kernel is 0"),
    (lambda: double_difference(Y), "in the order of interaction_documents"),
]


@pytest.mark.parametrize(("call", "message"), BAD, ids=[m[:20] for _, m in BAD])
def test_mistakes_are_named(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
