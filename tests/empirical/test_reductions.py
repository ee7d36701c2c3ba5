"""Bad input is refused with its reason; planted mistakes in the code are seen by the checks above."""

import pytest
import torch
from torch import nn

from entk_tutorial.empirical import (
    FallbackWarning,
    InputError,
    MemoryPlanError,
    ModelError,
    empirical_ntk,
    functional,
    jacobian,
    plan,
)
from entk_tutorial.empirical.reductions import parse_reduction
from entk_tutorial.empirical.structured import rules

from .cases import CASES, assert_near, build, mlp, reduced, reference, vectors
from .test_traps import TRAPS
from .test_traps import made as trap

X = torch.ones(4, 3)


class Returns(nn.Module):
    """A linear layer, and anything done to its output."""

    def __init__(self, change):
        super().__init__()
        self.fc, self.change = nn.Linear(3, 2), change

    def forward(self, x):
        return self.change(self.fc(x))


BAD_MODELS = {
    "one axis": (Returns(lambda y: y.sum(1)), r"shape \(4,\) for 4 examples.*unsqueeze"),
    "three axes": (Returns(lambda y: y[:, None]), r"\(4, 1, 2\).*select a position"),
    "no output": (Returns(lambda y: y[:, :0]), r"C >= 1"),
    "scalar": (Returns(lambda y: y.sum()), "for 4 examples"),
    "tuple": (Returns(lambda y: (y, y)), "returns a tuple"),
    "other rows": (Returns(lambda y: y[:2]), "for 4 examples"),
    "NaN output": (Returns(lambda y: y * torch.nan), "NaN or infinite"),
    "dropout": (nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.3)), r"1 \(Dropout\) drops units.*rate 0.3.*eval"),
    "functional dropout": (Returns(lambda y: nn.functional.dropout(y)), "random numbers"),
    "attention dropout": (nn.TransformerEncoderLayer(3, 1, 4), "drops units at random"),
    "batch norm": (nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), r"1 \(BatchNorm1d\) normalises.*model.eval"),
    "no statistics": (
        nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2, track_running_stats=False)).eval(),
        "statistics of the batch",
    ),
    "centred batch": (Returns(lambda y: y - y.mean(0)), "changes with the other examples"),
    "causal batch": (Returns(lambda y: y.cumsum(0)), "changes with the other examples"),
    "frozen": (nn.Linear(3, 2).requires_grad_(False), "unfreeze"),
    "no module": ("resnet18", "str.*nn.Module"),
    "complex": (nn.Linear(3, 2, dtype=torch.complex64), "complex64"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
@pytest.mark.parametrize("f", [empirical_ntk, plan, jacobian])
def test_models_without_a_kernel_are_refused(name, f):
    model, message = BAD_MODELS[name]
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ModelError, match=message):
        f(model, x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_parameters_and_inputs(value):
    model = mlp()
    with pytest.raises(InputError, match="example 2 holds a NaN"):
        empirical_ntk(model, X.double().index_fill(0, torch.tensor(2), value))
    with torch.no_grad():
        model[2].weight[0, 0] = value
    with pytest.raises(ModelError, match=r"'2.weight' holds a NaN"):
        empirical_ntk(model, X)


def test_a_derivative_that_is_not_finite_is_not_returned():
    model = Returns(lambda y: y).double()
    model.fc = nn.Linear(3, 2, bias=False).double()
    model.change = torch.sqrt
    with torch.no_grad():
        model.fc.weight.fill_(1.0)
    x = torch.eye(3, dtype=torch.float64).repeat(4, 1)
    x[5] = 0.0  # a row that the probe does not look at: the root of 0 is finite, its slope is not
    with pytest.raises(ModelError, match=r"NaN or infinite.*derivative"):
        empirical_ntk(model, x)


BAD_INPUTS = {
    "no example": (torch.ones(0, 3), "N = 0"),
    "no axis": (torch.tensor(1.0), "first axis"),
    "list of numbers": ([1.0, 2.0], "tensors only"),
    "nothing": ((), "at least one"),
    "text": ("abc", "is a str"),
    "array": (X.numpy(), "ndarray"),
    "ragged": ((torch.ones(2, 3), torch.ones(3)), r"first axes differ \(\[2, 3\]\)"),
    "mixed devices": ((torch.ones(2, 3), torch.ones(2, 3, device="meta")), "one device"),
    "another device": (torch.ones(2, 3, dtype=torch.int64, device="meta"), "meta.*cpu"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_inputs_that_do_not_fit_are_refused(name):
    x, message = BAD_INPUTS[name]
    for call in (lambda: empirical_ntk(mlp(), x), lambda: empirical_ntk(mlp(), X, x), lambda: jacobian(mlp(), x)):
        with pytest.raises(InputError, match=message):
            call()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"reduce": "sum"}, "'sum' is unknown.*'?trace"),
        ({"reduce": None}, "unknown"),
        ({"reduce": (0, 2)}, r"class 2 is outside \[0, 2\)"),
        ({"reduce": (-1, 0)}, "class -1 is outside"),
        ({"reduce": (0, 1, 1)}, "pair of class indices"),
        ({"reduce": (0.0, 1)}, "pair of class indices"),
        ({"by": "module"}, "'module' is unknown.*'parameter'"),
        ({"method": "fast"}, "'fast' is unknown.*'jacobian'"),
        ({"accumulate": "float16"}, "'float16' is unknown"),
        ({"max_bytes": 0}, "positive number of bytes"),
    ],
)
def test_unknown_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        empirical_ntk(mlp(), X, **arguments)


