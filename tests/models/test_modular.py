"""The quadratic MLP, and the mean of its kernel over random weights."""

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.models.modular import QuadraticMLP, expected_initial_kernel


def inputs(p):
    return modular_task(p, 0.5, 0).inputs


def test_forward_is_the_formula():
    model = QuadraticMLP(5, hidden=3, seed=0)
    x = inputs(5)
    w1, w2 = model.fc1.weight.tolist(), model.fc2.weight.tolist()
    for (n, m), row in zip([(i // 5, i % 5) for i in range(25)], model(x).tolist(), strict=True):
        hidden = [(w[n] + w[5 + m]) ** 2 / 10 for w in w1]
        assert row == pytest.approx([sum(a * b for a, b in zip(w, hidden, strict=True)) / 3 for w in w2], abs=1e-5)


def test_weights_are_standard_normal_and_fixed_by_the_seed():
    before = torch.get_rng_state()
    a, b, c = (QuadraticMLP(29, 512, seed=s) for s in (0, 0, 1))
    weights = torch.cat([a.fc1.weight.flatten(), a.fc2.weight.flatten()]).detach()
    assert abs(float(weights.mean())) < 5 / len(weights) ** 0.5 and abs(float(weights.var()) - 1) < 0.05
    assert torch.equal(a.fc1.weight, b.fc1.weight) and not torch.equal(a.fc1.weight, c.fc1.weight)
    assert [tuple(p.shape) for p in a.parameters()] == [(512, 58), (29, 512)]
    assert torch.equal(before, torch.get_rng_state())


def test_expected_kernel_against_the_mean_over_seeds():
    p, hidden, seeds = 5, 6, 300
    x = inputs(p)[[0, 1, 6, 7, 12]]  # overlaps 0, 1 and 2
    drawn = [
        empirical_ntk(QuadraticMLP(p, hidden, s).double(), x.double(), by="layer", method="structured")
        for s in range(seeds)
    ]
    for layer, expected in expected_initial_kernel(x, x, p, hidden).items():
        sample = torch.stack([k[layer] for k in drawn])
        error = sample.std(0) / seeds**0.5
        assert bool(((sample.mean(0) - expected).abs() <= 4.5 * error + 1e-12).all()), layer
        assert float((error / expected.abs().max()).max()) < 0.1  # narrow enough to see a wrong factor


@pytest.mark.parametrize("p", [3, 5, 7, 11])
def test_eigenvalues_with_their_multiplicities(p):
    hidden = 4
    x = inputs(p)
    parts = expected_initial_kernel(x, x, p, hidden)
    k = parts["fc1"] + parts["fc2"]
    s = x.double() @ x.double().T
    a = 1 / (p * hidden)
    assert torch.allclose(k, a + 1.5 * a * s.square(), atol=1e-14)
    found = torch.linalg.eigvalsh(k).flip(0)
    b = 1.5 * a
    expected = [a * p * p + b * (2 * p + 2)] + [b * (p + 2)] * (2 * (p - 1)) + [2 * b] * (p - 1) ** 2
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    assert float(found[2 * p - 2] / found[2 * p - 1]) == pytest.approx((p + 2) / 2, rel=1e-10)


@pytest.mark.parametrize(
    "x",
    [torch.ones(2, 10), torch.zeros(2, 10), torch.eye(10), torch.ones(2, 9), torch.ones(2, 12), torch.ones(10),
     torch.ones(0, 10), 0.5 * torch.ones(2, 10), torch.full((2, 10), torch.nan)],
    ids=["ones", "zeros", "one half only", "odd", "wide", "one axis", "empty", "halves", "NaN"],
)  # fmt: skip
def test_inputs_that_are_not_two_one_hot_vectors(x):
    good = inputs(5)
    for pair in ((x, good), (good, x)):
        with pytest.raises(ValueError, match="two one-hot vectors of length 5"):
            expected_initial_kernel(*pair, 5, 4)


@pytest.mark.parametrize("p, hidden", [(4, 8), (1, 8), (5, 0), (5, -1)])
def test_models_that_cannot_be(p, hidden):
    with pytest.raises(ValueError):
        QuadraticMLP(p, hidden, 0)
