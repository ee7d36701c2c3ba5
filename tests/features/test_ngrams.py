"""Ground truth of text: counts against loops, blocks against dimensions and brute force, shares that add up."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from entk_tutorial.features import ngrams
from entk_tutorial.features.ngrams import BLOCKS, beyond, bigram_counts, ngram_blocks, slot_counts, word_counts

V, T = 4, 5


@pytest.fixture
def documents() -> torch.Tensor:
    return torch.randint(V, (120, T), generator=torch.Generator().manual_seed(0))


def test_counts_are_those_of_a_loop(documents: torch.Tensor) -> None:
    documents = documents[:9].clone()
    documents[3, 2:] = -1
    words, pairs = word_counts(documents, V), bigram_counts(documents, V)
    for i, row in enumerate(documents.tolist()):
        text = [t for t in row if t >= 0]
        assert words[i].tolist() == [text.count(a) for a in range(V)]
        found = torch.zeros(V, V)
        for a, b in pairwise(text):
            found[a, b] += 1
        assert torch.equal(pairs[i].float(), found)
    assert ngrams.document_lengths(documents).tolist() == words.sum(1).tolist()


def test_pairs_count_words_but_for_the_edges(documents: torch.Tensor) -> None:
    pairs, words, slots = bigram_counts(documents, V), word_counts(documents, V), slot_counts(documents, V)
    assert torch.equal(pairs.sum(2), words - slots[:, -V:])
    assert torch.equal(pairs.sum(1), words - slots[:, :V])


def test_blocks_are_orthonormal_nested_and_span_their_families(documents: torch.Tensor) -> None:
    blocks = ngram_blocks(documents, V)
    assert [getattr(blocks, name).shape[1] for name in BLOCKS] == [1, V - 1, (T - 1) * (V - 1), (V - 1) ** 2]
    q = torch.cat([getattr(blocks, name) for name in BLOCKS], 1)
    assert torch.allclose(q.T @ q, torch.eye(q.shape[1], dtype=q.dtype), atol=1e-10)
    additive = blocks.additive
    for family in (word_counts(documents, V), slot_counts(documents, V)):
        assert float(ngrams.without(family, additive).abs().max()) < 1e-10
    everything = torch.cat([additive, blocks.bigrams], 1)
    assert float(ngrams.without(bigram_counts(documents, V).flatten(1), everything).abs().max()) < 1e-10


def test_over_all_documents_a_pure_bigram_is_a_double_difference() -> None:
    documents = torch.cartesian_prod(*[torch.arange(3)] * 3)
    blocks = ngram_blocks(documents, 3)
    contrast = torch.tensor([1.0, -1.0, 0.0]).double()
    f = torch.einsum("nab,a,b->n", bigram_counts(documents, 3), contrast, contrast)
    inside = blocks.bigrams @ (blocks.bigrams.T @ f)
    # Contrasts average to 0 over either word, so nothing had to be projected out.
    assert torch.allclose(inside, f, atol=1e-10)


def test_shares_of_an_isotropic_kernel_are_dimensions(documents: torch.Tensor) -> None:
    blocks = ngram_blocks(documents, V)
    shares = blocks.shares(torch.eye(len(documents)))
    n = len(documents)
    assert shares["constant"] == pytest.approx(1 / n)
    assert shares["bigrams"] == pytest.approx((V - 1) ** 2 / (n - 1))
    assert sum(shares[name] for name in ("words", "slots", "bigrams", "rest")) == pytest.approx(1)
    x = word_counts(documents, V)
    only = blocks.shares(x @ x.T)
    assert only["words"] == pytest.approx(1) and abs(only["bigrams"]) < 1e-12 and abs(only["slots"]) < 1e-12


def test_beyond_leaves_only_what_is_orthogonal(documents: torch.Tensor) -> None:
    blocks = ngram_blocks(documents, V)
    a = torch.randn(len(documents), 7, generator=torch.Generator().manual_seed(1)).double()
    rest = beyond(a @ a.T, blocks.additive)
    assert torch.equal(rest, rest.T)
    projector = torch.eye(len(a)).double() - blocks.additive @ blocks.additive.T
    assert torch.allclose(rest, projector @ a @ a.T @ projector, atol=1e-10)


def test_label_weighted_counts_are_the_first_step() -> None:
    training, labels = torch.tensor([[0, 1], [1, 1]]), torch.tensor([1, 0])
    counts = word_counts(training, 2)
    score = ngrams.label_weighted(torch.eye(2).double(), counts, labels)
    assert score.tolist() == [0.5, -0.5]  # half of (1 - 0) and of (1 - 2)


def test_rayleigh_and_cosine() -> None:
    k = torch.diag(torch.tensor([3.0, 1.0, 2.0]))
    assert ngrams.rayleigh(k, torch.tensor([0.0, 5.0, 0.0])) == pytest.approx(0.5)
    assert ngrams.squared_cosine(torch.tensor([1.0, 1.0]), torch.tensor([0.0, 2.0])) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: word_counts(torch.tensor([0, 1]), 2), "integer token ids"),
        (lambda: word_counts(torch.tensor([[0.5]]), 2), "integer token ids"),
        (lambda: word_counts(torch.tensor([[0, 2]]), 2), "vocab=2 allows 0 to 1"),
        (lambda: slot_counts(torch.tensor([[0, 1], [1, -1]]), 2), "different lengths"),
        (lambda: ngram_blocks(torch.tensor([[0, 1], [1, 0]]), 2), "nothing is left for pairs"),
        (lambda: ngrams.label_weighted(torch.eye(2), torch.eye(3), torch.ones(3)), "expected"),
    ],
)
def test_mistakes_are_named(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
