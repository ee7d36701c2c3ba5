"""A centred network starts at 0, trains only the network, and keeps its tangent kernel."""

import pytest
import torch

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.models.centred import Centred
from entk_tutorial.models.text import LinearText, MLPText

DOCUMENTS = torch.tensor([[0, 1, 1], [2, 0, -1]])


@pytest.mark.parametrize("make", [LinearText, MLPText])
def test_it_starts_at_zero_and_then_shows_the_change(make):
    model = make(3, 16, seed=0)
    before = model(DOCUMENTS).detach()
    centred = Centred(model)
    assert not centred(DOCUMENTS).any()
    with torch.no_grad():
        model.E.add_(0.3)
    assert torch.allclose(centred(DOCUMENTS), model(DOCUMENTS) - before)
    assert centred(DOCUMENTS).abs().min() > 1e-3


def test_only_the_network_trains():
    model = LinearText(3, 16, seed=0)
    centred = Centred(model)
    assert {id(p) for p in centred.parameters()} == {id(p) for p in model.parameters()}
    centred(DOCUMENTS).sum().backward()
    assert model.E.grad is not None and bool(model.E.grad.any())


def test_the_tangent_kernel_is_that_of_the_network():
    model = MLPText(3, 16, seed=0)
    wrapped = empirical_ntk(Centred(model), DOCUMENTS, method="jacobian")
    assert torch.allclose(wrapped, empirical_ntk(model, DOCUMENTS, method="jacobian"))
