"""Label scores: the fast training against the slow one, the formula against brute force, a short run."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from entk_tutorial.data.sentiment import SentimentConfig, sentiment_corpus
from entk_tutorial.experiments import label_scores as study
from entk_tutorial.experiments.label_scores import Config, finite_scores, infinite_scores
from entk_tutorial.infinite import as_documents, mlp_kernel
from entk_tutorial.models.centred import train_scores
from entk_tutorial.models.text import MLPText

CORPUS = sentiment_corpus(SentimentConfig(train=40, test=20), seed=1)


@pytest.mark.parametrize(("training", "frozen"), [("gd", ()), ("embedding", ("W", "v"))])
def test_scores_by_words_are_those_of_a_pass_over_documents(training: str, frozen: tuple[str, ...]) -> None:
    fast, start = finite_scores(CORPUS, 16, training, lr=0.05, steps=6, seed=3)
    words = torch.arange(len(CORPUS.words))[:, None]
    documents = torch.from_numpy(as_documents(CORPUS.train).tokens)
    model = MLPText(len(CORPUS.words), 16, activation="tanh", seed=3)
    assert np.allclose(start, model(words)[:, 0].detach().numpy(), atol=1e-6)
    slow = train_scores(model, documents, CORPUS.labels, words, lr=0.05, record_at=[0, 1, 6], freeze=frozen)
    assert np.allclose(fast[[0, 1, 6]], slow.numpy(), atol=1e-4)
    assert np.abs(fast[6]).max() > 0.05


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_velocity_from_counts_is_the_dense_kernels(activation: str) -> None:
    probes = [[a] for a in range(len(CORPUS.words))]
    dense = mlp_kernel(probes, CORPUS.train, activation=activation).ntk @ (CORPUS.labels.double() - 0.5)
    assert torch.allclose(study.cooccurrence_velocity(CORPUS, activation), dense, atol=1e-9)


def test_first_step_of_a_wide_network_is_the_formula() -> None:
    scores, _ = finite_scores(CORPUS, 4096, "gd", lr=0.01, steps=2, seed=0)
    formula = 0.01 * study.cooccurrence_velocity(CORPUS, "tanh").numpy()
    assert np.linalg.norm(scores[1] - formula) < 0.2 * np.linalg.norm(formula)


def test_embedding_alone_gives_every_word_the_sign_of_its_count() -> None:
    scores, _ = finite_scores(CORPUS, 8, "embedding", lr=0.01, steps=2, seed=0)
    table = CORPUS.counts()
    difference = (table[:, 1] - table[:, 0]).numpy()
    assert np.array_equal(np.sign(scores[1]), np.sign(difference))


def test_infinite_scores_start_at_the_formula() -> None:
    run = infinite_scores(CORPUS, "mlp_relu", CORPUS.labels, (1, 2), 0.1)
    assert np.allclose(run.scores[0], run.lr * study.cooccurrence_velocity(CORPUS, "relu").numpy(), atol=1e-9)
    assert run.test.shape == (20,)


def test_short_run_without_reviews() -> None:
    result = study.run(Config(reviews=False, widths=(32, 512), gd_only=32, steps=10, record=(1, 10, 100)), seeds=[0])
    assert result.metrics["generated_velocity_tanh"][0] > 1 - 1e-9
    assert result.metrics["generated_gd_512_limit"][0] > 0.95
    assert result.metrics["generated_gd_512_first_error"][0] < result.metrics["generated_gd_32_first_error"][0]
    assert "generated_adagrad_512_sign" not in result.metrics
    assert abs(result.controls["shuffled_labels"]["generated_mlp_tanh_spearman_last"][0]) < 0.7
    assert len(result.series["generated_gd_32_sign"][0]) == 11


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="growing whole numbers"):
        Config(widths=(64, 64))
    with pytest.raises(ValueError, match="rate between 0 and 1"):
        Config(rate=2.0)
    with pytest.raises(ValueError, match="unknown training"):
        finite_scores(CORPUS, 8, "adam", lr=0.1, steps=1, seed=0)
    with pytest.raises(ValueError, match="not finite"):
        finite_scores(CORPUS, 8, "gd", lr=1e30, steps=5, seed=0)
