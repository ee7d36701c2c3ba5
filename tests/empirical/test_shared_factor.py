"""A factor that all classes share: taken where it is, refused where it is not, and exact either way."""

import warnings

import pytest
import torch
from torch import Tensor, nn

from entk_tutorial.empirical import FallbackWarning, empirical_ntk, jacobian, kernel, plan
from entk_tutorial.empirical.structured import shared
from entk_tutorial.models.modular import QuadraticMLP

from .cases import CASES, assert_near, build, reduced, reference

DOUBLE = torch.float64
CLASSES = 7


def inputs(n: int = 50, width: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def deep(activation: nn.Module, *, head: nn.Module | None = None, bias: bool = True) -> nn.Module:
    """Two hidden layers of 24, then ``head`` on the logits."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        layers = [nn.Linear(5, 24, bias=bias), activation, nn.Linear(24, 24, bias=bias), activation]
        last = [nn.Linear(24, CLASSES, bias=bias)] + ([] if head is None else [head])
        return nn.Sequential(*layers, *last).double()


def ways(model: nn.Module, x: Tensor) -> dict[str, str]:
    return {part.name: part.way for part in plan(model, x).parameters}


def dense(model: nn.Module, x: Tensor) -> dict[str, Tensor]:
    return {name: torch.einsum("ncp,mcp->nm", j, j) for name, j in jacobian(model, x, by="parameter").items()}


def check(model: nn.Module, x: Tensor) -> None:
    """Every parameter's share of the trace kernel, in both precisions."""
    expected = dense(model, x)
    for name, k in empirical_ntk(model, x, by="parameter").items():
        assert_near(k, expected[name], 1e-10)
    single = empirical_ntk(model.float(), x.float(), by="parameter")
    model.double()
    for name, k in single.items():
        assert_near(k, expected[name], 1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Tanh(), nn.SiLU(), nn.Identity()], ids=repr)
def test_last_hidden_layer_and_readout_share_a_factor_and_the_first_layer_does_not(activation):
    model, x = deep(activation), inputs()
    taken = ways(model, x)
    assert {taken[f"{layer}.{part}"] for layer in (2, 4) for part in ("weight", "bias")} == {"shared factor"}
    if not isinstance(activation, nn.Identity):
        assert taken["0.weight"] != "shared factor" and taken["0.bias"] != "shared factor"
    check(model, x)


def test_the_modular_network_goes_by_its_factor_alone():
    model, x = QuadraticMLP(7, 24, seed=0).double(), torch.eye(14, dtype=DOUBLE)
    assert set(ways(model, x).values()) == {"shared factor"}
    check(model, x)


@pytest.mark.parametrize(
    "head, shares",
    [
        (nn.Tanh(), {"4.weight", "4.bias"}),  # diagonal: each output's slope is its own, but the readout keeps D_nc
        (nn.Softmax(1), set()),
        (nn.LayerNorm(CLASSES), set()),
        (nn.LogSoftmax(1), set()),
    ],
    ids=repr,
)
def test_what_mixes_the_outputs_has_no_factor(head, shares):
    model, x = deep(nn.Tanh(), head=head), inputs(20)
    taken = ways(model, x)
    assert {name for name, way in taken.items() if way == "shared factor"} & set(taken) - {
        "5.weight",
        "5.bias",
    } == shares
    check(model, x)


class Norm(nn.Module):
    """Layer normalisation between the hidden layer and the readout: each unit's slope depends on all."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.norm, self.down = nn.Linear(5, 24), nn.LayerNorm(24), nn.Linear(24, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.norm(self.up(x)).tanh())


def test_layer_norm_in_the_body_leaves_the_readout_its_factor():
    torch.manual_seed(0)
    model, x = Norm().double(), inputs(20)
    taken = ways(model, x)
    assert taken["up.weight"] != "shared factor" and taken["down.weight"] == "shared factor"
    check(model, x)


class NearMiss(nn.Module):
    """A readout that for some examples, classes and units is not quite the same."""

    def __init__(self, size: float, examples: slice) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(5, 24, bias=False), nn.Linear(24, CLASSES, bias=False)
        self.size, self.examples = size, examples

    def forward(self, x: Tensor) -> Tensor:
        h = self.fc(x).tanh()
        marked = x[:, 0] > 2.0  # few: the probe of 16 examples does not see them
        off = torch.zeros(CLASSES, 24, dtype=h.dtype)
        off[2, self.examples] = self.size
        return self.out(h) + marked[:, None] * (h @ (off * self.out.weight.detach()).T)


@pytest.mark.parametrize("dtype, size", [(torch.float64, 1e-9), (torch.float32, 1e-2)])
@pytest.mark.parametrize("units", [slice(3, 4), slice(0, 8), slice(None)], ids=["one", "a third", "all"])
def test_a_near_miss_is_rejected_where_it_is_and_nowhere_else(dtype, size, units, monkeypatch):
    torch.manual_seed(1)
    model, x = NearMiss(size, units).to(dtype), inputs(60).to(dtype)
    x[:, 0].clamp_(max=1.0)
    x[[17, 41], 0] = 3.0
    rejections = []
    reject = shared.SharedFactors.reject
    monkeypatch.setattr(shared.SharedFactors, "reject", lambda s, e: (rejections.append(e.units), reject(s, e)))
    found = empirical_ntk(model, x, by="parameter")
    assert [sorted(u["fc.weight 0"].tolist()) for u in rejections] == [list(range(24))[units]]
    for name, k in dense(model.double(), x.double()).items():
        assert_near(found[name], k, 1e-10 if dtype == DOUBLE else 1e-5)


def test_the_certificate_is_what_refuses(monkeypatch):
    """Were it always granted, a first layer's kernel would be wrong."""
    model, x = deep(nn.Tanh()), inputs(20)
    monkeypatch.setattr(shared, "TOLERANCE", 1e30)
    with pytest.raises(AssertionError, match="ratio"):
        check(model, x)


