"""Closed forms against finite networks, group by group: does the mean empirical tangent kernel land on the formula?

For each parameter group the statistic is the projection of the empirical kernel on the closed form, p = <K_hat, K> /
<K, K>: 1 if the formula is right. Over seeds its mean may differ from 1 by the statistical error and by a bias of order
1/width, for which 4/width is allowed. The rest of the error, orthogonal to K, is compared with what the spread over
seeds predicts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from scipy import stats
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from entk_tutorial import infinite
from entk_tutorial.infinite import Kernel
from entk_tutorial.models import text

VOCAB = 5
DOCS = [[0, 1, 2], [1, 1], [3, 0, 1, 0], [2, 4, 4], [0, 1], [4, 3, 2, 1]]
TOKENS = torch.tensor([d + [-1] * (4 - len(d)) for d in DOCS])
FEATURES = torch.randn(VOCAB, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64) / 2
S = {"sigma_e": 1.2, "sigma_v": 0.8}
W = {**S, "sigma_w": 0.9}

# name, kernel, model, options of both, options of the model only, width, seeds, works with a dense Gram
CASES: list[
    tuple[str, Callable[..., Kernel], Callable[..., nn.Module], dict[str, Any], dict[str, Any], int, int, bool]
] = [
    ("linear", infinite.linear_kernel, text.LinearText, {**S, "pooling": "mean"}, {}, 256, 40, True),
    *(
        (f"mlp {a}", infinite.mlp_kernel, text.MLPText, {**W, "activation": a}, {}, 192, 40, True)
        for a in ("relu", "erf", "gelu", "tanh", "silu", "quad")
    ),
    ("mlp pooled", infinite.mlp_kernel, text.MLPText, {**W, "pool_first": True, "pooling": "mean"}, {}, 192, 40, True),
    ("mlp deep", infinite.mlp_kernel, text.MLPText, {**W, "depth": 3, "activation": "gelu"}, {}, 128, 40, True),
    ("cnn relu", infinite.cnn_kernel, text.CNNText, {**W, "pooling": "mean"}, {}, 128, 40, True),
    (
        "cnn gelu padded",
        infinite.cnn_kernel,
        text.CNNText,
        {**W, "activation": "gelu", "padding": 1},
        {},
        128,
        40,
        True,
    ),
    (
        "cnn tanh pad token",
        infinite.cnn_kernel,
        text.CNNText,
        {**W, "window": 3, "activation": "tanh", "padding": 1, "pad_token": 3},
        {},
        96,
        40,
        True,
    ),
    ("attention tied", infinite.attention_kernel, text.AttentionText, {**S, "beta": 1.5}, {}, 256, 40, True),
    ("attention tied last", infinite.attention_kernel, text.AttentionText, {**S, "query": "last"}, {}, 256, 40, True),
    (
        "attention uniform",
        infinite.attention_kernel,
        text.AttentionText,
        {**S, "variant": "uniform", "query": "last"},
        {},
        128,
        40,
        True,
    ),
    (
        "heads identity",
        infinite.attention_kernel,
        text.AttentionText,
        {"sigma_e": 1.1, "sigma_q": 0.9, "sigma_v": 0.8, "variant": "heads", "scores": "identity", "pooling": "mean"},
        {"heads": 32},
        48,
        80,
        True,
    ),
    ("hadamard", infinite.hadamard_kernel, text.HadamardText, {**S, "sigma_a": 1.1}, {}, 128, 60, True),
    ("hadamard tied", infinite.hadamard_kernel, text.HadamardText, {**S, "tied": True}, {}, 256, 60, True),
    ("mv", infinite.mv_kernel, text.MVText, {**S, "sigma_u": 0.9, "sigma_m": 1.1}, {}, 64, 60, True),
    *(
        (
            f"rnn additive {r}",
            infinite.rnn_kernel,
            text.RNNText,
            {**S, "kind": "additive", "readout": r, "sigma_h": 0.9},
            {},
            128,
            60,
            True,
        )
        for r in ("sum", "last")
    ),
    *(
        (
            f"rnn gated {r}",
            infinite.rnn_kernel,
            text.RNNText,
            {**S, "readout": r, "sigma_g": 0.9, "sigma_b": 1.1},
            {},
            128,
            100,
            True,
        )
        for r in ("sum", "last")
    ),
    (
        "matrix product",
        infinite.matrix_product_kernel,
        text.MatrixProductText,
        {"sigma_m": 0.9, "sigma_v": 0.8},
        {},
        64,
        100,
        False,
    ),
    (
        "matrix product residual",
        infinite.matrix_product_kernel,
        text.MatrixProductText,
        {"sigma_m": 0.9, "sigma_v": 0.8, "residual": True},
        {},
        64,
        60,
        False,
    ),
]


def empirical(model: nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    """Empirical tangent kernel by parameter, by per-example gradients: nothing of the package."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}

    def output(p: dict[str, Tensor], document: Tensor) -> Tensor:
        return functional_call(model, p, (document[None],))[0, 0]

    gradients = vmap(grad(output), (None, 0))(parameters, tokens)
    return {name: g.flatten(1) @ g.flatten(1).T for name, g in gradients.items()}


