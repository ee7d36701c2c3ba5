"""Blocks of a kernel against the kernel itself; the analysis of variance against its definition."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from entk_tutorial.infinite import (
    attention_kernel,
    cnn_kernel,
    hadamard_kernel,
    kernel_gradient_descent,
    linear_kernel,
    mlp_kernel,
    mv_kernel,
    rnn_kernel,
)
from entk_tutorial.infinite.blocks import (
    BIGRAMS,
    BLOCK_FAMILIES,
    bigram_split,
    bigram_weight,
    document_parts,
    feature_blocks,
    joined,
    training_map,
)

DOCS = [[0, 1, 1, 2], [3, 0], [2, 2, 2], [1, 0, 3, 2, 1], [4, 4]]
PAD = 9


def cnn(docs: list[list[int]], **settings: object) -> Tensor:
    return cnn_kernel(docs, padding=1, pad_token=PAD, **settings).ntk  # type: ignore[arg-type]


KERNELS: dict[str, Callable[[list[list[int]]], Tensor]] = {
    "linear": lambda d: linear_kernel(d).ntk,
    "mlp_relu": lambda d: mlp_kernel(d).ntk,
    "mlp_gelu": lambda d: mlp_kernel(d, activation="gelu").ntk,
    "mlp_tanh": lambda d: mlp_kernel(d, activation="tanh").ntk,
    "cnn_linear": lambda d: cnn(d, activation="linear"),
    "cnn_relu": cnn,
    "cnn_tanh": lambda d: cnn(d, activation="tanh"),
    "cnn_tanh_small": lambda d: cnn(d, activation="tanh", sigma_w=0.1),
    "attention": lambda d: attention_kernel(d).ntk,
    "hadamard": lambda d: hadamard_kernel(d).ntk,
    "mv": lambda d: mv_kernel(d).ntk,
    "rnn_gated": lambda d: rnn_kernel(d).ntk,
    "rnn_gated_half": lambda d: rnn_kernel(d, sigma_g=0.5).ntk,
}


def test_every_family_has_its_kernel() -> None:
    assert set(KERNELS) == set(BLOCK_FAMILIES)


@pytest.mark.parametrize("family", BLOCK_FAMILIES)
def test_blocks_add_up_to_the_kernel(family: str) -> None:
    exact = KERNELS[family](DOCS)
    blocks = feature_blocks(family, DOCS, pad_token=PAD)
    total = torch.stack([block.to_dense() for block in blocks.values()]).sum(0)
    torch.testing.assert_close(total, exact, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(joined(blocks).to_dense(), exact, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(training_map(blocks).to_dense(), exact, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("family", BLOCK_FAMILIES)
def test_two_lists_share_their_features(family: str) -> None:
    both = KERNELS[family](DOCS)
    blocks = feature_blocks(family, DOCS[3:], DOCS[:3], pad_token=PAD)  # the first list holds the longest document
    torch.testing.assert_close(joined(blocks).to_dense(), both[3:, :3], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(training_map(blocks).to_dense(), both[:3, :3], rtol=1e-10, atol=1e-10)


def test_odd_activations_have_no_length_beside_a_constant() -> None:
    assert "length" not in feature_blocks("mlp_tanh", DOCS, pad_token=PAD)
    table = feature_blocks("cnn_tanh", DOCS, pad_token=PAD)["length"].to_dense()
    assert float(table.max() - table.min()) < 1e-12  # the pad token: the same for all


@pytest.mark.parametrize("family", ["mv", "hadamard", "rnn_gated"])
def test_the_table_of_bigrams_is_the_bigram_block(family: str) -> None:
    alpha = torch.tensor([0.3, -1.0, 0.2, 0.5, -0.4], dtype=torch.float64)
    block = document_parts(feature_blocks(family, DOCS, pad_token=PAD), alpha)[BIGRAMS]
    split = bigram_split(DOCS, alpha, bigram_weight(family), torch.tensor([3.0, 4.0, 5.0, 2.0, 1.0]))
    torch.testing.assert_close(torch.stack(list(split.split(DOCS).values())).sum(0), block)


def test_analysis_of_variance_leaves_nothing_for_single_words() -> None:
    p = torch.tensor([3.0, 4.0, 5.0, 2.0, 0.0], dtype=torch.float64)
    found = bigram_split(DOCS[:4], torch.tensor([0.3, -1.0, 0.2, 0.5]).double(), 3.0, p)
    table = torch.from_numpy(found.table.toarray())
    first, second = torch.from_numpy(found.first), torch.from_numpy(found.second)
    pure = table - found.mean - first[:, None] - second[None, :]
    weights = p / p.sum()
    for side in (pure @ weights, pure.T @ weights):
        assert float(side[p > 0].abs().max()) < 1e-12
    assert abs(float(weights @ first)) < 1e-12 and abs(float(weights @ second)) < 1e-12


def test_a_table_of_single_words_has_no_pure_bigrams() -> None:
    # w(a, b) = u(a) over every pair of three words: all of it goes to the words.
    docs = [[a, b] for a in range(3) for b in range(3)]
    alpha = torch.tensor([float(d[0]) for d in docs])
    parts = bigram_split(docs, alpha, 1.0, torch.ones(3)).split([[2, 0, 1]])
    assert parts["bigrams"].abs().max() < 1e-12
    assert float(parts["length"] + parts["tokens"]) == pytest.approx(2.0)  # u(2) + u(0)


def test_gradient_descent_on_the_short_map_is_that_of_the_kernel() -> None:
    labels = torch.tensor([1, 0, 1, 0, 1])
    blocks = feature_blocks("rnn_gated", DOCS, pad_token=PAD)
    short = kernel_gradient_descent(training_map(blocks), labels, "logistic", 0.01, 20)
    exact = kernel_gradient_descent(rnn_kernel(DOCS).ntk, labels, "logistic", 0.01, 20)
    torch.testing.assert_close(short.outputs, exact.outputs)
    parts = document_parts(blocks, short.coefficients)
    torch.testing.assert_close(torch.stack(list(parts.values())).sum(0), exact.outputs)


def test_mistakes_are_named() -> None:
    with pytest.raises(ValueError, match="unknown family 'lstm'"):
        feature_blocks("lstm", DOCS, pad_token=PAD)
    with pytest.raises(ValueError, match="pad_token=3 occurs"):
        feature_blocks("mv", DOCS, pad_token=3)
    with pytest.raises(ValueError, match="5 documents, 2 coefficients"):
        bigram_split(DOCS, torch.zeros(2), 1.0, torch.ones(5))
    with pytest.raises(ValueError, match="frequencies"):
        bigram_split(DOCS, torch.zeros(5), 1.0, torch.zeros(5))
