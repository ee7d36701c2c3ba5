from __future__ import annotations

import numpy as np
import pytest
import torch

from entk_tutorial.data.sentiment import SentimentConfig, sentiment_corpus
from entk_tutorial.experiments import decision
from entk_tutorial.experiments.decision import COMPOSING, FAMILIES, Config
from entk_tutorial.experiments.decision_parts import decide, flip_measures, flips, interaction, sum_measures, word_sum
from entk_tutorial.models.text import MLPText


@pytest.fixture(scope="module")
def result() -> decision.Result:
    return decision.run(Config(reviews=False, widths=()), seeds=[50])


@pytest.mark.parametrize("name", FAMILIES)
def test_parts_add_up_in_both_splits(result: decision.Result, name: str) -> None:
    assert result.mean(f"{name}_block_error") < 1e-10
    assert result.mean(f"{name}_pure_error") < 1e-10


def test_words_are_all_there_is_in_additive_families(result: decision.Result) -> None:
    for name in ("linear", "mlp_relu", "mlp_tanh"):
        assert result.mean(f"{name}_sum_gap") < 1e-10
    assert result.mean("mv_sum_agree") < 0.9


@pytest.mark.parametrize("name", sorted(set(COMPOSING) - {"hadamard"}))
def test_without_pairs_the_negated_documents_change(result: decision.Result, name: str) -> None:
    assert result.mean(f"{name}_pure_flip_negated") > 1.3 * result.mean(f"{name}_pure_flip_plain")
    # A part dealt to other documents knows nothing of negations, though these may lie nearer to the border.
    dealt = result.mean(f"{name}_pure_flip_negated", "dealt_part")
    assert result.mean(f"{name}_pure_flip_negated") > 1.2 * dealt


def test_length_speaks_only_with_relu_and_imbalance(result: decision.Result) -> None:
    assert result.mean("relu_4_length_share") > 0.3
    assert result.mean("tanh_4_length_share") == 0.0
    assert result.mean("relu_4_positive_32") >= result.mean("relu_4_positive_8")
    assert result.mean("tanh_4_positive_32") == result.mean("tanh_4_positive_8")


def test_a_held_out_negation_has_no_pure_pair_of_its_own() -> None:
    corpus = sentiment_corpus(SentimentConfig(train=80, test=40), seed=3)
    found = decide(corpus, "mv", steps=40, rate=0.5)
    # By blocks a pair that training never held says exactly nothing.
    one = decide(
        decision.replace(corpus, test=[[corpus.negation, corpus.held_out[0]]], test_labels=torch.tensor([0])),
        "mv", steps=40, rate=0.5,
    )  # fmt: skip
    assert abs(float(interaction(one.blocks)[0])) < 1e-12
    assert np.abs(interaction(found.blocks)).max() > 0.1


def test_flips_and_their_control() -> None:
    corpus = sentiment_corpus(SentimentConfig(train=80, test=40), seed=3)
    found = decide(corpus, "linear", steps=20, rate=0.5)
    groups = {"plain": np.arange(40) < 20}
    mine, dealt = flip_measures(found, 2 * found.logits, corpus.test_labels, groups, seed=0)
    assert mine["flip"] == mine["flip_plain"] == 1.0 and dealt["flip"] < 1.0
    nothing, _ = flip_measures(found, np.zeros(40), corpus.test_labels, groups, seed=0)
    assert nothing == {"flip": 0.0, "flip_plain": 0.0, "gain": 0.0}
    assert flips(np.array([0.5]), np.array([0.6])).tolist() == [True]


def test_label_scores_sum_to_the_logit_of_a_per_token_network_and_not_of_mv() -> None:
    corpus = sentiment_corpus(SentimentConfig(train=80, test=40), seed=3)
    assert sum_measures(decide(corpus, "mlp_relu", steps=20, rate=0.5), corpus.test)["sum_gap"] < 1e-10
    assert sum_measures(decide(corpus, "mv", steps=20, rate=0.5), corpus.test)["sum_gap"] > 0.1
    vocabulary = len(corpus.words)
    words = [[a] + [-1] * 7 for a in range(vocabulary)]
    model = MLPText(vocabulary + 1, 8, seed=0)
    probes = torch.tensor(corpus.test + words)
    outputs = decision.train_network(model.float(), corpus, probes, lr=0.01, steps=5)
    assert np.abs(outputs[:40] - word_sum(corpus.test, outputs[40:])).max() < 1e-4


@pytest.mark.parametrize("settings", [{"steps": 0}, {"rate": 1.0}, {"widths": (64, 16)}, {"longer": (4,)}])
def test_settings_that_cannot_run_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Config(**settings)  # type: ignore[arg-type]
