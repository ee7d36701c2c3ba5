"""The Transformer's experiment on a small modulus: what it returns, when it groks and when it does not."""

import copy
from dataclasses import replace

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import jacobian
from entk_tutorial.experiments import modular_transformer
from entk_tutorial.experiments.modular_transformer import (
    Config,
    fit,
    measure_tensors,
    neuron_concentration,
    shuffled_batches,
    tensor_kernels,
)
from entk_tutorial.features.key_frequencies import key_frequencies
from entk_tutorial.models.transformer import TENSORS, ModularTransformer, modular_tokens
from entk_tutorial.results import load_stored_checkpoint
from entk_tutorial.training import CheckpointError, TrainingError

TINY = Config(p=7, d_model=16, heads=2, d_mlp=12, epochs=4, batch=10, record_every=2, kernel_every=2, device="cpu")


@pytest.fixture(scope="module")
def result():
    return modular_transformer.run(TINY, seeds=[0, 1])


def test_one_value_a_seed_and_every_control(result):
    assert all(len(v) == 2 for v in result.metrics.values())
    assert set(result.controls) == {
        "untrained", "pca", "other_frequencies", "relabelled", "random_window", "random_labels",
    }  # fmt: skip
    assert set(result.chance) <= set(result.metrics)
    assert {f"{prefix}{t}_window1_sum" for prefix in ("", "trace_") for t in TENSORS} <= set(result.metrics)


def test_shares_are_shares(result):
    tables = [result.metrics, *result.controls.values()]
    for name, values in [(n, v) for table in tables for n, v in table.items() if "_window" in n or "_all_" in n]:
        assert bool(((values >= -1e-9) & (values <= 1 + 1e-9)).all()), name


def test_curves_have_the_lengths_of_their_axes(result):
    for i in (0, 1):
        assert result.series["epoch"][i] == [0, 2, 4] and result.series["kernel_epoch"][i] == [0, 2, 4]
        assert len(result.series["test_loss"][i]) == 3 and len(result.series["all_sum"][i]) == 3
        assert len(result.series["key_frequencies"][i]) == int(result.metrics["key_count"][i])


def test_a_run_that_does_not_grok_is_reported(result):
    assert not result.metrics["grokked"].any()
    assert (result.metrics["grokking_epoch"] == TINY.epochs).all()


def test_same_seed_same_numbers_and_the_random_state_is_left(result):
    before = torch.get_rng_state()
    again = modular_transformer.run(TINY, seeds=[1])
    assert torch.equal(before, torch.get_rng_state())
    for name, values in again.metrics.items():
        assert values[0] == pytest.approx(result.metrics[name][1], rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize(("reduce", "scale"), [("mean_logit", 1 / 64), ("trace", 1.0)])
def test_kernels_are_products_of_jacobians_in_double_precision_whatever_the_model_is_in(reduce, scale):
    model = ModularTransformer(7, d_model=8, heads=2, d_mlp=6, seed=1)
    parts = jacobian(copy.deepcopy(model).double(), modular_tokens(7), by="parameter")
    for name, kernel in tensor_kernels(model, reduce).items():
        j = parts[name]  # (N, C, P)
        slow = j.sum(1) @ j.sum(1).T * scale if reduce == "mean_logit" else torch.einsum("ncp,mcp->nm", j, j)
        torch.testing.assert_close(kernel, slow.detach(), rtol=1e-9, atol=1e-12)
    assert all(weight.requires_grad and weight.dtype == torch.float32 for weight in model.parameters())


def test_unembedding_and_output_kernels_are_grams_of_activations():
    model = ModularTransformer(7, d_model=8, heads=2, d_mlp=6, seed=1).double()
    tokens = modular_tokens(7)
    kernels = tensor_kernels(model, names=("W_U", "W_out"))
    with torch.no_grad():
        h, a = model.residual(tokens), model.neurons(tokens)
        readout = model.W_U.mean(0)  # the mean logit's direction in the residual stream
    torch.testing.assert_close(kernels["W_U"], h @ h.T / 8)  # 8 logits: mean over c, c' of [c = c']
    torch.testing.assert_close(kernels["W_out"], readout @ readout * (a @ a.T))


def test_batches_go_through_every_row_once_an_epoch():
    rows = torch.arange(100, 123)
    stream = shuffled_batches(rows, 10, torch.Generator().manual_seed(0))
    epochs = [torch.cat([next(stream) for _ in range(3)]) for _ in range(2)]
    assert all(torch.equal(e.sort().values, rows) for e in epochs) and not torch.equal(*epochs)


def test_a_run_that_diverges_names_the_step_and_keeps_the_rest():
    with pytest.raises(TrainingError, match="at step") as caught:
        fit(replace(TINY, lr=1e30), modular_task(7, 0.5, 0), 0)
    assert caught.value.history.metrics["train_loss"]


def test_neurons_of_one_frequency_are_pure():
    model = ModularTransformer(7, d_model=16, heads=2, d_mlp=3, seed=0)
    assert bool((neuron_concentration(model) <= 1 + 1e-9).all())
    with torch.no_grad():
        model.W_in.zero_()
    assert neuron_concentration(model).tolist() == [0.0]  # neurons that never vary


@pytest.mark.parametrize(
    "change",
    [{"p": 8}, {"p": 5}, {"train_fraction": 0.0}, {"heads": 3}, {"epochs": -2}, {"epochs": 3}, {"batch": 0},
     {"lr": 0.0}, {"lr": float("nan")}, {"weight_decay": -1.0}, {"record_every": 0}, {"kernel_every": 3}],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)


def test_stored_weights_are_those_of_the_run_and_no_others(tmp_path):
    config = replace(TINY, epochs=2, controls=False)
    modular_transformer.run(config, seeds=[3], results_dir=tmp_path)
    state = load_stored_checkpoint("modular_transformer", 3, tmp_path)
    model, _ = fit(config, modular_task(7, 0.5, 10_003), 3)
    assert all(torch.equal(state[name], weight) for name, weight in model.state_dict().items())
    with pytest.raises(RuntimeError, match="size mismatch"):
        ModularTransformer(7).load_state_dict(state)
    path = tmp_path / "modular_transformer.seed-3.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="SHA-256"):
        load_stored_checkpoint("modular_transformer", 3, tmp_path)


@pytest.mark.slow
def test_the_quick_config_groks_and_learns_the_sum():
    config = modular_transformer.EXPERIMENT.quick
    result = modular_transformer.run(config, seeds=[0])
    assert result.metrics["grokked"][0] == 1
    keys = result.series["key_frequencies"][0]
    assert (
        keys and result.metrics["W_U_window1_sum"][0] > 3 * result.controls["other_frequencies"]["W_U_window1_sum"][0]
    )
    untrained = config.network(0)
    assert key_frequencies(untrained.W_E, config.p) == []
    assert measure_tensors(tensor_kernels(untrained, names=["W_U"]), config.p, keys)[0]["W_U_window1_sum"] < 0.05
