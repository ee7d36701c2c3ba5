"""What all families share, and the numbers that decide the claims."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from entk_tutorial import infinite
from entk_tutorial.infinite import Kernel, cnn_constants, cnn_kernel, mlp_constants
from entk_tutorial.infinite import cnn as cnn_module

S = {"sigma_e": 1.3, "sigma_v": 0.7}
GRAM_FAMILIES: dict[str, Callable[..., Kernel]] = {
    "linear": partial(infinite.linear_kernel, **S, pooling="mean"),
    "mlp relu": partial(infinite.mlp_kernel, **S, sigma_w=0.9),
    "mlp tanh mean": partial(infinite.mlp_kernel, **S, activation="tanh", pooling="mean"),
    "mlp pooled first": partial(infinite.mlp_kernel, **S, activation="gelu", pool_first=True),
    "mlp deep": partial(infinite.mlp_kernel, **S, activation="erf", depth=3),
    "cnn relu": partial(cnn_kernel, **S),
    "cnn zero padding": partial(cnn_kernel, **S, window=3, padding=2, activation="gelu"),
    "cnn pad token": partial(cnn_kernel, **S, window=3, padding=1, pad_token=0, pooling="mean"),
    "attention tied": partial(infinite.attention_kernel, **S, beta=0.8),
    "attention tied identity": partial(infinite.attention_kernel, **S, scores="identity", query="last"),
    "attention uniform": partial(infinite.attention_kernel, **S, variant="uniform", query="last"),
    "attention heads": partial(
        infinite.attention_kernel, **S, variant="heads", scores="identity", query="last", sigma_q=0.9
    ),
    "hadamard": partial(infinite.hadamard_kernel, **S, sigma_a=0.9),
    "hadamard tied": partial(infinite.hadamard_kernel, **S, tied=True),
    "mv": partial(infinite.mv_kernel, **S, sigma_u=0.9),
    "rnn additive sum": partial(infinite.rnn_kernel, **S, kind="additive", sigma_h=0.9),
    "rnn additive last": partial(infinite.rnn_kernel, **S, kind="additive", readout="last"),
    "rnn gated sum": partial(infinite.rnn_kernel, **S, sigma_g=0.9),
    "rnn gated last": partial(infinite.rnn_kernel, **S, readout="last"),
}
FAMILIES = {
    **GRAM_FAMILIES,
    "matrix product": partial(infinite.matrix_product_kernel, sigma_m=0.9),
    "matrix product residual": partial(infinite.matrix_product_kernel, sigma_m=0.9, residual=True),
}
DOCS = [[0, 1, 2], [1, 1], [3, 0, 1, 0, 4], [2, 4, 4], [0, 1], [1, 0, 0, 1, 2, 3]]


def close(one: Kernel, two: Kernel, tolerance: float = 1e-12) -> None:
    assert set(one.by_group) == set(two.by_group)
    for name in one.by_group:
        torch.testing.assert_close(one.by_group[name], two.by_group[name], rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(one.nngp, two.nngp, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", list(GRAM_FAMILIES))
def test_one_hot_and_the_identity_gram_agree(name: str) -> None:
    # The first goes by sparse counts, the second by sums over pairs of positions: two derivations of one number.
    kernel = GRAM_FAMILIES[name]
    close(kernel(DOCS, DOCS[:4]), kernel(DOCS, DOCS[:4], gram=np.eye(5)))


@pytest.mark.parametrize("name", list(FAMILIES))
def test_groups_add_up_and_the_readout_carries_the_output_covariance(name: str) -> None:
    kernel = FAMILIES[name](DOCS)
    torch.testing.assert_close(kernel.ntk, torch.stack(list(kernel.by_group.values())).sum(dim=0))
    readout = kernel.by_group["v" if "v" in kernel.by_group else "u"]
    torch.testing.assert_close(readout, kernel.nngp)
    assert kernel.ntk.dtype == torch.float64 and kernel.std_error is None


@pytest.mark.parametrize("name", list(FAMILIES))
def test_a_cross_kernel_is_a_block_of_the_whole(name: str) -> None:
    kernel = FAMILIES[name]
    whole = kernel(DOCS)
    close(
        kernel(DOCS[:2], DOCS[2:]),
        Kernel(whole.nngp[:2, 2:], whole.ntk, {k: v[:2, 2:] for k, v in whole.by_group.items()}),
    )


documents = st.lists(st.lists(st.integers(0, 4), min_size=2, max_size=5), min_size=2, max_size=5)


@pytest.mark.parametrize("name", list(FAMILIES))
@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(docs=documents, seed=st.integers(0, 100))
def test_symmetric_psd_and_blind_to_names_order_and_padding(name: str, docs: list[list[int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    docs = [[*d, 0] for d in docs]  # long enough for every window
    kernel = FAMILIES[name]
    ntk = kernel(docs).ntk
    scale = float(ntk.abs().max())
    torch.testing.assert_close(ntk, ntk.T, atol=1e-12 * scale, rtol=1e-12)
    assert float(torch.linalg.eigvalsh(ntk)[0]) > -1e-10 * scale

    order = rng.permutation(len(docs))
    torch.testing.assert_close(
        kernel([docs[i] for i in order]).ntk, ntk[order][:, order], atol=1e-12 * scale, rtol=1e-12
    )

    padded = np.full((len(docs), 11), -1)
    for row, doc in enumerate(docs):
        padded[row, : len(doc)] = doc
    torch.testing.assert_close(kernel(padded).ntk, ntk, atol=1e-12 * scale, rtol=1e-12)

    names = np.concatenate([[0], 1 + rng.permutation(40)])  # token 0 may be the pad token, and keeps its name
    renamed = [[int(names[t]) for t in doc] for doc in docs]
    torch.testing.assert_close(kernel(renamed).ntk, ntk, atol=1e-12 * scale, rtol=1e-12)


@pytest.mark.parametrize("window", [1, 2, 4, 5])
@pytest.mark.parametrize("padding", [0, 2])
def test_wide_windows_agree_with_subsets(window: int, padding: int, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = np.random.default_rng(0).integers(0, 9, size=(120, 7))  # more than one block of documents
    by_subsets, cross = (cnn_kernel(docs, other, window=window, padding=padding) for other in (None, docs[:3]))
    monkeypatch.setattr(cnn_module, "MOST_SUBSET_SLOTS", 0)
    close(by_subsets, cnn_kernel(docs, window=window, padding=padding), 1e-11)
    close(cross, cnn_kernel(docs, docs[:3], window=window, padding=padding), 1e-11)


@pytest.mark.parametrize(
    ("activation", "sigma_w", "ratio"),
    [
        ("linear", 1.0, 0.0),
        ("relu", 0.1, 0.801),
        ("relu", 1.0, 0.801),
        ("relu", 5.0, 0.801),
        ("gelu", 1.0, 0.566),
        ("silu", 1.0, 0.368),
        ("tanh", 1.0, 0.317),
        ("erf", 1.0, 0.406),
        ("tanh", 0.1, 0.0002),
        ("gelu", 0.1, 0.021),
        ("tanh", 5.0, 3.970),
    ],
)
def test_weight_of_a_bigram_in_units_of_a_unigram(activation: str, sigma_w: float, ratio: float) -> None:
    bias, unigram, bigram = cnn_constants(2, activation, sigma_w=sigma_w)
    assert bigram / unigram == pytest.approx(ratio, abs=6e-4)
    assert min(bias, unigram, bigram) > -1e-12


@pytest.mark.parametrize(
    ("activation", "ratios"),
    [
        ("linear", (0, 0, 0, 0)),
        ("relu", (0.1187, 0.1187, 0.1187, 0.1187)),
        ("gelu", (0.0000, 0.0021, 0.0633, 0.1122)),
        ("silu", (0.0000, 0.0008, 0.0398, 0.1034)),
        ("tanh", (0, 0, 0, 0)),
        ("erf", (0, 0, 0, 0)),
    ],
)
def test_size_of_the_feature_bias(activation: str, ratios: tuple[float, ...]) -> None:
    for variance, ratio in zip((1e-4, 0.01, 1.0, 25.0), ratios, strict=True):
        a, b = mlp_constants(activation, sigma_w=variance**0.5)
        assert b / (a - b) == pytest.approx(ratio, abs=5e-5)


def test_frozen_groups_leave_the_tangent_kernel() -> None:
    kernel = infinite.mlp_kernel(DOCS)
    frozen = kernel.without("v")
    torch.testing.assert_close(frozen.ntk, kernel.by_group["E"] + kernel.by_group["W"])
    assert frozen.nngp is kernel.nngp and set(frozen.by_group) == {"E", "W"}
    with pytest.raises(ValueError, match="no parameter group named Q; this kernel has E, W, v"):
        kernel.without("Q")
    with pytest.raises(ValueError, match="keep at least one"):
        kernel.without("E", "W", "v")


def test_which_families_hear_word_order() -> None:
    pair = [[0, 1], [1, 0]]
    hears = {name: bool((k(pair).ntk[0, 1] - k(pair).ntk[0, 0]).abs() > 1e-9) for name, k in FAMILIES.items()}
    deaf = {
        "linear",
        "mlp relu",
        "mlp tanh mean",
        "mlp pooled first",
        "mlp deep",
        "attention tied",
        "attention uniform",
        "hadamard tied",
    }
    assert {name for name, h in hears.items() if not h} == deaf


BAD = [
    (
        cnn_kernel,
        {"window": 3},
        "window 3 is longer than document 1 \\(2 tokens, padding 0 at each end\\).*set padding to 1",
    ),
    (cnn_kernel, {"window": 0}, "window = 0"),
    (cnn_kernel, {"padding": -1}, "padding = -1"),
    (cnn_kernel, {"pad_token": -1}, "pad_token = -1"),
    (infinite.mlp_kernel, {"depth": 0}, "depth = 0"),
    (infinite.mlp_kernel, {"activation": "swish"}, "unknown activation 'swish'"),
    (infinite.attention_kernel, {"variant": "flash"}, "unknown variant 'flash'; expected one of tied, uniform, heads"),
    (infinite.attention_kernel, {"scores": "max"}, "unknown scores"),
    (infinite.attention_kernel, {"query": "first"}, "unknown query"),
    (infinite.attention_kernel, {"sigma_q": 2.0}, "scale its scores with beta"),
    (infinite.attention_kernel, {"variant": "uniform", "scores": "identity"}, "the output is 0"),
    (infinite.attention_kernel, {"query": "last", "pooling": "mean"}, "nothing to pool"),
    (infinite.attention_kernel, {"n_samples": 10}, "closed forms"),
    (infinite.attention_kernel, {"variant": "heads"}, "no closed form: give n_samples"),
    (infinite.attention_kernel, {"variant": "heads", "n_samples": 1, "generator": torch.Generator()}, "2 or more"),
    (infinite.hadamard_kernel, {"tied": True, "sigma_a": 2.0}, "no A and B"),
    (infinite.hadamard_kernel, {"pooling": "mean"}, "leave pooling='sum'"),
    (infinite.mv_kernel, {"pooling": "mean"}, "leave pooling='sum'"),
    (infinite.rnn_kernel, {"pooling": "mean"}, "leave pooling='sum'"),
    (infinite.rnn_kernel, {"kind": "lstm"}, "unknown kind 'lstm'"),
    (infinite.rnn_kernel, {"readout": "mean"}, "unknown readout 'mean'"),
    (
        infinite.rnn_kernel,
        {"kind": "gated", "sigma_h": 1.0},
        "sigma_h given, but the gated network has only sigma_g, sigma_u, sigma_b",
    ),
    (infinite.matrix_product_kernel, {"gram": np.eye(5)}, "leave gram=None"),
    (infinite.matrix_product_kernel, {"pooling": "mean"}, "leave pooling='sum'"),
]


@pytest.mark.parametrize(("kernel", "options", "message"), BAD, ids=[m[:25] for _, _, m in BAD])
def test_mistakes_are_named(kernel: Callable[..., Kernel], options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kernel(DOCS, **options)


def test_hadamard_needs_two_tokens() -> None:
    with pytest.raises(ValueError, match="longer than document 1"):
        infinite.hadamard_kernel([[0, 1], [2]])
