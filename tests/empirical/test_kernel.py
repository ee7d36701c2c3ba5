"""The kernel against the definition: every case, reduction, grouping, method and dtype."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from entk_tutorial.empirical import FallbackWarning, ModelError, empirical_ntk, functional, jacobian, plan

from .cases import ALL, CASES, assert_near, build, cast, reduced, reference, vectors

BY_NAME = {case.name: case for case in CASES}
REDUCTIONS = ("full", "flat", "trace", "mean_logit", (0, 0), (0, 1))


every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


@pytest.fixture
def quiet():
    """A slower way is fine where a test asks for numbers only; test_fallback_is_announced asks for the warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        yield


@pytest.mark.usefixtures("quiet")
@every_case
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["double", "single"])
@pytest.mark.parametrize("method", ["auto", "jacobian", "structured"])
def test_every_reduction_and_grouping_agrees_with_the_definition(case, method, dtype):
    model = build(case, dtype)
    x, tolerance = cast(case.inputs(case.n, 0), dtype), {torch.float64: 1e-10, torch.float32: 1e-5}[dtype]
    truth = reference(copy.deepcopy(model).double(), cast(x, torch.float64))
    classes = next(iter(truth.values())).shape[-1]
    if method == "structured" and plan(model, x).general:
        assert case.rules != ALL
        with pytest.raises(ModelError, match="no certified rule for"):
            empirical_ntk(model, x, method=method)
        return
    for reduce in REDUCTIONS:
        if isinstance(reduce, tuple) and max(reduce) >= classes:
            continue
        expected = {name: reduced(k, reduce) for name, k in truth.items()}
        total = sum(expected.values())
        parts = empirical_ntk(model, x, reduce=reduce, by="parameter", method=method)
        assert list(parts) == list(expected)
        for name, part in parts.items():
            assert part.dtype == dtype and not part.requires_grad
            assert_near(part + total, expected[name] + total, tolerance)  # the total sets the scale: a share may be 0
    assert_near(empirical_ntk(model, x, method=method), reduced(sum(truth.values()), "trace"), tolerance)


@pytest.mark.usefixtures("quiet")
@every_case
def test_two_sets_of_inputs_in_both_orders(case):
    model, x1, x2 = build(case), case.inputs(case.n, 0), case.inputs(3, 1)
    expected = sum(reference(model, cast(x1, torch.float64), cast(x2, torch.float64)).values())
    assert_near(empirical_ntk(model, x1, x2, reduce="full"), expected, 1e-10)
    assert_near(empirical_ntk(model, x2, x1, reduce="trace"), reduced(expected, "trace").T, 1e-10)


@pytest.mark.usefixtures("quiet")
@every_case
def test_one_example_against_many(case):
    model, x1, x2 = build(case), case.inputs(1, 2), case.inputs(6, 1)
    expected = reduced(sum(reference(model, cast(x1, torch.float64), cast(x2, torch.float64)).values()), "trace")
    assert_near(empirical_ntk(model, x1, x2), expected, 1e-10)


@pytest.mark.usefixtures("quiet")
@every_case
def test_single_precision_may_be_added_up_in_double(case):
    model = build(case, torch.float32)
    expected = sum(reference(copy.deepcopy(model).double(), case.inputs(case.n, 0)).values())
    x = cast(case.inputs(case.n, 0), torch.float32)
    assert_near(empirical_ntk(model, x, reduce="full", accumulate="float64"), expected, 1e-5)


@pytest.mark.usefixtures("quiet")
@every_case
def test_small_tiles_give_the_same_numbers(case):
    model, x = build(case), case.inputs(9, 0)
    whole = empirical_ntk(model, x, reduce="flat", by="layer")
    generous = plan(model, x, reduce="flat", by="layer", max_bytes=10**9)
    assert generous.tile == 9
    limit = generous.result_bytes + generous.tile_bytes // 4
    assert 1 <= plan(model, x, reduce="flat", by="layer", max_bytes=limit).tile < 9
    tiled = empirical_ntk(model, x, reduce="flat", by="layer", max_bytes=limit)
    scale = sum(whole.values())
    for layer, k in tiled.items():
        assert_near(k + scale, whole[layer] + scale, 1e-12)


@pytest.mark.usefixtures("quiet")
@every_case
def test_layers_sum_their_parameters(case):
    model, x = build(case), case.inputs(case.n, 0)
    layers, parameters = (empirical_ntk(model, x, by=by) for by in ("layer", "parameter"))
    assert set(layers) == {name.rpartition(".")[0] for name in parameters}
    scale = sum(parameters.values())
    for layer, k in layers.items():
        mine = [v for name, v in parameters.items() if name.rpartition(".")[0] == layer]
        assert_near(k + scale, sum(mine) + scale, 1e-12)