def test_jacobian_arguments():
    with pytest.raises(ValueError, match="'module' is unknown"):
        jacobian(mlp(), X, by="module")
    with pytest.raises(ValueError, match="chunk_size=0"):
        jacobian(mlp(), X, chunk_size=0)


def test_functional_refuses_what_is_no_parameter():
    for params in ({}, {"w": torch.arange(3)}, {"w": [1.0]}):
        with pytest.raises(ModelError):
            functional(lambda q, x: x @ q["w"], params)


def test_structured_method_names_the_parameters_without_a_rule():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    with pytest.raises(ModelError, match=r"no certified rule for 0.*original0, 0.*original1;.*parameter alone"):
        empirical_ntk(model, torch.ones(2, 3), method="structured")


def test_memory_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr("entk_tutorial.empirical.assembly.tile_of", lambda *a: pytest.fail("work was done"))
    for f in (plan, empirical_ntk):
        with pytest.raises(MemoryPlanError, match=r"needs at least .* and 1.0 KiB are allowed.*reduce='trace'"):
            f(mlp(), torch.ones(50, 3), reduce="full", max_bytes=1024)
    x = torch.ones(1, 3).expand(10**6, 3)  # 8 TB of result
    with pytest.raises(MemoryPlanError, match="TiB"):
        empirical_ntk(mlp(), x)


def test_plan_counts_the_result():
    p = plan(mlp().double(), X.double(), torch.ones(7, 3).double(), reduce="full", by="layer")
    assert p.result_bytes == 2 * 4 * 7 * 2 * 2 * 8 and p.total_bytes <= p.limit and p.tile == 7
    assert "by Jacobian: none" in str(p)


def test_outputs_that_differ_between_the_two_inputs():
    model = functional(lambda q, x: q["w"] * x.sum(1, keepdim=True).expand(-1, x.shape[1]), {"w": torch.ones(1)})
    with pytest.raises(InputError, match="different numbers of outputs"):
        empirical_ntk(model, torch.ones(2, 3), torch.ones(2, 4))


@pytest.mark.parametrize("reduce", ["full", "flat", "trace", "mean_logit", (0, 1)])
def test_projections_say_which_kernels_are_symmetric(reduce):
    r = parse_reduction(reduce, 3, dtype=torch.float64, device=torch.device("cpu"))
    assert r.symmetric is (reduce != (0, 1))
    assert r.paired is (reduce not in ("full", "flat"))


@pytest.mark.parametrize("by", [None, "layer", "parameter"])
@pytest.mark.parametrize("chunk", [None, 1, 3])
def test_jacobian_gives_the_kernel(by, chunk):
    case = next(c for c in CASES if c.name == "tied unembedding")
    model, x = build(case), case.inputs(4, 0)
    parts = jacobian(model, x, by=by, chunk_size=chunk)
    flat = parts if by is None else torch.cat(list(parts.values()), 2)
    assert flat.shape == (4, 6, sum(p.numel() for p in model.parameters()))
    assert_near(torch.einsum("ncp,mdp->nmcd", flat, flat), sum(reference(model, x).values()), 1e-12)


@pytest.mark.parametrize("case", [c for c in CASES if c.rules and not c.warns], ids=lambda c: c.name)
@pytest.mark.parametrize("cheaper", ["token", "row"])
def test_both_forms_of_a_rule_give_the_same_kernel(case, cheaper, monkeypatch):
    monkeypatch.setattr(rules, "rule_operations", lambda *a, **k: (0, 1) if cheaper == "token" else (1, 0))
    model, x = build(case), case.inputs(case.n, 0)
    truth = sum(reference(model, x).values())
    for reduce in ("full", "trace"):
        assert_near(empirical_ntk(model, x, reduce=reduce), reduced(truth, reduce), 1e-10)


def test_long_token_grams_are_cut_into_blocks(monkeypatch):
    case = next(c for c in CASES if c.name == "pooled sequence")
    model, x = build(case), case.inputs(6, 0)
    expected = empirical_ntk(model, x)
    monkeypatch.setattr(rules, "TOKEN_GRAM_LIMIT", 200)
    assert_near(empirical_ntk(model, x), expected, 1e-12)


def test_the_table_sees_a_rule_that_forgets_tokens(monkeypatch):
    case = next(c for c in CASES if c.name == "embedding")
    model, x = build(case), case.inputs(5, 0)
    truth = reduced(sum(reference(model, x).values()), "trace")
    write_down = rules.Factors.row_gradients
    monkeypatch.setattr(rules, "rule_operations", lambda *a, **k: (1, 0))
    monkeypatch.setattr(rules.Factors, "row_gradients", lambda self, a: write_down(self, a) * (self.g.shape[2] < 2))
    with pytest.raises(AssertionError, match="ratio"):
        assert_near(empirical_ntk(model, x), truth, 1e-10)


def test_the_certificate_sees_a_use_that_no_operation_shows(monkeypatch):
    """Were the certificate always granted, a weight that an autograd.Function also uses would get a wrong kernel."""
    from entk_tutorial.empirical.structured import certificate

    model, x = trap("own autograd function"), TRAPS["own autograd function"][1](5, 0)
    truth = reduced(sum(reference(model, x).values()), "trace")
    monkeypatch.setattr(certificate, "_agreeing", lambda fn, taps, by_leaf, truths, *examples: list(truths))
    with pytest.raises(AssertionError, match="ratio"):
        assert_near(empirical_ntk(model, x), truth, 1e-10)


def test_fallback_warning_points_at_the_caller():
    case = next(c for c in CASES if c.name == "branching")
    with pytest.warns(FallbackWarning) as caught:
        jacobian(build(case), vectors(3, 0))
    assert caught[0].filename == __file__
