"""One short step of an optimiser against its kernel, where the answer is known."""

import copy

import pytest
import torch
from torch import nn

from entk_tutorial.empirical.flow import kernel_product
from entk_tutorial.empirical.short_step import adamw_diagonal, short_step

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(20, 4, generator=GENERATOR, dtype=torch.float64)
Y = torch.randn(20, 3, generator=GENERATOR, dtype=torch.float64)
PROBE = torch.randn(30, 4, generator=GENERATOR, dtype=torch.float64)


def network():
    net = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 3)).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for q in net.parameters():
            q.normal_(generator=generator)
    return net


def trained(steps, **settings):
    net = network()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02, **settings)
    for _ in range(steps):
        optimizer.zero_grad()
        (net(X) - Y).square().mean().backward()
        optimizer.step()
    return net, optimizer


def test_gradient_descent_follows_the_entk():
    net = network()
    assert short_step(net, torch.optim.SGD(net.parameters(), lr=0.1), X, Y, PROBE)["entk"] > 0.99999


def test_first_step_of_adam_is_the_sign_of_the_gradient():
    net, optimizer = trained(0, weight_decay=0.0)
    found = short_step(net, optimizer, X, Y, PROBE)
    assert found["preconditioned"] > 0.99999 and found["direction"] > 0.99999 and found["entk"] < 0.99


def test_memory_is_what_the_preconditioned_kernel_lacks_later():
    net, optimizer = trained(15, weight_decay=0.1)
    with_memory = short_step(net, optimizer, X, Y, PROBE)
    without = short_step(net, optimizer, X, Y, PROBE, memory=False)
    assert with_memory["direction"] > 0.9999 and without["preconditioned"] > 0.9999
    assert with_memory["preconditioned"] < 0.999


def test_nothing_is_changed_by_looking():
    net, optimizer = trained(3)
    weights, state = copy.deepcopy(net.state_dict()), copy.deepcopy(optimizer.state_dict())
    gradients = [q.grad.clone() for q in net.parameters()]
    short_step(net, optimizer, X, Y, PROBE)
    assert all(torch.equal(weights[k], v) for k, v in net.state_dict().items())
    assert str(state) == str(optimizer.state_dict())
    assert all(torch.equal(g, q.grad) for g, q in zip(gradients, net.parameters(), strict=True))


def test_diagonal_after_one_step_is_the_gradients_size():
    net, optimizer = trained(1)
    start = network()
    (start(X) - Y).square().mean().backward()
    for name, d in adamw_diagonal(net, optimizer).items():
        torch.testing.assert_close(d, dict(start.named_parameters())[name].grad.abs() + 1e-8)


def test_a_plain_step_with_the_diagonal_is_the_product():
    net, optimizer = trained(5)
    diagonal = adamw_diagonal(net, optimizer)
    moved, size = copy.deepcopy(net), 1e-6
    (0.5 * (moved(X) - Y).square().sum()).backward()
    with torch.no_grad():
        for name, q in moved.named_parameters():
            q.sub_(size * q.grad / diagonal[name])
        change = (moved(PROBE) - net(PROBE)) / size
        product = kernel_product(net, PROBE, X, Y - net(X), preconditioner=diagonal)
    torch.testing.assert_close(change, product, rtol=1e-3, atol=1e-3 * float(product.abs().max()))


def test_an_optimiser_without_state_is_refused():
    net, optimizer = trained(0)
    with pytest.raises(ValueError, match="no second moment"):
        adamw_diagonal(net, optimizer)