@pytest.mark.usefixtures("quiet")
@every_case
def test_nothing_of_the_caller_is_touched(case):
    model, x = build(case), case.inputs(case.n, 0)
    kept_x = cast(x, torch.float64)
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [(p.requires_grad, id(p)) for p in model.parameters()]
    modes = [m.training for m in model.modules()]
    random = torch.get_rng_state()
    empirical_ntk(model, x, case.inputs(3, 1), by="layer")

    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(bool((p.grad == 7.0).all()) for p in model.parameters())
    assert flags == [(p.requires_grad, id(p)) for p in model.parameters()]
    assert modes == [m.training for m in model.modules()]
    assert torch.equal(random, torch.get_rng_state())
    assert not any(m._forward_hooks or m._forward_pre_hooks or m._backward_hooks for m in model.modules())
    unpack = {torch.Tensor: lambda t: [t], tuple: list, dict: lambda d: list(d.values())}[type(x)]
    assert all(torch.equal(a, b) for a, b in zip(unpack(x), unpack(kept_x), strict=True))


@pytest.mark.parametrize("case", [c for c in CASES if c.rules is not None], ids=lambda c: c.name)
def test_rules_are_used_where_they_hold_and_nowhere_else(case):
    the_plan = plan(build(case), case.inputs(case.n, 0))
    assert the_plan.general == () if case.rules == ALL else tuple(the_plan.structured) == case.rules


@pytest.mark.parametrize("case", [c for c in CASES if c.warns], ids=lambda c: c.name)
def test_fallback_is_announced(case):
    with pytest.warns(FallbackWarning, match="one backward pass an example and output"):
        empirical_ntk(build(case), case.inputs(case.n, 0))


def test_batch_order_permutes_rows_and_columns():
    model, x = build(BY_NAME["pooled sequence"]), BY_NAME["pooled sequence"].inputs(6, 0)
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    assert_near(empirical_ntk(model, x[order]), empirical_ntk(model, x)[order][:, order], 1e-12)


def test_flat_kernel_is_symmetric_and_positive_semi_definite():
    for name in ("pooled sequence", "tied unembedding", "attention, einsum"):
        model, x = build(BY_NAME[name]), BY_NAME[name].inputs(6, 0)
        k = empirical_ntk(model, x, reduce="flat")
        assert torch.equal(k, k.T)  # not to rounding: exactly, tiled or not
        tiled = empirical_ntk(model, x, reduce="flat", max_bytes=k.nbytes + 60_000)
        assert torch.equal(tiled, tiled.T)
        assert float(torch.linalg.eigvalsh(k).min()) > -1e-12 * float(k.trace())


def test_same_inputs_twice_is_the_symmetric_kernel():
    model, x = build(BY_NAME["embedding"]), BY_NAME["embedding"].inputs(6, 0)
    assert_near(empirical_ntk(model, x, x, reduce="full"), empirical_ntk(model, x, reduce="full"), 1e-12)


def test_functional_agrees_with_the_module():
    model, x = build(BY_NAME["pooled sequence"]), BY_NAME["pooled sequence"].inputs(5, 0)
    params = {k: p.detach() for k, p in model.named_parameters()}
    f = functional(lambda q, x: torch.func.functional_call(model, q, (x,)), params)
    for reduce in REDUCTIONS:
        assert_near(empirical_ntk(f, x, reduce=reduce), empirical_ntk(model, x, reduce=reduce), 1e-12)
    assert set(empirical_ntk(f, x, by="layer")) == {"up", "down"}


def test_functional_with_tuple_and_dict_inputs():
    w = torch.tensor([[2.0], [3.0]], dtype=torch.float64)
    x, s = vectors(4, 0)[:, :2], torch.arange(1.0, 5).double()
    f = functional(lambda q, x, s: s[:, None] * (x @ q["w"]), {"w": w})
    expected = s[:, None] * (x @ x.T) * s
    assert_near(empirical_ntk(f, (x, s)), expected, 1e-12)
    assert_near(empirical_ntk(f, {"s": s, "x": x}), expected, 1e-12)


def test_under_no_grad_in_inference_mode_and_with_inputs_that_require_gradients():
    case = BY_NAME["applied twice"]
    model, x = build(case), case.inputs(4, 0)
    expected = empirical_ntk(model, x)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            found = [empirical_ntk(model, x.clone(), method=m) for m in ("auto", "jacobian")]
        for k in (*found, empirical_ntk(model, x.clone().requires_grad_())):
            assert_near(k, expected, 1e-12)
            assert not k.requires_grad and not k.is_inference()


