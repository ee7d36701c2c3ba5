"""Epsilon and the size of the loss are one dial."""

from __future__ import annotations

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.experiments import scaling_epsilon
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_gradients import squared_error_step


def test_a_larger_loss_with_a_larger_epsilon_takes_the_same_steps() -> None:
    task, weights = modular_task(7, 0.6, seed=0), []
    for sum_classes, epsilon in ((False, 1e-4), (True, 7e-4)):
        model = QuadraticMLP(7, 10, seed=0).double()
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, eps=epsilon)
        for _ in range(5):
            squared_error_step(model, task.pairs, task.labels, sum_classes=sum_classes)
            optimizer.step()
        weights.append(model.fc1.weight.detach())
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-8, atol=1e-10)


def test_a_large_epsilon_delays_grokking() -> None:
    config = scaling_epsilon.EXPERIMENT.quick
    usual, yes = scaling_epsilon.grokking_epoch(config, 0, 1e-8)
    late, _ = scaling_epsilon.grokking_epoch(config, 0, 3e-6)
    assert yes and late > 1.5 * usual


def test_settings_that_cannot_run_are_refused() -> None:
    with pytest.raises(ValueError, match="at least"):
        scaling_epsilon.Config(hidden=0)
