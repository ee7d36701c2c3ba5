"""The certificate: what it must see, what one pass proves, and what is worked out only once."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.empirical.functional import Inputs, as_function
from entk_tutorial.empirical.structured import certificate, certified_parameters, shared
from entk_tutorial.models.modular import QuadraticMLP

from .cases import assert_near

CLASSES = 7
PLAIN = {n: torch.arange(n) for n in range(1, 9)}


class Shuffled(nn.Module):
    """A layer that sees the examples in another order, and whose result is put back: each output is its own example's.

    The sum of gradients over all examples is right, so only the place of a cotangent can tell.
    """

    def __init__(self, order: Tensor) -> None:
        super().__init__()
        self.orders = {len(order): order}
        self.fc, self.out = nn.Linear(5, 24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        size = len(x)
        order = self.orders.setdefault(size, PLAIN[size])
        return self.out(self.fc(x[order]).tanh()[order.argsort()])


@pytest.mark.parametrize("i, j", list(itertools.combinations(range(8), 2)))
def test_two_examples_in_each_other_s_place_are_seen(i, j):
    order = torch.arange(8)
    order[[i, j]] = order[[j, i]]
    torch.manual_seed(0)
    model, x = Shuffled(order).double(), torch.randn(8, 5, dtype=torch.float64)
    assert set(certified_parameters(as_function(model), Inputs(x))) == {"out.weight", "out.bias"}


class Missing(nn.Module):
    """A row that is missing (all zero) is replaced by a learnt vector, which no tap sees; outputs have a given size."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 6), nn.Linear(6, 3)
        self.token = nn.Parameter(torch.randn(6))

    def forward(self, x: Tensor) -> Tensor:
        size, rest = x[:, :1], x[:, 1:]
        z = self.fc(rest).clone()
        z[(rest == 0).all(1)] = self.token
        return size * self.out(z.tanh())


@pytest.mark.filterwarnings("ignore::entk_tutorial.empirical.FallbackWarning")
@pytest.mark.parametrize("dtype, size", [(torch.float32, 1e-7), (torch.float64, 1e-16)])
def test_an_example_with_small_gradients_is_not_hidden_by_the_others(dtype, size):
    torch.manual_seed(0)
    model, x = Missing().to(dtype), torch.randn(7, 5, dtype=dtype)
    x[:, 0] = 1.0
    x[3] = torch.tensor([size, 0, 0, 0, 0])
    found = empirical_ntk(model, x, by="parameter")["token"]
    expected = empirical_ntk(model, x, by="parameter", method="jacobian")["token"]
    assert float(expected[3, 3]) > 0
    assert_near(found, expected, 1e-5 if dtype == torch.float32 else 1e-10)


class Score(nn.Module):
    """The gradient of an energy in its input: a transform of ``torch.func`` inside of the model."""

    def __init__(self) -> None:
        super().__init__()
        self.energy = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        slope: Tensor = torch.func.grad(lambda z: self.energy(z).sum())(x)
        return slope


@pytest.mark.filterwarnings("ignore::entk_tutorial.empirical.FallbackWarning")
def test_a_model_may_differentiate_inside():
    torch.manual_seed(0)
    model, x = Score().double(), torch.randn(5, 3, dtype=torch.float64)
    assert_near(empirical_ntk(model, x), empirical_ntk(model, x, method="jacobian"), 1e-10)


class Coupled(nn.Module):
    """Outputs to which a share of others is added: of their mean, or of those that come later."""

    def __init__(self, classes: int, share: float, later: bool) -> None:
        super().__init__()
        self.fc, self.out, self.share, self.later = nn.Linear(4, 6), nn.Linear(6, classes), share, later

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.out(self.fc(x).tanh())
        return y + self.share * (y.flip(0).cumsum(0).flip(0) - y if self.later else y.mean(0, keepdim=True))


