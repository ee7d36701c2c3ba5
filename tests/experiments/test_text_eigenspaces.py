"""Propositions of the chapter on random and on trained networks, the ground truth, and a small run."""

from __future__ import annotations

import pytest
import torch

from entk_tutorial.data.fetch import NotFetchedError
from entk_tutorial.data.reviews import load_movie_reviews
from entk_tutorial.data.sentiment import sentiment_corpus
from entk_tutorial.empirical.kernel import empirical_ntk
from entk_tutorial.experiments import text_eigenspaces as study
from entk_tutorial.experiments.text_eigenspaces import ADDITIVE, BIGRAM, FAMILIES, Config, corpus_config
from entk_tutorial.experiments.text_lens import make_lens
from entk_tutorial.features.ngrams import beyond, bigram_counts, without, word_counts
from entk_tutorial.models.text import MLPText, MVText

SMALL = Config(train=60, documents=220, width=8, wide=64, steps=10)


@pytest.fixture(scope="module")
def corpus():
    return sentiment_corpus(corpus_config(SMALL), seed=50)


@pytest.fixture(scope="module")
def lens(corpus):
    return make_lens(corpus)


@pytest.fixture(scope="module")
def result():
    return study.run(Config(train=60, documents=220, width=8, wide=64, steps=20, families=("linear", "hadamard")), [50])


def trained(name, corpus, seed=50):
    network = FAMILIES[name].network(vocab=len(corpus.words), width=8, seed=seed)
    study.fit(network, torch.tensor(corpus.train), corpus.labels, scale=0.5, rate=0.1, steps=10)
    return network


@pytest.mark.parametrize("name", ADDITIVE)
def test_sums_over_places_have_no_pairs_after_training(name, corpus, lens):
    kernel = empirical_ntk(trained(name, corpus), torch.tensor(corpus.test))
    shares = lens.blocks.shares(kernel)
    assert abs(shares["bigrams"]) < 1e-10 and abs(shares["rest"]) < 1e-10
    assert "negation" not in lens.measure(kernel)


@pytest.mark.parametrize("name", BIGRAM)
def test_sums_over_pairs_have_nothing_else_after_training(name, corpus, lens):
    documents = torch.tensor(corpus.test)
    kernel = empirical_ntk(trained(name, corpus), documents)
    pairs = bigram_counts(documents, len(corpus.words)).flatten(1)
    edges = torch.cat([pairs, word_counts(documents, len(corpus.words))], 1)
    q = torch.linalg.svd(edges, full_matrices=False)
    basis = q.U[:, q.S > 1e-9 * q.S[0]]
    assert float(beyond(kernel, basis).trace() / kernel.trace()) < 1e-10
    assert abs(lens.blocks.shares(kernel)["rest"]) < 1e-10


def test_the_kernel_of_a_token_sum_is_that_of_one_word_documents(corpus):
    documents, vocab = torch.tensor(corpus.test), len(corpus.words)
    network = MLPText(vocab=vocab, width=8, seed=1)
    tokens = empirical_ntk(network, torch.arange(vocab)[:, None])
    counts = word_counts(documents, vocab)
    whole = empirical_ntk(network, documents)
    assert torch.allclose(counts @ tokens @ counts.T, whole, rtol=1e-9, atol=1e-9 * float(whole.abs().max()))
    expected = float(whole.mean() * len(whole) / whole.trace())
    assert study.constant_share(tokens, counts) == pytest.approx(expected)


def test_the_readout_kernel_is_the_gram_of_the_activations(corpus):
    documents = torch.tensor(corpus.test[:40])
    network = MVText(vocab=len(corpus.words), width=8, seed=2)
    kernel = empirical_ntk(network, documents, by="parameter")["v"]
    seen: list[torch.Tensor] = []
    network.read = lambda h: seen.append(h) or h[:, :1]
    network(documents)
    hidden = seen[0].detach()
    assert torch.allclose(kernel, hidden @ hidden.T / 8, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["linear", "mlp_relu", "attention_tied", "attention_heads"])