def test_a_model_without_any_path_to_its_parameters_has_kernel_zero():
    class Detached(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(x).detach()

    x = torch.ones(3, 3)
    for method in ("auto", "jacobian"):
        assert torch.equal(empirical_ntk(Detached(), x, method=method), torch.zeros(3, 3))


def test_hooks_are_removed_when_the_model_fails():
    class Picky(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            y = self.fc(x)
            if torch.is_grad_enabled() and y.requires_grad:
                raise ArithmeticError("no gradients today")
            return y

    model = Picky()
    with pytest.raises(ArithmeticError):
        empirical_ntk(model, torch.ones(2, 3))
    assert not model.fc._forward_hooks


def test_forward_that_draws_and_ignores_random_numbers_leaves_the_global_state():
    class Wasteful(nn.Linear):
        def forward(self, x):
            torch.rand(3)
            return super().forward(x)

    model = nn.Sequential(Wasteful(3, 2))
    before = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        empirical_ntk(model, torch.ones(4, 3))
    assert torch.equal(before, torch.get_rng_state())


def test_large_batches_go_through_the_same_rules_as_the_probe():
    case = BY_NAME["embedding, padding"]
    model, x = build(case), case.inputs(40, 0)
    assert_near(empirical_ntk(model, x, by="parameter")["embed.weight"],
                empirical_ntk(model, x, by="parameter", method="jacobian")["embed.weight"], 1e-12)  # fmt: skip


def test_structured_method_where_everything_has_a_rule():
    case = BY_NAME["pooled sequence"]
    model, x = build(case), case.inputs(5, 0)
    assert_near(empirical_ntk(model, x, method="structured"), empirical_ntk(model, x, method="jacobian"), 1e-12)


def test_an_embedding_that_rescales_its_weight_does_not_rescale_the_callers():
    model = nn.Sequential(nn.Embedding(6, 3, max_norm=0.5), nn.Flatten(), nn.Linear(12, 2)).double()
    before, x = model[0].weight.detach().clone(), BY_NAME["embedding"].inputs(4, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        found = empirical_ntk(model, x)
    assert torch.equal(model[0].weight, before)
    assert_near(found, reduced(sum(reference(model, x).values()), "trace"), 1e-10)


class _Routed(nn.Module):
    """Examples go to one of two experts by their sign: a layer sees part of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(3, 2).double(), nn.Linear(3, 2).double()

    def forward(self, x):
        out = x.new_zeros(len(x), 2)
        first = x[:, 0] > 0
        out[first] = self.one(x[first])
        out[~first] = self.two(x[~first])
        return out


def test_routing_that_the_probe_does_not_show_falls_back_and_says_so():
    torch.manual_seed(0)
    model, x = _Routed(), torch.randn(20, 3, dtype=torch.float64).abs()
    x[[1, 4]] *= -1  # not among the eight probed examples
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        kernel = empirical_ntk(model, x)
    assert any("does not apply" in str(w.message) for w in said)
    same = (x[:, :1] > 0) == (x[:, :1] > 0).T
    assert torch.allclose(kernel, 2 * same * (x @ x.T + 1))


def test_a_parameter_without_axes():
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

        def forward(self, x):
            return self.scale * x

    x = torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    assert torch.allclose(empirical_ntk(Scaled(), x), x @ x.T)
    assert jacobian(Scaled(), x).shape == (2, 1, 1)


def test_inputs_of_another_dtype_are_named():
    with pytest.raises(ModelError, match=r"\(3,\) of float64; parameters are float32"):
        empirical_ntk(nn.Linear(3, 2), torch.ones(4, 3, dtype=torch.float64))


class _Checkpointed(nn.Module):
    """A block that is computed again during the backward pass."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(4, 4).double() for _ in range(blocks))
        self.first, self.last = nn.Linear(4, 4).double(), nn.Linear(4, 2).double()

    def forward(self, x):
        def block(z):
            for layer in self.blocks:
                z = torch.tanh(layer(z))
            return z

        return self.last(checkpoint(block, self.first(x), use_reentrant=False))


@pytest.mark.usefixtures("quiet")
@pytest.mark.parametrize("blocks", [1, 2])
def test_checkpointed_blocks_are_exact(blocks):
    torch.manual_seed(0)
    model, x = _Checkpointed(blocks), torch.randn(12, 4, dtype=torch.float64)
    expected = sum(reduced(k, "trace") for k in reference(model, x).values())
    assert_near(empirical_ntk(model, x), expected, 1e-10)


@pytest.mark.parametrize("wrong", ["1GB", 0, -5])
def test_a_limit_that_is_no_number_of_bytes(wrong):
    with pytest.raises(ValueError, match="positive number of bytes"):
        empirical_ntk(nn.Linear(3, 2), torch.ones(4, 3), max_bytes=wrong)


def test_time_first_layers_are_told_of_batch_first():
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(3, 2)

        def forward(self, x):
            return self.lstm(x)[0][:, -1]

    with pytest.raises(ModelError, match="batch_first"):
        empirical_ntk(Recurrent(), torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(0)))
