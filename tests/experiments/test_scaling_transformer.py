from dataclasses import replace

import pytest
import torch
from torch.nn.functional import cross_entropy

from entk_tutorial.experiments import scaling_transformer
from entk_tutorial.experiments.modular_transformer import tensor_kernels
from entk_tutorial.experiments.scaling_transformer import Config, first_step, fit, network, task_of, tensor_windows
from entk_tutorial.features.key_frequencies import window_shares
from entk_tutorial.models.transformer import ModularTransformer, modular_tokens
from entk_tutorial.models.transformer_tables import table_logits

TINY = Config(p=7, d_model=8, heads=2, d_mlp=8, train_fraction=0.8, max_steps=100, record_every=10, keep=False)


def test_tables_give_the_logits_and_gradients_of_the_network():
    model = ModularTransformer(7, d_model=12, heads=3, d_mlp=20, seed=1).double()
    tokens = modular_tokens(7)[torch.randperm(49, generator=torch.Generator().manual_seed(0))[:31]]
    labels = (tokens[:, 0] + tokens[:, 1]) % 7
    found = []
    for logits in (model(tokens), table_logits(model, tokens[:, :2])):
        grads = torch.autograd.grad(cross_entropy(logits, labels), list(model.parameters()))
        found.append((logits, *grads))
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


def test_tables_refuse_tokens():
    with pytest.raises(ValueError, match=r"pairs have shape \(49, 3\)"):
        table_logits(ModularTransformer(7, d_model=8, heads=2, d_mlp=8), modular_tokens(7))


def test_a_run_that_was_cut_short_goes_on_to_the_same_network(tmp_path, monkeypatch):
    whole, curves = fit(TINY, 0)
    cut = tmp_path / "state.pt"

    def stop(fraction, message=""):
        if fraction > 0.7 and not cut.with_name("again").exists():
            cut.with_name("again").touch()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(replace(TINY, record_every=5), 0, stop, cut=cut)
    assert torch.load(cut, weights_only=True)["step"] == 50
    again, _ = fit(replace(TINY, record_every=5), 0, stop, cut=cut)
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weight, rtol=1e-5, atol=1e-7)
    assert curves["step"] == list(range(10, 101, 10))


def test_windows_are_those_of_the_experiment_at_29():
    model, keys = network(TINY, 3), [1]
    shares, spectra = tensor_windows(model, keys, ("W_in", "W_U"), held_out=task_of(TINY, 3).train)
    for name, kernel in tensor_kernels(model, names=("W_in", "W_U")).items():
        values, vectors = torch.linalg.eigh(kernel)
        expected = window_shares(vectors.flip(1), 7, keys)
        assert all(abs(shares[f"{name}_{key}"] - value) < 1e-3 for key, value in expected.items())
        torch.testing.assert_close(
            torch.tensor(spectra[name], dtype=torch.float64), values.flip(0)[:6], rtol=1e-4, atol=1e-6
        )
    assert "W_U_held_out_window1_sum" in shares


def test_the_step_at_which_a_curve_gets_there():
    curves = {"step": [10.0, 20.0], "test_accuracy": [0.2, 0.4]}
    assert first_step(curves, "test_accuracy", 0.4) == 20.0 and first_step(curves, "test_accuracy", 0.5) is None


@pytest.mark.parametrize("settings", [{"p": 5}, {"age": 0.5}, {"betas": (0.9, 1.0)}, {"max_steps": 30}])
def test_settings_that_cannot_run_are_refused(settings):
    with pytest.raises(ValueError, match=r"p=5|age|betas|no multiple"):
        Config(**settings)


@pytest.mark.slow
def test_the_quick_config_groks_and_leads_with_the_sum():
    record = scaling_transformer.run_seed(scaling_transformer.EXPERIMENT.quick, 0, lambda fraction, message="": None)
    assert record.metrics["grokked"] == 1 and record.metrics["W_U_window1_sum"] > 0.8
    assert record.metrics["sum_below_max"] < 0.6 and record.controls["untrained"]["W_U_window1_sum"] < 0.1
