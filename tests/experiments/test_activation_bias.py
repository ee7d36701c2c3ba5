from __future__ import annotations

import pytest
import torch

from entk_tutorial.data.sentiment import SentimentConfig, sentiment_corpus
from entk_tutorial.experiments import activation_bias
from entk_tutorial.experiments.activation_bias import (
    Config,
    Scales,
    closed_ratio,
    kernel_ratio,
    limit_scores,
    network_scores,
    relative_bias,
)
from entk_tutorial.infinite import as_documents
from entk_tutorial.models.centred import train_scores
from entk_tutorial.models.text import MLPText

CORPUS = sentiment_corpus(SentimentConfig(imbalance=4.0), seed=7)


def test_counts_train_as_documents_do() -> None:
    lr = limit_scores(CORPUS, "gelu", steps=1)[1]
    fast = network_scores(CORPUS, "gelu", 48, 3, lr, steps=5)
    words = torch.arange(len(CORPUS.words))[:, None]
    tokens = torch.from_numpy(as_documents(CORPUS.train).tokens)
    model = MLPText(len(words), 48, activation="gelu", seed=3, dtype=torch.float32)
    slow = train_scores(model, tokens, CORPUS.labels, words, lr=lr, record_at=[5])[0].double()
    assert float((fast - slow).abs().max()) < 1e-4 * float(slow.abs().max())


def test_wide_networks_follow_the_limit() -> None:
    limit, lr = limit_scores(CORPUS, "relu")
    found = [relative_bias(network_scores(CORPUS, "relu", 512, s, lr), CORPUS) for s in range(4)]
    assert abs(sum(found) / 4 - relative_bias(limit, CORPUS)) < 0.1


def test_a_frozen_readout_has_no_bias_in_the_limit() -> None:
    assert abs(relative_bias(limit_scores(CORPUS, "relu", frozen=("v",))[0], CORPUS)) < 1e-12
    assert relative_bias(limit_scores(CORPUS, "relu")[0], CORPUS) > 0.2


def test_relu_is_the_same_at_every_variance() -> None:
    one = relative_bias(limit_scores(CORPUS, "relu")[0], CORPUS)
    small = relative_bias(limit_scores(CORPUS, "relu", Scales(w=0.01, v=100.0))[0], CORPUS)
    assert small == pytest.approx(one, rel=1e-9)


@pytest.mark.parametrize("readout", [0.01, 1.0])
def test_ratio_of_raw_kernels(readout: float) -> None:
    scales = Scales(0.1, 0.1, readout, raw=True)
    mean = sum(kernel_ratio("relu", 128, seed, scales) for seed in range(6)) / 6
    assert mean == pytest.approx(closed_ratio("relu", scales), rel=0.1, abs=0.004)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"imbalances": (2.0, 1.0)}, "growing"),
        ({"widths": ()}, "one or more"),
        ({"variances": (0.0,)}, "positive"),
        ({"steps": 0}, "positive"),
        ({"imbalances": (1e6,)}, "empty"),
    ],
)
def test_settings_that_cannot_run_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)  # type: ignore[arg-type]


def test_names_of_a_short_run() -> None:
    config = Config(imbalances=(4.0,), widths=(32,), variances=(), readouts=(), steps=5)
    result = activation_bias.run(config, seeds=[0])
    assert set(result.controls) == {"frozen_readout", "shuffled_labels"}
    assert result.mean("relu_4_limit") > result.mean("gelu_4_limit") > result.mean("silu_4_limit") > 0