def test_blind_families_do_not_see_order(name, corpus):
    network = FAMILIES[name].network(vocab=len(corpus.words), width=8, seed=3)
    assert abs(study.order_share(network, torch.tensor(corpus.test), seed=0, number=20)) < 1e-10


def test_mv_sees_order(corpus):
    network = FAMILIES["mv"].network(vocab=len(corpus.words), width=8, seed=3)
    assert study.order_share(network, torch.tensor(corpus.test), seed=0, number=20) > 0.1


def test_ground_truth_finds_a_planted_negation(lens):
    planted = torch.outer(lens.negation, lens.negation) / lens.negation.square().sum()
    noise = 0.01 * torch.eye(len(planted)).double()
    found = lens.measure(planted + noise)
    assert found["negation"] > 0.999 and found["window"] > 0.999
    lifts = lens.lifts(noise + planted, noise)
    assert lifts["lift"] > 2 * lifts["lift_elsewhere"] and lifts["preference"] > 2
    assert lens.lifts(noise, noise)["preference"] == pytest.approx(1)


def test_directions_are_pure_and_signed(corpus, lens):
    for f in (lens.negation, lens.held_out, *lens.elsewhere, *lens.other_signs):
        assert float((lens.blocks.additive.T @ f).abs().max()) < 1e-9
    pairs = bigram_counts(torch.tensor(corpus.test), len(corpus.words))[:, corpus.negation]
    weights = -corpus.polarity.double()
    weights[list(corpus.held_out)] = 0
    assert torch.allclose(without(pairs @ weights, lens.blocks.additive), lens.negation)
    assert lens.row.shape[1] == 6 and len(lens.elsewhere) == 4


def test_fit_lowers_the_loss_and_is_lazy_for_large_outputs(corpus):
    documents = torch.tensor(corpus.train)
    moved = {}
    for scale in (0.5, 8.0):
        network = FAMILIES["mv"].network(vocab=len(corpus.words), width=8, seed=4)
        start = network.M.detach().clone()
        before = network(documents).detach()[:, 0]
        study.fit(network, documents, corpus.labels, scale=scale, rate=0.1, steps=10)
        change = scale * (network(documents).detach()[:, 0] - before)
        assert float((change * (2 * corpus.labels - 1)).mean()) > 0
        moved[scale] = float((network.M.detach() - start).norm())
    assert moved[8.0] < moved[0.5] / 8


def test_a_small_run_holds_all_states_and_chances(result):
    for control in ("untrained", "shuffled_labels", "infinite"):
        assert "hadamard_window" in result.controls[control]
    assert result.mean("hadamard_bigrams", "infinite") > 0.3
    assert abs(result.mean("linear_bigrams")) < 1e-10
    assert result.mean("constant_relu_limit") > result.mean("constant_tanh_limit")
    chance = study.chance(Config(families=("linear", "mv")))
    assert chance["mv_window"] == pytest.approx(6 / (500 - 73)) and "linear_window" not in chance


@pytest.mark.parametrize(
    "settings", [{"width": 0}, {"scale": 0.0}, {"rate": 1.5}, {"families": ("transformer",)}, {"length": 2}]
)
def test_settings_that_cannot_run_are_refused(settings):
    with pytest.raises(ValueError):
        Config(**settings)


def test_counts_of_review_sentences_leave_nothing_for_pairs():
    try:
        reviews = load_movie_reviews(seed=0)
    except NotFetchedError as error:
        pytest.skip(f"{error}")
    counts = torch.zeros(1000, len(reviews.words), dtype=torch.float64)
    for row, sentence in zip(counts, reviews.test, strict=False):
        row.index_add_(0, torch.tensor(sentence), torch.ones(len(sentence), dtype=torch.float64))
    assert int(torch.linalg.matrix_rank(counts)) == len(counts)
