from __future__ import annotations

import pytest
import torch

from entk_tutorial.infinite import cnn_kernel, mlp_kernel
from entk_tutorial.infinite.probes import CONDITIONS, FAMILY_KERNELS, FEATURES, mixed_difference, probe
from entk_tutorial.models.text import AttentionText, CNNText, HadamardText, MatrixProductText, MLPText, MVText, RNNText


@pytest.mark.parametrize(
    ("name", "order", "degree", "gap"),
    [
        ("linear", False, 1, False),
        ("MLP per token, relu", False, 1, False),
        ("MLP on the pooled document, relu", False, 4, True),
        ("CNN, linear", True, 1, False),
        ("CNN, relu", True, 2, False),
        ("attention, tied", False, 1, False),
        ("attention, many heads, identity", False, 2, True),
        ("Hadamard", True, 2, False),
        ("Hadamard, tied", False, 2, False),
        ("matrix-vector (MV)", True, 2, False),
        ("additive linear RNN", True, 1, False),
        ("gated linear RNN", True, 4, False),
        ("matrix product", True, 4, False),
        ("residual matrix product", True, 4, True),
    ],
)
def test_what_each_family_can_represent(name: str, order: bool, degree: int, gap: bool) -> None:
    found = probe(FAMILY_KERNELS[name])
    assert (found.order > 0, found.degree, found.gap > 0) == (order, degree, gap)
    assert (found.interaction > 0) == (degree > 1)


def test_numbers_on_paper() -> None:
    assert probe(mlp_kernel).bias == pytest.approx((2 / torch.pi) / (3 + 1 / torch.pi))
    assert probe(FAMILY_KERNELS["matrix-vector (MV)"]).order == pytest.approx(3 / 7)
    assert probe(FAMILY_KERNELS["Hadamard"]).interaction == pytest.approx(1 / 3)
    assert probe(cnn_kernel).bias == pytest.approx((1 / torch.pi / 2) / 1.5)


@pytest.mark.parametrize("model", [MLPText(9, 16), RNNText(9, 16, kind="additive", readout="last")])
def test_additive_architectures_have_no_interaction_at_any_width(model: torch.nn.Module) -> None:
    docs, signs = mixed_difference([(1, 2), (3, 4)], before=[0])
    outputs = model(torch.tensor(docs)).detach()[:, 0]
    assert abs(float(signs @ outputs)) < 1e-12 * float(outputs.abs().max())


@pytest.mark.parametrize(
    "model",
    [
        CNNText(9, 16),
        HadamardText(9, 16),
        MVText(9, 16),
        RNNText(9, 16),
        MatrixProductText(9, 16),
        AttentionText(9, 16),
    ],
)
def test_others_have_one(model: torch.nn.Module) -> None:
    docs, signs = mixed_difference([(1, 2), (3, 4)], before=[0])
    outputs = model(torch.tensor(docs)).detach()[:, 0]
    assert abs(float(signs @ outputs)) > 1e-6 * float(outputs.abs().max())


def test_every_family_is_described() -> None:
    assert list(FAMILY_KERNELS) == list(FEATURES) == list(CONDITIONS)
