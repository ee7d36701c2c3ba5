"""The output scale: values, kernel, and what is refused."""

import pytest
import torch

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.scaled import Scaled

X = torch.eye(10)[:4].double() + torch.eye(10)[5:9].double()


def test_starts_at_zero_and_multiplies_what_changed():
    net = QuadraticMLP(5, 8, 0).double()
    before = net(X).detach()
    scaled = Scaled(net, 7.0)
    assert bool((scaled(X) == 0).all())
    with torch.no_grad():
        net.fc2.weight.add_(0.1)
    torch.testing.assert_close(scaled(X), 7 * (net(X) - before))


def test_kernel_is_alpha_squared_times_the_networks_own():
    net = QuadraticMLP(5, 8, 0).double()
    plain = empirical_ntk(net, X, reduce="trace")
    for centred in (True, False):
        torch.testing.assert_close(empirical_ntk(Scaled(net, 3.0, centred=centred), X, reduce="trace"), 9 * plain)


def test_uncentred_is_alpha_times_the_network():
    net = QuadraticMLP(5, 8, 0).double()
    torch.testing.assert_close(Scaled(net, 3.0, centred=False)(X), 3 * net(X))


@pytest.mark.parametrize("scale", [0.0, -1.0, float("inf"), float("nan")])
def test_scale_is_positive_and_finite(scale):
    with pytest.raises(ValueError, match="positive"):
        Scaled(QuadraticMLP(5, 8, 0), scale)
