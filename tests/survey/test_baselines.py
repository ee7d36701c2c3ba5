from __future__ import annotations

import pytest
import torch
from torch import nn

from entk_tutorial.empirical import ModelError
from entk_tutorial.survey import layer_activations, layer_cotangents, random_readouts

X = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))


def test_activations_do_not_depend_on_the_batch(net):
    whole = layer_activations(net, X, {"a": "1"})["a"]
    torch.testing.assert_close(whole, net[:2](X).detach())
    torch.testing.assert_close(layer_activations(net, X, {"a": "1"}, batch_size=3)["a"], whole)


def test_tokens_are_averaged_without_padding():
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Embedding(5, 4)

        def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return self.inner(ids).sum((1, 2))[:, None]

    model, ids = Tokens(), torch.tensor([[1, 2, 0], [3, 4, 1]])
    found = layer_activations(model, {"ids": ids, "mask": mask}, {"e": "inner"}, mask="mask")["e"]
    torch.testing.assert_close(found[0], model.inner(ids[0, :2]).mean(0).detach())


def test_cotangents_are_the_gradient_of_each_output(net):
    found = layer_cotangents(net, X, {"hidden": "1", "out": "2"}, batch_size=4)
    torch.testing.assert_close(found["hidden"], net[2].weight.detach().flatten().expand(10, 8))
    torch.testing.assert_close(found["out"], torch.eye(2).flatten().expand(10, 4))


def test_modules_that_cannot_be_read_are_named(net):
    for of in (layer_activations, layer_cotangents):
        with pytest.raises(ModelError, match="named_modules"):
            of(net, X, {"a": "7"})
    tied = nn.Linear(3, 3)
    with pytest.raises(ModelError, match="2 times"):
        layer_activations(nn.Sequential(tied, tied), X, {"a": "0"})
    with pytest.raises(ModelError, match="eval"):
        layer_activations(nn.Sequential(nn.Dropout(0.5)).train(), X, {"a": "0"})

    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.beside = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.beside(x)
            return self.used(x)

    with pytest.raises(ModelError, match="no output depends"):
        layer_cotangents(Beside(), X, {"a": "beside"})


def test_hooks_are_taken_off_again(net):
    layer_activations(net, X, {"a": "1"})
    layer_cotangents(net, X, {"a": "1"})
    assert not any(m._forward_hooks for m in net.modules())


def test_random_readouts_are_orthonormal_centred_functions_of_the_values():
    values = torch.randn(30, 6, generator=torch.Generator().manual_seed(1))
    u = random_readouts(values, 4, seed=2)
    torch.testing.assert_close(u.T @ u, torch.eye(4, dtype=torch.float64))
    inside = torch.linalg.qr((values - values.mean(0)).double())[0]
    torch.testing.assert_close(inside @ (inside.T @ u), u)
    assert not torch.allclose(u, random_readouts(values, 4, seed=3))
    with pytest.raises(ValueError, match="only 6"):
        random_readouts(values, 7)
