"""The experiment on a tiny modulus, and the theorem about additive predictors against brute force."""

from dataclasses import replace

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.experiments import lazy_to_rich
from entk_tutorial.experiments.lazy_to_rich import Config, additive_prediction, first_above, margins, thinned, time_unit
from entk_tutorial.models.modular import expected_initial_kernel

TINY = Config(p=7, hidden=64, scales=(1.0, 1000.0), adamw_scales=(1.0, 10.0), adamw_epochs=12, later_step=3,
              stop=0.05)  # fmt: skip


@pytest.fixture(scope="module")
def result():
    return lazy_to_rich.run(TINY, seeds=[0, 1])


def test_what_must_hold_at_any_size(result):
    m, c = result.metrics, result.controls
    assert bool((m["reached_1"] == 1).all()) and bool((m["train_accuracy_1000"] == 1).all())
    assert bool((m["kernel_distance_1"] > 10 * m["kernel_distance_1000"]).all())
    assert bool((m["weight_motion_1"] > 10 * m["weight_motion_1000"]).all())
    assert bool((m["linear_distance_1000"] < m["linear_distance_1"]).all())
    assert bool((m["gd_first_entk"] > 0.999).all())
    assert bool((m["adamw_first_preconditioned"] > 0.99).all())
    assert bool((m["adamw_memoryless_preconditioned"] > 0.999).all())
    assert bool((m["adamw_later_direction"] > 0.999).all())
    assert bool((m["adamw_first_entk"] < 0.99).all())
    assert set(c) == {"untrained", "linearised", "mean_kernel", "random_labels", "adamw_same_lr"}
    assert set(result.chance) <= set(m)


def test_curves_have_one_row_a_scale(result):
    for seed in (0, 1):
        assert len(result.series["time"][seed]) == 2
        for time, accuracy in zip(result.series["time"][seed], result.series["test_accuracy"][seed], strict=True):
            assert time == sorted(time) and len(time) == len(accuracy) <= 70


def test_same_seed_same_numbers(result):
    again = lazy_to_rich.run(TINY, seeds=[1])
    for name, values in again.metrics.items():
        assert values[0] == pytest.approx(result.metrics[name][1], rel=1e-6, abs=1e-9), name
    assert any(v[0] != v[1] for v in result.metrics.values())


@pytest.mark.parametrize("p", [5, 7, 11])
@pytest.mark.parametrize("fraction", [0.3, 0.7, 0.9])
@pytest.mark.parametrize("ridge", [0.0, 1.0])
def test_mean_kernel_is_worse_than_chance_on_held_out_pairs(p, fraction, ridge):
    task = modular_task(p, fraction, seed=p)
    found = margins(task, additive_prediction(task, ridge=ridge))
    assert abs(found["margin_sum"]) < 1e-9
    assert found["margin_train"] > 0 > found["margin_held_out"]


def test_additive_part_is_regression_with_the_mean_kernel_on_held_out_pairs():
    task = modular_task(7, 0.7, seed=0)
    x, rows = task.inputs, task.train
    kernel = sum(expected_initial_kernel(x, x, 7, 1).values()) * 7
    y = task.targets.double() - 1 / 7
    dense = kernel[task.held_out][:, rows] @ torch.linalg.solve(kernel[rows][:, rows], y[rows])
    torch.testing.assert_close(additive_prediction(task)[task.held_out], dense)


def test_a_predictor_of_the_sum_has_a_positive_margin():
    task = modular_task(7, 0.7, seed=0)
    assert margins(task, task.targets)["margin_held_out"] == pytest.approx(1 - 1 / 7)


def test_time_unit_is_the_decay_of_the_mean_kernel():
    p, hidden = 5, 8
    task = modular_task(p, 0.5, 0)
    kernel = sum(expected_initial_kernel(task.inputs, task.inputs, p, hidden).values()) / p
    assert float(torch.linalg.eigvalsh(kernel)[0]) * time_unit(p, hidden) == pytest.approx(1.0)


def test_first_time_above_a_level():
    assert first_above([0.0, 1.0, 2.0], [0.1, 0.96, 0.2]) == (1.0, True)
    assert first_above([0.0, 1.0, 2.0], [0.1, 0.2, 0.3]) == (2.0, False)


def test_thinned_keeps_the_ends_and_grows():
    kept = thinned(5000)
    assert kept[0] == 0 and kept[-1] == 4999 and kept == sorted(set(kept)) and len(kept) <= 70


@pytest.mark.parametrize(
    "change",
    [{"p": 8}, {"p": 3}, {"hidden": 0}, {"scales": ()}, {"scales": (3.0, 1.0)}, {"scales": (0.0, 1.0)},
     {"adamw_scales": (10.0,)}, {"control_scale": 0.0}, {"adamw_lr": 0.0}, {"adamw_weight_decay": -1.0},
     {"later_step": 13}, {"later_step": 1}, {"stop": 1.0}, {"max_steps": 0}, {"train_fraction": 1.0}],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)
