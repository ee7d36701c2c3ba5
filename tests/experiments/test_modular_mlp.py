"""The experiment on a tiny modulus: what it returns, and that the same seed gives the same numbers."""

from dataclasses import replace

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.experiments import modular_mlp
from entk_tutorial.experiments.modular_mlp import Config, fit, layer_kernels
from entk_tutorial.training import TrainingError

TINY = Config(p=7, hidden=64, epochs=20, kernel_every=10, lr=0.05, device="cpu")


@pytest.fixture(scope="module")
def result():
    return modular_mlp.run(TINY, seeds=[0, 1])


def test_one_value_a_seed_and_every_control(result):
    assert all(len(v) == 2 for v in result.metrics.values())
    assert set(result.controls) == {
        "untrained", "untrained_wide", "input_gram", "nonsense_order", "random_rotation", "activation_pca",
        "random_labels", "low_data", "random_window",
    }  # fmt: skip
    assert set(result.chance) <= set(result.metrics)


def test_values_lie_where_they_must(result):
    for name, values in result.metrics.items():
        if name.split("_", 1)[0] in ("window1", "window2", "layer1", "layer2") and "cliff" not in name:
            top = 1 if name.endswith("concentration") else 6
            assert bool(((values >= -1e-9) & (values <= top + 1e-9)).all()), name
    assert bool((result.metrics["relabel_change"] < 1e-8).all())  # an overlap says "function of the sum", not "Fourier"
    assert bool((result.controls["input_gram"]["window1_n"] > 5.999).all())
    assert bool((result.controls["input_gram"]["rotation_recovered"] == 12).all())


def test_curves_have_the_lengths_of_their_axes(result):
    for seed in (0, 1):
        epochs = result.series["epoch"][seed]
        assert epochs == [0, 5, 10, 15, 20]
        assert all(
            len(result.series[k][seed]) == 5 for k in ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
        )
        assert result.series["kernel_epoch"][seed] == [0, 10, 20]
        assert len(result.series["all_sum"][seed]) == 3


def test_same_seed_same_numbers_and_the_random_state_is_left(result):
    before = torch.get_rng_state()
    again = modular_mlp.run(TINY, seeds=[1])
    assert torch.equal(before, torch.get_rng_state())
    for name, values in again.metrics.items():
        assert values[0] == pytest.approx(result.metrics[name][1], rel=1e-8), name
    assert any(result.metrics[k][0] != result.metrics[k][1] for k in result.metrics)


def test_layers_add_up_to_the_total():
    config = replace(TINY, epochs=5, kernel_every=5)
    model, history = fit(config, modular_task(7, 0.7, 0), 0, [0, 5])
    kernels = layer_kernels(config, model)
    assert set(kernels) == {"fc1", "fc2", "total"} and kernels["total"].dtype == torch.float64
    assert torch.equal(kernels["total"], kernels["fc1"] + kernels["fc2"])
    assert torch.equal(history.snapshots[5]["fc1.weight"], model.fc1.weight.detach())
    assert history.metrics["train_loss"][-1] < history.metrics["train_loss"][0]


def test_a_run_that_diverges_says_where():
    with pytest.raises(TrainingError, match="at step"):
        fit(replace(TINY, lr=1e30), modular_task(7, 0.7, 0), 0)


@pytest.mark.parametrize(
    "change",
    [{"p": 8}, {"p": 1}, {"p": 3}, {"train_fraction": 0.0}, {"train_fraction": 1.0}, {"low_data_fraction": 1.5},
     {"hidden": 0},
     {"epochs": -10}, {"epochs": 15}, {"kernel_every": 0}, {"lr": 0.0}, {"lr": float("nan")}, {"weight_decay": -1.0},
     {"weight_decay": float("nan")}],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)


SMALL = [Config(p=5, hidden=16, epochs=2, kernel_every=1, device="cpu"), replace(TINY, hidden=1, epochs=0)]


@pytest.mark.parametrize("config", SMALL, ids=["p=5", "hidden=1"])
def test_the_smallest_networks_run(config):
    assert all(v.size == 1 for v in modular_mlp.run(config, seeds=[0]).metrics.values())


def test_an_unknown_device_is_refused():
    with pytest.raises(ValueError, match="not available here"):
        modular_mlp.run(replace(TINY, device="abacus"), seeds=[0])
