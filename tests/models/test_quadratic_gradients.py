"""Gradients by hand against automatic differentiation, in float64."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import mse_loss

from entk_tutorial.data import modular_task
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_gradients import squared_error_step


@pytest.mark.parametrize(("p", "hidden", "rows"), [(5, 1, 3), (7, 12, 1), (11, 6, 1000)])
@pytest.mark.parametrize("sum_classes", [False, True])
def test_equal_to_automatic_differentiation(p: int, hidden: int, rows: int, sum_classes: bool) -> None:
    model, task = QuadraticMLP(p, hidden, seed=1).double(), modular_task(p, 0.6, seed=2)
    part = task.train  # in random order, on purpose
    loss = squared_error_step(model, task.pairs[part], task.labels[part], sum_classes=sum_classes, rows=rows)
    by_hand = [w.grad.clone() for w in model.parameters() if w.grad is not None]
    model.zero_grad()
    reference = mse_loss(model(task.inputs[part].double()), task.targets[part].double()) * (p if sum_classes else 1)
    reference.backward()
    assert loss == pytest.approx(float(reference.detach()), rel=1e-12)
    for found, weight in zip(by_hand, model.parameters(), strict=True):
        assert weight.grad is not None
        torch.testing.assert_close(found, weight.grad, rtol=1e-10, atol=1e-16)


def test_weights_are_left_alone_and_old_gradients_forgotten() -> None:
    model, task = QuadraticMLP(5, 4, seed=0), modular_task(5, 0.5, seed=0)
    before = [w.detach().clone() for w in model.parameters()]
    for _ in range(2):
        squared_error_step(model, task.pairs, task.labels)
        gradients = [w.grad.clone() for w in model.parameters() if w.grad is not None]
    squared_error_step(model, task.pairs, task.labels)
    for old, weight, gradient in zip(before, model.parameters(), gradients, strict=True):
        assert torch.equal(old, weight) and torch.equal(gradient, weight.grad)


@pytest.mark.parametrize(
    ("pairs", "labels", "rows"),
    [
        (torch.zeros(0, 2, dtype=torch.long), torch.zeros(0, dtype=torch.long), 5),
        (torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, dtype=torch.long), 5),
        (torch.zeros(2, 2, dtype=torch.long), torch.zeros(3, dtype=torch.long), 5),
        (torch.full((2, 2), 5), torch.zeros(2, dtype=torch.long), 5),
        (torch.zeros(2, 2, dtype=torch.long), torch.full((2,), -1), 5),
        (torch.zeros(2, 2, dtype=torch.long), torch.zeros(2, dtype=torch.long), 0),
    ],
)
def test_bad_input_is_refused(pairs: torch.Tensor, labels: torch.Tensor, rows: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        squared_error_step(QuadraticMLP(5, 4, seed=0), pairs, labels, rows=rows)