@pytest.mark.filterwarnings("ignore::entk_tutorial.empirical.FallbackWarning")
@pytest.mark.parametrize(
    "dtype, n, classes, share, later",
    [
        (torch.bfloat16, 20, 30, -0.5, False),  # its own tolerance lets everything pass but an exact zero
        (torch.float32, 20, 1000, 5e-5, False),  # below the tolerance of a fit with many classes
        (torch.float32, 3, 3, 3e-5, True),
        (torch.float32, 2, 3, 1e-4, True),
    ],
)
def test_examples_that_reach_each_other_by_less_than_rounding_allows(dtype, n, classes, share, later):
    torch.manual_seed(0)
    model, x = Coupled(classes, share, later).to(dtype), torch.randn(n, 4).to(dtype)
    assert torch.equal(empirical_ntk(model, x), empirical_ntk(model, x, method="jacobian"))


class Sorted(nn.Module):
    """A layer that takes the examples by length, longest first; they are put back afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.up, self.out = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        order = x[:, 0].argsort(descending=True, stable=True)
        return self.out(self.up(self.fc(x[order]).tanh()).tanh())[order.argsort()]


@pytest.mark.filterwarnings("ignore::entk_tutorial.empirical.FallbackWarning")
@pytest.mark.parametrize("lengths", [[1.0, 2.0, 0.5], [2.0, 1.0, 0.5, 0.3], [3.0, 5.0, 4.0, 2.0, 1.0, 0.0]])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_examples_in_another_order_are_seen_in_any_precision(dtype, lengths):
    torch.manual_seed(0)
    model, x = Sorted().to(dtype), torch.randn(len(lengths), 4)
    x[:, 0] = torch.tensor(lengths)
    found, expected = (empirical_ntk(model, x.to(dtype), method=m) for m in ("auto", "jacobian"))
    assert_near(found, expected, 2e-2 if dtype == torch.bfloat16 else 1e-5)


@pytest.mark.parametrize("n", range(1, 21))
def test_groups_tell_every_two_examples_apart_both_ways(n):
    groups = torch.stack(list(certificate._groups(n)))
    assert bool(groups.any(0).all())
    for first, second in itertools.permutations(range(n), 2):
        assert bool((groups[:, first] & ~groups[:, second]).any())


def test_the_model_is_tried_on_two_and_on_three_examples_once():
    model, x = QuadraticMLP(7, 24, seed=0), torch.eye(14)
    sizes: list[int] = []
    model.fc1.register_forward_hook(lambda module, args, out: sizes.append(len(out)))
    empirical_ntk(model, x)
    assert (sizes.count(2), sizes.count(3)) == (1, 1)


class Idle(nn.Module):
    """Its parameter is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return x.tanh()


def test_a_parameter_that_nothing_depends_on_has_a_kernel_of_zeros():
    assert torch.equal(empirical_ntk(Idle(), torch.randn(4, 9)), torch.zeros(4, 4))


@pytest.mark.parametrize("block", [1, 100, 1 << 18])
def test_factors_do_not_depend_on_the_blocks_they_are_fitted_in(block, monkeypatch):
    model, x = QuadraticMLP(7, 24, seed=0).double(), torch.randn(30, 14, dtype=torch.float64)
    expected = empirical_ntk(model, x, by="layer")
    monkeypatch.setattr(shared, "_BLOCK", block)
    for layer, k in empirical_ntk(model, x, by="layer").items():
        assert_near(k, expected[layer], 1e-13)


@pytest.mark.parametrize("total, truth, right", [(1.0, 1.0, True), (1.0, 1.1, False), (1.0, None, False)])
def test_near_is_near(total, truth, right):
    value = None if truth is None else torch.full((3,), truth)
    assert certificate._near(torch.full((3,), total), value, largest=1.0) == right


@pytest.mark.parametrize("total, truth, right", [("nan", "nan", True), ("nan", 1.0, False), (1.0, "nan", False)])
def test_two_gradients_that_are_not_numbers_are_left_to_the_kernel(total, truth, right):
    found = certificate._near(torch.full((3,), float(total)), torch.full((3,), float(truth)), largest=float("nan"))
    assert found == right
