from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from entk_tutorial import infinite
from entk_tutorial.infinite import FeatureMap

S = {"sigma_e": 1.3, "sigma_v": 0.7}
DOCS = [[0, 1, 2], [1, 1], [3, 0, 1, 0, 4], [2, 4, 4], [0, 1, 0, 1, 2]]
CASES: list[tuple[Callable[..., FeatureMap], Callable[..., Any], dict[str, Any]]] = [
    (infinite.linear_features, infinite.linear_kernel, {**S, "pooling": "mean"}),
    *(
        (infinite.mlp_features, infinite.mlp_kernel, {**S, "activation": a, "pooling": p})
        for a in ("relu", "tanh")
        for p in ("sum", "mean")
    ),
    *(
        (infinite.cnn_features, infinite.cnn_kernel, {**S, "activation": a, "window": 2})
        for a in ("linear", "relu", "gelu", "tanh")
    ),
    (infinite.cnn_features, infinite.cnn_kernel, {**S, "window": 3, "padding": 1, "pad_token": 9, "pooling": "mean"}),
    (infinite.attention_features, infinite.attention_kernel, {**S, "beta": 1.4, "pooling": "mean"}),
    (infinite.attention_features, infinite.attention_kernel, {**S, "variant": "uniform", "query": "last"}),
    (infinite.hadamard_features, infinite.hadamard_kernel, {**S, "sigma_a": 0.9, "sigma_b": 1.1}),
    (infinite.mv_features, infinite.mv_kernel, {**S, "sigma_u": 0.9, "sigma_m": 1.1}),
    (infinite.gated_rnn_features, infinite.rnn_kernel, {**S, "sigma_g": 0.9, "sigma_u": 1.1, "sigma_b": 0.8}),
    (infinite.gated_rnn_features, infinite.rnn_kernel, {**S, "readout": "last", "sigma_g": 0.9}),
]


@pytest.mark.parametrize(("features", "kernel", "options"), CASES)
def test_inner_products_of_features_are_the_kernel(features: Any, kernel: Any, options: dict[str, Any]) -> None:
    # A dense identity Gram sends the kernel along the way that counts nothing: sums over pairs of positions.
    gram = np.eye(10)
    maps = features(DOCS, DOCS[:3], **options)
    exact = kernel(DOCS, DOCS[:3], gram=gram, **options).ntk
    torch.testing.assert_close(maps.to_dense(), exact, rtol=1e-12, atol=1e-12 * float(exact.abs().max()))
    torch.testing.assert_close(maps.train().to_dense(), kernel(DOCS, gram=gram, **options).ntk, rtol=1e-12, atol=1e-11)


def test_products_without_the_kernel() -> None:
    maps = infinite.mv_features(DOCS, DOCS[:3])
    vector, table = torch.randn(3, dtype=torch.float64), torch.randn(3, 2, dtype=torch.float64)
    dense = maps.to_dense()
    torch.testing.assert_close(maps @ vector, dense @ vector)
    torch.testing.assert_close(maps @ table, dense @ table)
    torch.testing.assert_close(maps.transpose().to_dense(), dense.T)
    assert maps.shape == (5, 3)


def test_seven_thousand_documents_need_no_table() -> None:
    docs = np.random.default_rng(0).integers(0, 5000, size=(7000, 20))
    maps = infinite.mv_features(docs)
    assert maps.first.nnz < 300_000 and maps.shape == (7000, 7000)
    assert (maps @ torch.ones(7000, dtype=torch.float64)).shape == (7000,)


def test_zero_padding_and_zero_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="give a pad_token"):
        infinite.cnn_features(DOCS, padding=1)
    with pytest.raises(ValueError, match="variant 'heads' has no such features"):
        infinite.attention_features(DOCS, variant="heads")
    with pytest.raises(ValueError, match="the kernel is 0"):
        infinite.linear_features(DOCS, sigma_e=0.0)
    with pytest.raises(ValueError, match="unknown readout"):
        infinite.gated_rnn_features(DOCS, readout="mean")