def z_scores(samples: Tensor, exact: Tensor, width: int) -> tuple[float, float]:
    """Projection z (allowance subtracted), and the orthogonal error over its expectation; samples (seeds, N, N)."""
    seeds, norm = samples.shape[0], (exact**2).sum()
    projection = (samples * exact).sum(dim=(1, 2)) / norm  # (seeds,)
    excess = (projection.mean() - 1).abs() - 4 / width
    z = float(excess / (projection.std() / seeds**0.5))
    orthogonal = samples - projection[:, None, None] * exact
    expected = (orthogonal.var(dim=0).sum() / seeds).sqrt() + 4 / width * norm.sqrt()
    return z, float(orthogonal.mean(dim=0).norm() / expected)


@pytest.mark.parametrize("dense", [False, True], ids=["one-hot", "gram"])
@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_finite_networks_converge_to_the_closed_form(case: Any, dense: bool) -> None:
    name, kernel, model, shared, own, width, seeds, has_gram = case
    if dense and not has_gram:
        with pytest.raises(ValueError, match="gram"):
            kernel(DOCS, gram=FEATURES @ FEATURES.T, **shared)
        return
    gram = {"gram": FEATURES @ FEATURES.T} if dense else {}
    build = partial(model, VOCAB, width, **shared, **own, **({"features": FEATURES} if dense else {}))
    exact = kernel(DOCS, **gram, **shared)
    draws = [empirical(build(seed=seed), TOKENS) for seed in range(seeds)]
    assert set(draws[0]) == set(exact.by_group)
    check_groups(name, draws, exact, width)


@pytest.mark.parametrize("dense", [False, True], ids=["one-hot", "gram"])
def test_softmax_heads_converge_to_the_sampled_kernel(dense: bool) -> None:
    width, heads, seeds = 40, 16, 50
    options: dict[str, Any] = {"sigma_e": 0.9, "sigma_q": 1.1, "variant": "heads", "query": "last", "pooling": "sum"}
    gram = {"gram": FEATURES @ FEATURES.T} if dense else {}
    generator = torch.Generator().manual_seed(0)
    exact = infinite.attention_kernel(DOCS, **gram, **options, n_samples=1500, generator=generator)
    features = {"features": FEATURES} if dense else {}
    draws = [
        empirical(text.AttentionText(VOCAB, width, heads=heads, seed=s, **options, **features), TOKENS)
        for s in range(seeds)
    ]
    check_groups("softmax heads", draws, exact, width)


def test_the_statistic_sees_a_formula_that_is_off_by_a_quarter() -> None:
    exact = infinite.hadamard_kernel(DOCS, **S)
    draws = [empirical(text.HadamardText(VOCAB, 128, seed=seed, **S), TOKENS) for seed in range(40)]
    wrong = Kernel(exact.nngp, exact.ntk, {**exact.by_group, "E": 0.8 * exact.by_group["E"]})
    with pytest.raises(AssertionError, match="misses the closed form"):
        check_groups("planted factor", draws, wrong, 128)
    crossed = infinite.hadamard_kernel(DOCS, [d[::-1] for d in DOCS], **S)  # the second document read backwards
    with pytest.raises(AssertionError, match="closed form"):
        check_groups("planted order", draws, crossed, 128)


def check_groups(name: str, draws: list[dict[str, Tensor]], exact: Kernel, width: int) -> None:
    """Every group within 3 standard errors (Holm over groups) plus 4/width, and nothing beside it but chance."""
    seeds = len(draws)
    p_values = []
    for group, closed in exact.by_group.items():
        samples = torch.stack([d[group] for d in draws])
        if float(closed.abs().max()) == 0:  # query and key matrices of uniform attention
            assert float(samples.mean(dim=0).abs().max()) < 4 / width * float(exact.ntk.abs().max())
            continue
        z, rest = z_scores(samples, closed, width)
        p_values.append(float(2 * stats.t.sf(max(z, 0.0), seeds - 1)))
        assert rest < 2.0, f"{name}, {group}: error beside the closed form is {rest:.2f} times what chance gives"
    holm = [p * (len(p_values) - rank) for rank, p in enumerate(sorted(p_values))]
    assert min(holm) > 0.0027, (
        f"{name}: a group misses the closed form by more than 3 standard errors after Holm ({p_values})"
    )