def test_dead_units_and_a_dead_layer():
    model, x = deep(nn.ReLU()), inputs(60)
    with torch.no_grad():
        model[2].bias[:4] = -1e3  # never alive
        model[2].weight[5:7] = 0.0
        model[2].bias[5:7] = -1.0
        model[2].weight[7] = 0.0
        model[2].weight[7, 0] = 1.0
    check(model, x)
    assert ways(model, x)["2.weight"] == "shared factor"
    with torch.no_grad():
        model[2].bias.fill_(-1e3)
    for k in (model[0], model[2]):
        assert torch.equal(
            empirical_ntk(model, x, by="layer")[{model[0]: "0", model[2]: "2"}[k]], torch.zeros(60, 60).double()
        )


def test_units_that_the_probe_does_not_see_alive_are_learnt_later():
    model, x = deep(nn.ReLU()), inputs(300)
    with torch.no_grad():  # each alive at one or two examples only, none of them probed
        model[2].weight.copy_(torch.eye(24))
        model[0].weight.copy_(torch.randn(24, 5, generator=torch.Generator().manual_seed(8)))
        hidden = model[1](model[0](x))
        model[2].bias[:10] = -hidden[:, :10].sort(0).values[-2] * 0.999
    check(model, x)


@pytest.mark.parametrize("limit", [1 << 14, 1 << 16, 1 << 20])
def test_tiles_do_not_change_the_numbers(limit):
    model, x = deep(nn.ReLU()), inputs(18)
    whole = empirical_ntk(model, x, by="layer")
    needed = plan(model, x, by="layer").result_bytes
    for layer, k in empirical_ntk(model, x, by="layer", max_bytes=needed + limit).items():
        assert_near(k, whole[layer], 1e-12)
        assert torch.equal(k, k.T)
    other = empirical_ntk(model, x[:9], x[5:], by="layer", max_bytes=needed + limit)
    for layer, k in other.items():
        assert_near(k, whole[layer][:9, 5:], 1e-12)


class Pooled(nn.Module):
    """Tokens pooled before and after the readout: the class direction is the same for every token."""

    def __init__(self, flatten: bool) -> None:
        super().__init__()
        self.up = nn.Linear(5, 12)
        self.down = nn.Linear(48 if flatten else 12, CLASSES)
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x).tanh()
        return self.down(h.flatten(1)) if self.flatten else self.down(h).sum(1)


@pytest.mark.parametrize("flatten", [False, True])
def test_sequences(flatten):
    torch.manual_seed(0)
    model = Pooled(flatten).double()
    x = inputs(80).reshape(20, 4, 5)
    shares = ways(model, x)["up.weight"] == "shared factor"
    assert shares is not flatten  # flattened, each token has class weights of its own
    check(model, x)


class Again(nn.Module):
    """The last hidden layer applied twice, its weight tied to the readout's or not."""

    def __init__(self, tied: bool) -> None:
        super().__init__()
        self.first, self.mix = nn.Linear(5, CLASSES), nn.Linear(CLASSES, CLASSES)
        self.out = nn.Linear(CLASSES, CLASSES, bias=False)
        if tied:
            self.out.weight = self.mix.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.mix(self.mix(self.first(x)).tanh()).tanh())


@pytest.mark.parametrize("tied", [False, True])
def test_a_layer_used_twice_and_a_tied_weight(tied):
    torch.manual_seed(0)
    model, x = Again(tied).double(), inputs(20)
    assert ways(model, x)["mix.weight"] != "shared factor"
    check(model, x)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_case_with_the_factor_tried_however_few_classes(case, monkeypatch):
    monkeypatch.setattr(kernel, "FEWEST_CLASSES", 1)
    model, x, other = build(case), case.inputs(case.n, 0), case.inputs(3, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        truth = {name: reduced(k, "trace") for name, k in reference(model, x).items()}
        total = sum(truth.values())
        for name, part in empirical_ntk(model, x, by="parameter").items():
            assert_near(part + total, truth[name] + total, 1e-10)
        expected = sum(reduced(k, "trace") for k in reference(model, x, other).values())
        assert_near(empirical_ntk(model, x, other), expected, 1e-10)


def test_same_numbers_each_time_and_the_callers_random_state_is_left_alone():
    model, x = deep(nn.Tanh()), inputs()
    torch.manual_seed(3)
    first, state = empirical_ntk(model, x), torch.get_rng_state()
    torch.manual_seed(9)
    assert torch.equal(first, empirical_ntk(model, x))
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), state)
