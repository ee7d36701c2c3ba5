"""The ablation experiment on a tiny modulus: identities hold, controls are there, the same seed repeats."""

from dataclasses import replace

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.experiments import ablation
from entk_tutorial.experiments.ablation import Config, Tables, layer_kernels, left, mobility, moved, network, removed
from entk_tutorial.features.ablation import line_families, line_residues
from entk_tutorial.models.modular import QuadraticMLP

TINY = Config(p=7, hidden=64, epochs=20, low_data_fraction=0.4, train_fraction=0.6, draws=4, device="cpu")


@pytest.fixture(scope="module")
def result():
    return ablation.run(TINY, seeds=[0, 1])


def test_identities_hold_for_any_weights(result):
    for numbers in (result.metrics, result.controls["untrained"]):
        for name in ("commutes_error", "mirror_error", "layer1_spread"):
            assert bool((numbers[name] < 1e-9).all()), name
    assert bool((result.metrics["mean_correct_left"] < 1e-12).all())


def test_the_layer_before_the_square_holds_no_sum(result):
    for name in ("accuracy_left", "loss_left"):
        assert result.controls["sums_without_sum"][name] == pytest.approx(result.controls["nothing"][name], abs=1e-12)


def test_chance_is_that_of_a_constant(result):
    assert result.controls["constant"]["accuracy_left"] == pytest.approx(result.chance["accuracy_left"])
    assert bool((result.controls["constant"]["loss_left"] >= result.chance["loss_left"] - 1e-9).all())


def test_a_table_that_is_the_answer():
    """With outputs equal to the labels, the sum is all there is: nothing is left, every answer moves."""
    task = modular_task(7, 0.7, 0)
    table, q = task.targets.double(), line_families(7)
    gone = removed(table, q["sum"], task)
    assert gone["loss_left"] == pytest.approx((1 - 1 / 7) / 7)
    assert removed(table, q["diff"], task)["accuracy_left"] == 1.0
    assert moved(table, line_residues(7)["sum"], task) == {"answers_moved": 1.0, "train_answers_moved": 1.0}
    assert moved(table, line_residues(7)["diff"], task)["answers_moved"] == 0.0


def test_a_memory_of_half_survives_the_removal_only_on_its_own_rows():
    """Right everywhere, surer on training rows: what is left is the memory, and the two sides apart show it."""
    task = modular_task(7, 0.6, 0)
    table = 0.5 * task.targets.double()
    table[task.train] *= 2
    gone = removed(table, line_families(7)["sum"], task)
    assert gone["train_accuracy_left"] == 1.0 and gone["held_out_accuracy_left"] == 0.0
    assert gone["apart_accuracy_left"] <= 2 / 7 + 0.1


def test_mobility_agrees_with_a_dense_projector():
    kernel = layer_kernels(QuadraticMLP(7, 16, 0))["total"]
    found = mobility(kernel, 7)
    q = line_families(7)
    raw = {name: float(torch.trace(v @ v.T @ kernel)) for name, v in q.items()}
    placebo = sum(v for k, v in raw.items() if k not in ablation.USED) / 4
    assert found["sum"] == pytest.approx(raw["sum"] / placebo)
    assert found["n"] == pytest.approx(raw["n"] / placebo)


def test_tables_are_the_network():
    model, task = network(TINY, 0)
    tables = Tables.of(model, task.inputs)
    with torch.no_grad():
        assert torch.allclose(tables.outputs, model(task.inputs).double(), atol=1e-5)
        assert torch.allclose(tables.activations, model.activations(task.inputs).double(), atol=1e-4)
    assert left(tables.outputs, task)["train_accuracy_left"] > 0.5


def test_same_seed_same_numbers(result):
    again = ablation.run(TINY, seeds=[1])
    for name, values in again.metrics.items():
        assert values[0] == pytest.approx(result.metrics[name][1], rel=1e-6, abs=1e-12), name


@pytest.mark.parametrize(
    "change", [{"p": 9}, {"p": 8}, {"draws": 0}, {"lr": 0.0}, {"low_data_fraction": 0.01}], ids=str
)
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)
