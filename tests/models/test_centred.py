"""A centred network starts at 0, trains only the network, and keeps its tangent kernel."""

import pytest
import torch

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.infinite import kernel_gradient_descent, linear_kernel
from entk_tutorial.models.centred import Centred, train_scores
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


LABELS = torch.tensor([1, 0])
WORDS = torch.arange(3)[:, None]


def test_scores_follow_the_infinite_network():
    steps = [0, 1, 10, 50]
    found = torch.stack(
        [
            train_scores(LinearText(3, 2048, seed=s), DOCUMENTS, LABELS, WORDS, lr=0.05, record_at=steps)
            for s in range(4)
        ]
    ).mean(0)
    kernel, probe = linear_kernel(DOCUMENTS).ntk, linear_kernel(WORDS, DOCUMENTS).ntk
    path = []
    kernel_gradient_descent(kernel, LABELS, "logistic", 0.05, 50, callback=lambda s, f, c: path.append(probe @ c))
    assert not found[0].any()
    assert torch.allclose(found, torch.stack(path)[steps], atol=0.05)
    assert torch.stack(path)[50].abs().max() > 0.5


def test_a_frozen_parameter_stays_and_the_others_move():
    model = MLPText(3, 16, seed=0)
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    train_scores(model, DOCUMENTS, LABELS, WORDS, lr=0.1, record_at=[3], freeze=("v",))
    assert torch.equal(model.v, before["v"])
    assert not torch.equal(model.E, before["E"]) and not torch.equal(model.W, before["W"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"record_at": []}, "at least one"),
        ({"record_at": [5, 1]}, "growing"),
        ({"record_at": [-1, 1]}, "0 or more"),
        ({"freeze": ("u",)}, "no parameter is called u"),
    ],
)
def test_settings_that_make_no_sense(change, message):
    settings = {"lr": 0.1, "record_at": [1], **change}
    with pytest.raises(ValueError, match=message):
        train_scores(LinearText(3, 8, seed=0), DOCUMENTS, LABELS, WORDS, **settings)
