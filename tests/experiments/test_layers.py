"""The layers experiment on a tiny modulus: identities, controls, ablation at each place, stored weights or training."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.experiments import layers, modular_transformer
from entk_tutorial.experiments.layers import (
    Config,
    SeenLogits,
    layer_inputs,
    seen_kernels,
    trained_transformer,
    transformer_ablation,
)
from entk_tutorial.features.ablation import line_families, without_functions
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.transformer import TENSORS, ModularTransformer, modular_tokens

TINY = Config(p=7, d_model=8, heads=2, d_mlp=16, epochs=4, hidden=32, mlp_epochs=5, draws=10, device="cpu")


@pytest.fixture(scope="module")
def result():
    return layers.run(TINY, seeds=[0])


def test_identities_hold_for_any_weights(result):
    for name, values in result.metrics.items():
        if "identity" in name or name == "loss_along_mean":
            assert bool((values < 1e-10).all()), name


def test_where_the_kernel_is_pca_the_shares_are_those_of_pca(result):
    for layer in ("mlp_fc2", "W_out", "W_U"):
        for family in ("sum", "axes", "diff"):
            name = f"{layer}_{family}"
            assert result.metrics[name] == pytest.approx(result.controls["pca"][name], abs=1e-8)
    assert abs(result.metrics["W_in_sum"][0] - result.controls["pca"]["W_in_sum"][0]) > 1e-6


def test_shares_lie_between_0_and_1_and_chance_is_named(result):
    for numbers in (result.metrics, result.controls["seen"], result.controls["untrained"]):
        for layer in layers.LAYERS:
            if f"{layer}_axes" in numbers:
                assert 0 <= numbers[f"{layer}_axes"][0] <= 1 and 0 <= numbers[f"{layer}_sum"][0] <= 1
    assert set(result.chance) <= set(result.metrics)
    assert result.metrics["mlp_fc1_sum_over_null"][0] == pytest.approx(1, abs=1e-6)  # by identity


def test_seen_logits_leave_out_the_mean_and_the_sign_for_equals():
    """K = J J^T of the projected logits, against a projection of the full kernel."""
    model = ModularTransformer(7, d_model=8, heads=2, d_mlp=16, seed=3)
    found = seen_kernels(model)
    tokens = modular_tokens(7)
    full = empirical_ntk(model.double(), tokens[:6], reduce="full", by="parameter")
    keep = torch.zeros(7, 8, dtype=torch.float64)
    keep[:, :7] = torch.eye(7) - 1 / 7
    for name in TENSORS:
        expected = torch.einsum("nmcd,ec,ed->nm", full[name], keep, keep)
        assert torch.allclose(found[name][:6, :6], expected, atol=1e-9), name
    assert float(SeenLogits(model)(tokens).detach().sum(1).abs().max()) < 1e-9


def test_layer_inputs_are_what_the_weights_multiply():
    model = ModularTransformer(7, d_model=8, heads=2, d_mlp=16, seed=1)
    read = layer_inputs(model, QuadraticMLP(7, 16, 0))
    net, tokens = model.double(), modular_tokens(7)
    with torch.no_grad():
        after = net.embed(tokens)[:, -1] + read["W_O"] @ net.W_O.T
        assert torch.allclose(after, read["W_in"], atol=1e-9)
        assert torch.allclose(read["W_U"] @ net.W_U.T, net(tokens), atol=1e-9)


def test_ablation_at_each_place_against_a_pass_written_out():
    p = 7
    model, task = trained_transformer(TINY, 0)
    out = transformer_ablation(model, task, 3, 0)
    assert set(out) == {"without_sum", "without_diff", "without_axes", "without_random", "without_placebo", "intact"}
    net, tokens, q = model.double(), modular_tokens(p), line_families(p)["sum"]
    with torch.no_grad():
        r = without_functions(net.after_attention(tokens), q)
        expected = {
            "after_attention": (r + (r @ net.W_in.T).relu() @ net.W_out.T) @ net.W_U.T,
            "neurons": (net.after_attention(tokens) + without_functions(net.neurons(tokens), q) @ net.W_out.T)
            @ net.W_U.T,
            "logits": without_functions(net(tokens), q),
        }
    for place, logits in expected.items():
        right = float((logits[:, :p].argmax(1) == task.labels).double().mean())
        assert out["without_sum"][f"{place}_accuracy"] == pytest.approx(right), place
    assert out["without_random"]["logits_accuracy"] > 0.5 * out["intact"]["logits_accuracy"]


def test_stored_weights_are_taken_only_if_the_settings_are_theirs(monkeypatch):
    settings = ("p", "d_model", "heads", "d_mlp", "train_fraction", "epochs", "batch", "lr", "weight_decay")
    stored = SimpleNamespace(config={k: getattr(TINY.transformer, k) for k in settings})
    marked = ModularTransformer(7, d_model=8, heads=2, d_mlp=16, seed=99).state_dict()
    monkeypatch.setattr(layers, "load_result", lambda name: stored)
    monkeypatch.setattr(layers, "load_stored_checkpoint", lambda name, seed: marked)
    assert torch.equal(trained_transformer(TINY, 0)[0].W_U, marked["W_U"])
    other = replace(TINY, epochs=2)
    ours = modular_transformer.fit(other.transformer, trained_transformer(other, 0)[1], 0)[0]
    assert torch.equal(trained_transformer(other, 0)[0].W_U, ours.W_U)

    def missing(name, seed):
        raise ValueError("no such seed")

    monkeypatch.setattr(layers, "load_stored_checkpoint", missing)
    assert not torch.equal(trained_transformer(TINY, 0)[0].W_U, marked["W_U"])


@pytest.mark.parametrize("change", [{"p": 9}, {"p": 5}, {"draws": 0}, {"heads": 3}, {"epochs": -1}], ids=str)
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)
