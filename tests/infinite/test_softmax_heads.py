"""Softmax attention with many heads: the sampled kernel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from entk_tutorial.infinite import Kernel, attention_kernel

DOCS = [[0, 1, 2], [1, 1], [3, 0, 1, 0], [2, 4, 4]]


def sampled(n: int, seed: int = 0, **options: object) -> Kernel:
    generator = torch.Generator().manual_seed(seed)
    return attention_kernel(DOCS, variant="heads", n_samples=n, generator=generator, **options)  # type: ignore[arg-type]


def test_one_hot_and_the_identity_gram_use_the_same_scores() -> None:
    one, two = sampled(20, sigma_e=1.2), sampled(20, sigma_e=1.2, gram=np.eye(5))
    for name, part in one.by_group.items():
        torch.testing.assert_close(part, two.by_group[name], rtol=1e-11, atol=1e-11)


def test_the_estimate_is_positive_semidefinite_and_its_error_is_honest() -> None:
    few, many = sampled(200), sampled(1500, seed=1)
    assert float(torch.linalg.eigvalsh(few.ntk)[0]) > -1e-10
    assert few.std_error is not None and many.std_error is not None
    for name, error in few.std_error.items():
        value, truth = (k.ntk if name == "ntk" else k.nngp if name == "nngp" else k.by_group[name] for k in (few, many))
        total = (error**2 + many.std_error[name] ** 2).sqrt()
        assert bool(((value - truth).abs()[total < 1e-9] < 1e-9).all())  # equal tokens: every attention gives the same
        z = ((value - truth) / total)[total >= 1e-9]
        assert float(z.square().mean().sqrt()) < 2.0  # a root mean square that should be about 1
        assert float(many.std_error[name].mean() / error.mean()) == pytest.approx((200 / 1500) ** 0.5, rel=0.3)


def test_without_scores_attention_is_uniform() -> None:
    still = sampled(2, sigma_q=0.0)
    torch.testing.assert_close(still.nngp, attention_kernel(DOCS, variant="uniform").nngp)
    assert float(still.by_group["W_q"].abs().max()) == 0.0
    assert still.std_error is not None and float(still.std_error["ntk"].max()) < 1e-6


def test_groups_follow_from_value_and_score() -> None:
    k = sampled(10, query="last", beta=0.7)
    value, score = k.by_group["v"], k.by_group["W_q"]
    torch.testing.assert_close(k.by_group["E"], value + 2 * score)
    torch.testing.assert_close(k.ntk, 2 * value + 4 * score)
