"""The experiment at a tiny size: what it returns, the linearised model against its dense twin, the propositions."""

from dataclasses import replace

import pytest
import torch

from entk_tutorial.data.superposition import importance_weights
from entk_tutorial.empirical import LinearizedModel, empirical_ntk, jacobian, top_eigenpairs
from entk_tutorial.experiments import superposition as sp
from entk_tutorial.experiments.superposition import Config, fit, leading_directions, linearised, samples
from entk_tutorial.features.superposition import channel_labels

TINY = Config(n_features=6, n_samples=80, small=3, large=5, steps=60, shuffles=2, device="cpu")


@pytest.fixture(scope="module")
def result():
    return sp.run(TINY, seeds=[0, 1])


def test_every_setting_measure_and_control(result):
    assert all(len(v) == 2 for v in result.metrics.values())
    for setting in sp.SETTINGS:
        for parameters in sp.PARAMETERS:
            for beta in sp.BETAS:
                for measure in sp.MEASURES:
                    name = f"{setting}_{parameters}_{beta}_{measure}"
                    for values in (
                        result.metrics[name],
                        *(result.controls[c][name] for c in ("untrained", "shuffled")),
                    ):
                        assert bool(((values >= 0) & (values <= 6)).all()), name
    assert set(result.controls) == {
        "untrained", "shuffled", "output_neurons", "pca_hidden", "pca_outputs", "dictionary_hidden",
        "dictionary_outputs", "small_ridge",
    }  # fmt: skip
    assert set(result.chance) <= set(result.metrics)
    for kind in ("", "untrained"):
        assert len(result.series[f"{kind}sparse10_all_b0_spectrum"][0]) == 18
        curve = result.series[f"{kind}sparse10_w_b33_overlap"][0]
        where = result.controls["untrained"] if kind else result.metrics
        assert curve[5] == pytest.approx(where["sparse10_w_b33_overlap"][0])


def test_same_seed_same_numbers_and_the_random_state_is_left(result):
    before = torch.get_rng_state()
    again = sp.run(TINY, seeds=[1])
    assert torch.equal(before, torch.get_rng_state())
    for name, values in again.metrics.items():
        assert values[0] == pytest.approx(result.metrics[name][1], rel=1e-6, abs=1e-9), name


@pytest.mark.parametrize("parameters", ["all", "w"])
@pytest.mark.parametrize("beta", [0.0, 0.33, 1.0])
def test_the_small_gram_gives_the_pairs_of_the_large_kernel(parameters, beta):
    model, x = fit(TINY, "sparse40", 0)[0].double(), samples(TINY, "sparse40", 0).double()
    names = list(dict(model.named_parameters()))
    kernels = empirical_ntk(model, x, reduce="flat", by="parameter")
    kernel = sum(kernels[n] for n in (names if parameters == "all" else ["weight"]))
    scale = importance_weights(6).double()[channel_labels(80, 6)] ** (beta / 2)
    slow = top_eigenpairs(scale[:, None] * kernel * scale)
    vectors, spectrum = leading_directions(TINY, model, x, parameters, beta, 8)
    torch.testing.assert_close(spectrum[:8], slow.values[:8], rtol=1e-8, atol=1e-12)
    gap = int((spectrum[:7] / spectrum[1:8]).argmax()) + 1  # projectors are compared at the widest gap, never vectors
    u, v = vectors[:, :gap], slow.vectors[:, :gap]
    torch.testing.assert_close(u @ u.T, v @ v.T, atol=1e-7, rtol=0)


def test_the_linearised_model_is_that_of_the_dense_kernel():
    model = fit(TINY, "sparse40", 0)[0].double()
    x, fresh = samples(TINY, "sparse40", 0).double(), samples(TINY, "sparse40", 0, fresh=True).double()
    fast = linearised(TINY, model, x, fresh, 0.0, 1e-2)
    dense = LinearizedModel(model, x, x, ridge=1e-2, around="zero")
    importance = importance_weights(6).double()
    for name, inputs in (("", x), ("fresh_", fresh)):
        with torch.no_grad():
            own = model(inputs)
        slow = dense.predict(inputs)
        ratio = (importance * (slow - inputs) ** 2).mean() / (importance * (own - inputs) ** 2).mean()
        assert fast[f"{name}ratio"] == pytest.approx(float(ratio), rel=1e-7)
        r2 = 1 - (slow - own).square().sum() / (own - own.mean(0)).square().sum()
        assert fast[f"{name}r2"] == pytest.approx(float(r2), rel=1e-7)


def test_the_model_lies_in_its_own_tangent_space():
    model = fit(TINY, "sparse10", 0)[0].double()
    x = samples(TINY, "sparse10", 0).double()
    half = torch.cat([model.weight.detach().flatten() / 2, model.bias.detach()])
    torch.testing.assert_close(jacobian(model, x) @ half, model(x).detach())


def test_at_a_stationary_point_the_linearised_model_is_the_model():
    config = replace(TINY, steps=3000, lr=1e-2)
    model, x = fit(config, "dense10", 0)[0], samples(config, "dense10", 0)
    same = linearised(config, model, x, x, 1.0, 1e-6)
    other = linearised(config, model, x, x, 0.0, 1e-6)
    assert same["r2"] > 0.999 and same["ratio"] == pytest.approx(1, abs=1e-3)
    assert other["ratio"] > 1.001


@pytest.mark.parametrize(
    "change",
    [{"sparse": 1.0}, {"dense": -0.1}, {"decay": 0.0}, {"small": 2}, {"large": 7}, {"small": 6}, {"steps": -1},
     {"n_samples": 1}, {"lr": 0.0}, {"ridge": 0.0}, {"threshold": 1.5}, {"shuffles": 0}],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)


def test_an_unknown_setting_is_named():
    with pytest.raises(ValueError, match="dense10, sparse10, sparse40"):
        TINY.setting("sparse20")


def test_training_lowers_the_loss():
    before, after = (fit(replace(TINY, steps=s), "sparse10", 0)[1] for s in (0, 200))
    assert after < 0.7 * before
