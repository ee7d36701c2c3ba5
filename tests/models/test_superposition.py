"""The tied autoencoder: its formula, its initial weights, what is represented, and what it refuses."""

import pytest
import torch

from entk_tutorial.models.superposition import SuperpositionModel, interference, represented


def test_the_formula_by_hand():
    model = SuperpositionModel(4, 3, seed=0).double()
    with torch.no_grad():
        model.bias.copy_(torch.tensor([0.1, -0.2, 0.0, 0.3]))
    x = torch.rand(7, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    w = model.weight.detach()
    for sample, y in zip(x, model(x), strict=True):
        by_hand = (w.T @ (w @ sample) + model.bias).clamp(min=0)
        torch.testing.assert_close(y, by_hand)
    torch.testing.assert_close(model.hidden(x), x @ w.T)


def test_initial_spread_is_xavier_and_the_bias_zero():
    model = SuperpositionModel(300, 200, seed=3)
    assert float(model.weight.detach().var()) == pytest.approx(2 / 500, rel=0.03)
    assert not bool(model.bias.detach().any())


def test_the_seed_decides_and_the_callers_state_is_left():
    before = torch.get_rng_state()
    a, b, c = (SuperpositionModel(6, 2, seed=s).weight for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert torch.equal(before, torch.get_rng_state())


def test_represented_is_the_diagonal():
    w = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(represented(w), interference(w).diagonal() >= 0.75)
    assert represented(w, threshold=1e-9).all()


@pytest.mark.parametrize(("n", "m", "cure"), [(5, 6, "lower hidden"), (5, 0, "at least one"), (0, 1, "lower hidden")])
def test_sizes_that_make_no_sense(n, m, cure):
    with pytest.raises(ValueError, match=cure):
        SuperpositionModel(n, m, seed=0)


@pytest.mark.parametrize(
    ("weight", "threshold"), [(torch.ones(3), 0.5), (torch.ones(2, 2), 0.0), (torch.ones(2, 2), 1.0)]
)
def test_represented_refuses(weight, threshold):
    with pytest.raises(ValueError, match="a number in"):
        represented(weight, threshold=threshold)
