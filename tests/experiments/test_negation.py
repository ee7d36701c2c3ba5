from __future__ import annotations

import pytest
import torch

from entk_tutorial.data.sentiment import SentimentConfig, sentiment_corpus
from entk_tutorial.experiments import negation
from entk_tutorial.experiments.negation import ADDITIVE, Config
from entk_tutorial.infinite.probes import FAMILY_KERNELS


@pytest.fixture(scope="module")
def result() -> negation.Result:
    return negation.run(Config(steps=150, twins=()), seeds=[50])


@pytest.mark.parametrize("name", ADDITIVE)
def test_additive_families_have_no_double_difference(result: negation.Result, name: str) -> None:
    assert result.mean(f"{name}_dd") < 1e-10
    assert result.mean(f"{name}_dd_held_out") < 1e-10


@pytest.mark.parametrize("name", sorted(set(negation.NAMES) - set(ADDITIVE) - {"residual_product"}))
def test_the_others_turn_what_training_negates(result: negation.Result, name: str) -> None:
    assert result.mean(f"{name}_interaction") > 0.05


def test_one_hot_pairs_are_memorised_and_similar_vectors_carry_over(result: negation.Result) -> None:
    assert result.mean("mv_dd_held_out") < 1e-10
    assert result.mean("mv_accuracy_negated_held_out") < 0.5
    assert result.mean("mv_vectors_accuracy_negated_held_out") > 0.9


def test_controls_take_the_lead_away(result: negation.Result) -> None:
    lead = result.mean("mv_accuracy") - result.mean("linear_accuracy")
    assert lead > 0.1
    assert result.mean("mv_margin", "shuffled_words") < lead / 2
    # A bag of words does not see that its words were moved.
    assert result.mean("linear_accuracy", "shuffled_words") == pytest.approx(result.mean("linear_accuracy"))


def test_measures_of_a_perfect_and_of_an_additive_reader() -> None:
    corpus = sentiment_corpus(SentimentConfig(train=60, test=60), seed=3)
    words = negation.polar_words(corpus)
    sign = corpus.polarity[words].double()
    truth = 2.0 * corpus.test_labels - 1
    zero = torch.zeros_like(sign)
    perfect = torch.stack([-sign, zero, sign, zero], dim=1).flatten()
    found = negation.measure(corpus, torch.ones(60), truth, perfect)
    assert (found["accuracy"], found["flip"], found["interaction"], found["dd"]) == (1.0, 1.0, 2.0, 2.0)
    # A reader that only dislikes "not" flips every positive word and no negative one, without any interaction.
    adding = torch.stack([sign - 3, zero - 3, sign, zero], dim=1).flatten()
    found = negation.measure(corpus, torch.ones(60), truth, adding)
    assert (found["flip"], found["interaction"], found["dd"]) == (0.5, 0.0, 0.0)


def test_the_finite_matrix_vector_model_follows_its_kernel() -> None:
    corpus, config = (
        sentiment_corpus(SentimentConfig(train=80, test=60), seed=3),
        Config(steps=60, width=16, mv_width=64),
    )
    exact, _, rate = negation.learn(config, corpus, FAMILY_KERNELS["matrix-vector (MV)"])
    found = negation.learn_finite(config, corpus, "mv", rate, seed=0)
    assert found["interaction"] == pytest.approx(exact["interaction"], rel=0.4)
    adding = negation.learn_finite(config, corpus, "cnn_linear", rate, seed=0)
    assert adding["dd"] < 1e-4


def test_controls_keep_words_and_labels() -> None:
    corpus = sentiment_corpus(seed=1)
    mixed, dealt = negation.shuffled_words(corpus, 0), negation.random_labels(corpus, 0)
    assert [sorted(d) for d in mixed.train] == [sorted(d) for d in corpus.train]
    assert mixed.train != corpus.train
    assert int(dealt.labels.sum()) == int(corpus.labels.sum())
    assert not torch.equal(dealt.labels, corpus.labels)


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"rate": 1.0}, {"similarity": 1.0}, {"width": 0}, {"twins": ("transformer",)}]
)
def test_settings_that_cannot_run_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Config(**settings)  # type: ignore[arg-type]
