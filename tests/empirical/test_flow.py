"""Products with the kernel and the flow, against dense Jacobians and closed forms."""

import itertools
import math

import pytest
import torch
from torch import nn

from entk_tutorial.empirical import LinearizedModel, empirical_ntk, jacobian
from entk_tutorial.empirical.flow import gradient_flow, kernel_product, linearized_limit, output_change
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.training import TrainingError

P = 5
X = torch.cat([torch.eye(P).repeat_interleave(P, 0), torch.eye(P).repeat(P, 1)], 1).double()
NET = QuadraticMLP(P, 40, 3).double()
GENERATOR = torch.Generator().manual_seed(1)
TRAIN = torch.arange(0, 25, 2)
V = torch.randn(len(TRAIN), P, generator=GENERATOR, dtype=torch.float64)


def test_product_is_that_of_the_dense_kernel():
    dense = empirical_ntk(NET, X, X[TRAIN], reduce="flat")
    torch.testing.assert_close(kernel_product(NET, X, X[TRAIN], V).flatten(), dense @ V.flatten())


def test_preconditioned_product_is_that_of_dense_jacobians():
    diagonal = {
        n: torch.rand(q.shape, generator=GENERATOR, dtype=torch.float64) + 0.1 for n, q in NET.named_parameters()
    }
    parts = jacobian(NET, X, by="parameter")
    expected = sum(
        torch.einsum("ncp,p,mdp,md->nc", j, 1 / diagonal[n].flatten(), j[TRAIN], V)
        for n, j in ((n, j.reshape(25, P, -1)) for n, j in parts.items())
    )
    torch.testing.assert_close(kernel_product(NET, X, X[TRAIN], V, preconditioner=diagonal), expected)


def test_output_change_is_the_derivative():
    direction = {n: torch.randn(q.shape, generator=GENERATOR, dtype=torch.float64) for n, q in NET.named_parameters()}
    moved = QuadraticMLP(P, 40, 3).double()
    with torch.no_grad():
        for name, q in moved.named_parameters():
            q.add_(direction[name], alpha=1e-6)
        difference = (moved(X) - NET(X)) / 1e-6
    torch.testing.assert_close(output_change(NET, X, direction), difference, rtol=1e-4, atol=1e-5)


def test_limit_is_that_of_the_formed_kernel():
    expected = LinearizedModel(NET, X[TRAIN], V, ridge=0.0, around="zero").predict(X)
    torch.testing.assert_close(linearized_limit(NET, X, X[TRAIN], V, tolerance=1e-10), expected, rtol=1e-6, atol=1e-7)


def test_limit_of_a_singular_kernel_is_refused():
    layer = nn.Linear(1, 1, bias=False).double()
    x, y = torch.ones(2, 1).double(), torch.tensor([[1.0], [-1.0]]).double()
    with pytest.raises((RuntimeError, ZeroDivisionError)):
        linearized_limit(layer, x, x, y, max_steps=5)


def test_flow_follows_the_exponential():
    layer = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        layer.weight.fill_(1.0)
    x, y = torch.tensor([[2.0]]).double(), torch.tensor([[4.0]]).double()
    seen = []
    past = gradient_flow(
        layer, x, y, stop=1e-4, max_steps=10_000, share=0.01, largest_move=1.0, record_every=1,
        evaluate=lambda m: seen.append(float(m.weight)) or {"w": float(m.weight)},
    )  # fmt: skip
    assert past.reached and past.steps[-1] == len(past.losses) - 1 and past.metrics["w"] == seen
    # Kernel 4: w = 2 - exp(-4t), loss exp(-8t).
    for time, w, loss in zip(past.times, seen, past.losses, strict=True):
        assert w == pytest.approx(2 - math.exp(-4 * time), abs=0.01)
        assert loss == pytest.approx(math.exp(-8 * time), abs=0.02)


def test_weights_never_move_further_than_allowed():
    net = QuadraticMLP(P, 40, 3).double()
    norms = [torch.cat([q.detach().flatten() for q in net.parameters()])]

    def look(m):
        norms.append(torch.cat([q.detach().flatten().clone() for q in m.parameters()]))
        return {}

    gradient_flow(net, X, X[:, :P] * 50, stop=0.5, max_steps=50, largest_move=0.01, record_every=1, evaluate=look)
    moves = [float((b - a).norm() / a.norm()) for a, b in itertools.pairwise(norms[1:])]
    assert max(moves) <= 0.0100001 and max(moves) > 0.0099


def test_budget_ends_a_run_and_says_so():
    past = gradient_flow(QuadraticMLP(P, 40, 3), X.float(), X[:, :P].float(), stop=1e-9, max_steps=7)
    assert not past.reached and past.steps == [0, 7]


@pytest.mark.parametrize(
    "bad",
    [{"stop": 0.0}, {"stop": 1.0}, {"max_steps": 0}, {"share": 2.0}, {"largest_move": 0.0}, {"refresh": 0},
     {"record_every": 0}],
    ids=str,
)  # fmt: skip
def test_settings_outside_their_range(bad):
    settings = {"stop": 0.1, "max_steps": 5} | bad
    with pytest.raises(ValueError, match="expected"):
        gradient_flow(QuadraticMLP(P, 8, 0), X.float(), X[:, :P].float(), **settings)


def test_a_loss_that_is_not_finite_is_named():
    with pytest.raises(TrainingError, match="at step 0"):
        gradient_flow(QuadraticMLP(P, 8, 0), X.float(), X[:, :P].float() * float("nan"), stop=0.1, max_steps=5)


def test_shapes_and_preconditioners_that_do_not_fit():
    with pytest.raises(ValueError, match="shape"):
        kernel_product(NET, X, X[TRAIN], V[:3])
    ones = {n: torch.ones_like(q) for n, q in NET.named_parameters()}
    for bad in ({"fc1.weight": ones["fc1.weight"]}, ones | {"fc2.weight": 0 * ones["fc2.weight"]}):
        with pytest.raises(ValueError, match="positive entry"):
            kernel_product(NET, X, X[TRAIN], V, preconditioner=bad)
