"""A few mixtures of outputs give the trace kernel on average."""

from __future__ import annotations

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.projected import ProjectedOutputs


def _distance(directions: int, seeds: range) -> list[float]:
    model, x = QuadraticMLP(7, 20, seed=0), modular_task(7, 0.5, 0).inputs
    exact = empirical_ntk(model, x)
    assert isinstance(exact, torch.Tensor)
    out = []
    for seed in seeds:
        found = empirical_ntk(ProjectedOutputs(model, 7, directions, seed), x)
        assert isinstance(found, torch.Tensor)
        out.append(float((found - exact).norm() / exact.norm()))
    return out


def test_error_falls_with_the_root_of_the_number_of_directions() -> None:
    few, many = torch.tensor(_distance(2, range(12))), torch.tensor(_distance(128, range(12)))
    assert float(few.mean() / many.mean()) == pytest.approx(8, rel=0.35)
    assert float(many.mean()) < 0.1


def test_the_mean_over_all_signs_is_exact() -> None:
    # With C = 2 there are two mixtures up to sign, and with both of them the kernel is the exact one.
    layer = torch.nn.Linear(3, 2, bias=False)
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    projected = ProjectedOutputs(layer, 2, 2)
    projected.signs.copy_(torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / 2**0.5)
    torch.testing.assert_close(empirical_ntk(projected, x), empirical_ntk(layer, x))


@pytest.mark.parametrize(("outputs", "directions"), [(0, 1), (3, 0)])
def test_bad_counts_are_refused(outputs: int, directions: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ProjectedOutputs(torch.nn.Linear(2, 3), outputs, directions)
