"""Products with the kernel against the kernel, in float64."""

from __future__ import annotations

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_kernel import LAYERS, QuadraticKernel


@pytest.mark.parametrize(("p", "hidden"), [(5, 3), (7, 40)])
@pytest.mark.parametrize("layer", LAYERS)
def test_equal_to_the_empirical_kernel(p: int, hidden: int, layer: str) -> None:
    model = QuadraticMLP(p, hidden, seed=p).double()
    parts = empirical_ntk(model, modular_task(p, 0.5, 0).inputs.double(), by="layer", method="jacobian")
    assert isinstance(parts, dict)
    reference = sum(parts.values()) if layer == "total" else parts[layer]
    assert isinstance(reference, torch.Tensor)
    kernel = QuadraticKernel(model, torch.float64)
    v = torch.randn(p * p, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(kernel.times(v, layer), reference @ v, rtol=1e-11, atol=1e-12)
    rows = torch.tensor([0, 3, p * p - 1])
    torch.testing.assert_close(kernel.columns(rows, layer), reference[:, rows], rtol=1e-11, atol=1e-13)
    assert kernel.diagonal_mean(layer) == pytest.approx(float(reference.diagonal().mean()), rel=1e-12)


def test_single_precision_is_close_and_named() -> None:
    model = QuadraticMLP(7, 30, seed=0)
    v = torch.randn(49, 2, generator=torch.Generator().manual_seed(1))
    single, double = QuadraticKernel(model), QuadraticKernel(model.double(), torch.float64)
    assert single.times(v).dtype == torch.float32
    torch.testing.assert_close(single.times(v).double(), double.times(v), rtol=1e-5, atol=1e-5)


def test_bad_input_is_refused() -> None:
    kernel = QuadraticKernel(QuadraticMLP(5, 2, seed=0))
    with pytest.raises(ValueError, match="expected one of fc1, fc2, total"):
        kernel.times(torch.zeros(25, 1), "fc3")
    with pytest.raises(ValueError, match=r"\(25, b\) is expected"):
        kernel.times(torch.zeros(24, 1))
    with pytest.raises(ValueError, match="expected one of"):
        kernel.diagonal_mean("fc0")
