"""Products with the kernel against the kernel: every case and reduction, tiles, fallbacks, refusals."""

import warnings

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn
from torch.autograd.function import once_differentiable
from torch.func import functional_call

from entk_tutorial.empirical import (
    FallbackWarning,
    InputError,
    MemoryPlanError,
    ModelError,
    NTKOperator,
    empirical_ntk,
    functional,
)
from entk_tutorial.empirical.passes import Passes

from .cases import CASES, assert_near, build, cast, mlp, reduced, reference, vectors
from .test_planning import PeakBytes, pooled, tokens
from .test_reductions import BAD_INPUTS, BAD_MODELS

DOUBLE = torch.float64
BY_NAME = {case.name: case for case in CASES}
REDUCTIONS = ("flat", "trace", "mean_logit", (0, 0), (0, 1))
SLOWER = {"embedding, sparse", "weight norm"}
"""Sparse gradients cannot be batched; the fused call of weight norm has no forward derivative."""

every_case = pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)


@pytest.fixture
def quiet():
    """A slower way is fine where a test asks for numbers only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        yield


def columns(n, k, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


@pytest.mark.usefixtures("quiet")
@every_case
def test_every_reduction_and_part_agrees_with_the_definition(case):
    model, x = build(case), case.inputs(case.n, 0)
    truth = reference(model, cast(x, DOUBLE))
    classes = next(iter(truth.values())).shape[-1]
    for reduce in REDUCTIONS:
        if isinstance(reduce, tuple) and max(reduce) >= classes:
            continue
        expected = {name: reduced(k, reduce) for name, k in truth.items()}
        total = sum(expected.values())
        operator = NTKOperator(model, x, reduce=reduce, by="parameter")
        assert operator.shape == tuple(total.shape) and operator.dtype == DOUBLE
        v = columns(len(total), 3)
        assert_near(operator @ v, total @ v, 1e-10)
        assert_near(operator @ v[:, 0], total @ v[:, 0], 1e-10)
        assert_near(operator.T @ v, total.T @ v, 1e-10)
        assert list(operator.parts) == list(expected)
        if reduce in ("flat", "trace"):
            for name, part in operator.parts.items():
                assert_near(part @ v + total @ v, expected[name] @ v + total @ v, 1e-10)  # a share may be zero


@pytest.mark.usefixtures("quiet")
@every_case
def test_layers_add_up_and_match_their_kernels(case):
    model, x = build(case), case.inputs(case.n, 0)
    operator = NTKOperator(model, x, by="layer")
    kernels = empirical_ntk(model, x, by="layer")
    v = columns(operator.shape[0], 2)
    assert set(operator.parts) == set(kernels)
    total = operator @ v
    assert_near(sum(part @ v for part in operator.parts.values()), total, 1e-12)
    for name, part in operator.parts.items():
        assert_near(part @ v + total, kernels[name] @ v + total, 1e-10)
        assert_near(part.to_dense() + operator.to_dense(), kernels[name] + operator.to_dense(), 1e-10)
        assert part.parts == {}


@pytest.mark.usefixtures("quiet")
@every_case
def test_single_precision(case):
    expected = reduced(sum(reference(build(case), case.inputs(case.n, 0)).values()), "trace")
    operator = NTKOperator(build(case, torch.float32), cast(case.inputs(case.n, 0), torch.float32))
    v = columns(case.n, 2)
    found = operator @ v.float()
    assert found.dtype == torch.float32 and not found.requires_grad
    assert_near(found, expected @ v, 1e-5)


@pytest.mark.usefixtures("quiet")
@every_case
def test_tiles_of_examples_and_vectors_change_nothing(case):
    model, x = build(case), case.inputs(9, 0)
    for reduce in ("flat", "trace"):
        whole = NTKOperator(model, x, reduce=reduce)
        assert whole.plan.tile == 9 and whole.plan.vectors > 1
        each = whole.plan.bytes_tile // 9
        direction = whole.plan.bytes_each - 9 * each
        small = NTKOperator(model, x, reduce=reduce, max_bytes=8 * whole.shape[0] + direction + 5 * each)
        assert 1 <= small.plan.tile < 9 and small.plan.vectors == 1
        v = columns(whole.shape[0], 5)
        assert_near(small @ v, whole @ v, 1e-12)


@every_case
def test_only_what_is_named_above_is_slower(case):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        operator = NTKOperator(build(case), case.inputs(case.n, 0))
        _ = operator @ columns(operator.shape[0], 2)
    assert bool([w for w in said if w.category is FallbackWarning]) == (case.name in SLOWER)


@every_case
def test_symmetric_and_positive_semi_definite(case):
    if case.name in SLOWER:
        pytest.skip("slower, and tested for the same by its products above")
    operator = NTKOperator(build(case), case.inputs(case.n, 0), reduce="flat")
    dense = operator @ torch.eye(operator.shape[0], dtype=DOUBLE)
    assert_near(dense, dense.T, 1e-12)
    assert float(torch.linalg.eigvalsh((dense + dense.T) / 2).min()) > -1e-10 * float(dense.trace())


@pytest.mark.usefixtures("quiet")
@every_case
def test_nothing_of_the_caller_is_touched(case):
    model, x = build(case), case.inputs(case.n, 0)
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    flags = [(p.requires_grad, id(p)) for p in model.parameters()]
    random, fast = torch.get_rng_state(), torch.backends.mha.get_fastpath_enabled()
    v = columns(case.n, 2)
    kept = v.clone()
    _ = NTKOperator(model, x) @ v
    assert all(torch.equal(t, before[k]) for k, t in model.state_dict().items())
    assert all(bool((p.grad == 7.0).all()) for p in model.parameters())
    assert flags == [(p.requires_grad, id(p)) for p in model.parameters()]
    assert torch.equal(random, torch.get_rng_state()) and torch.equal(v, kept)
    assert torch.backends.mha.get_fastpath_enabled() == fast


def test_functional_models_and_their_inputs():
    model, x = build(BY_NAME["pooled sequence"]), BY_NAME["pooled sequence"].inputs(5, 0)
    f = functional(lambda q, x: functional_call(model, q, (x,)), {k: p.detach() for k, p in model.named_parameters()})
    v = columns(5, 2)
    assert_near(NTKOperator(f, x) @ v, NTKOperator(model, x) @ v, 1e-12)
    assert set(NTKOperator(f, x, by="layer").parts) == {"up", "down"}
    w = torch.tensor([[2.0], [3.0]], dtype=DOUBLE)
    x, s = vectors(5, 0)[:, :2], torch.arange(1.0, 6).double()
    g = functional(lambda q, x, s: s[:, None] * (x @ q["w"]), {"w": w})
    expected = (s[:, None] * (x @ x.T) * s) @ v
    assert_near(NTKOperator(g, (x, s)) @ v, expected, 1e-12)
    assert_near(NTKOperator(g, {"s": s, "x": x}) @ v, expected, 1e-12)


def test_under_no_grad_and_in_inference_mode():
    case = BY_NAME["applied twice"]
    model, x, v = build(case), case.inputs(4, 0), columns(4, 2)
    expected = NTKOperator(model, x) @ v
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            found = NTKOperator(model, x.clone()) @ v.clone()
        assert_near(found, expected, 1e-12)
        assert not found.requires_grad and not found.is_inference()


def test_scipy_finds_the_same_eigenvalues():
    operator = NTKOperator(mlp().double(), vectors(8, 0), reduce="flat")
    kernel = operator.to_dense().numpy()
    assert np.allclose(eigsh(operator.as_scipy(), k=3, return_eigenvectors=False), np.linalg.eigvalsh(kernel)[-3:])
    one_sided = NTKOperator(mlp().double(), vectors(8, 0), reduce=(0, 1))
    v = columns(8, 2).numpy()
    assert np.allclose(one_sided.as_scipy().rmatmat(v), one_sided.to_dense().numpy().T @ v)
    assert np.allclose(one_sided.as_scipy() @ v[:, 0], one_sided.to_dense().numpy() @ v[:, 0])


class _NoForward(torch.autograd.Function):
    """Squares; differentiable backwards, and once more, and not forwards."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


class _Once(_NoForward):
    """The same, differentiable backwards a single time."""

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g


class _Custom(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.up, self.down, self.function = nn.Linear(3, 4), nn.Linear(4, 2), function

    def forward(self, x):
        return self.down(self.function.apply(self.up(x)))


@pytest.fixture
def custom():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return lambda function: _Custom(function).double()


def test_without_forward_derivatives_the_reverse_pass_is_differentiated(custom):
    model, x, v = custom(_NoForward), vectors(5, 0), columns(5, 3)
    operator = NTKOperator(model, x)
    with pytest.warns(FallbackWarning, match=r"does not allow forward derivatives \(.+\); differentiating") as said:
        found = operator @ v
    assert len(said) == 1 and said[0].filename == __file__
    assert operator.passes.forward == "double"
    assert_near(found, reduced(sum(reference(model, x).values()), "trace") @ v, 1e-10)
    _ = operator @ v  # said once


def test_an_operation_without_either_derivative_is_named_and_nothing_wrong_returned(custom):
    """Torch itself differentiates once_differentiable twice without a word, and leaves a path out."""
    with pytest.raises(ModelError, match=r"neither: .*Form the kernel with empirical_ntk"):
        _ = NTKOperator(custom(_Once), vectors(5, 0)) @ columns(5, 1)


def test_an_operation_that_cannot_be_batched_is_named():
    with pytest.warns(FallbackWarning, match=r"several reverse passes at once \(.*SparseCPU.*\); taking one") as said:
        case = BY_NAME["embedding, sparse"]
        _ = NTKOperator(build(case), case.inputs(4, 0), reduce="flat") @ columns(8, 2)
    assert said[0].filename == __file__


class _WrongForward(_NoForward):
    """A forward derivative that forgets the factor 2."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x * x

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def jvp(ctx, tangent):
        (x,) = ctx.saved_tensors
        return x * tangent


def test_a_forward_derivative_that_disagrees_with_the_backward_is_not_used(custom):
    model, x, v = custom(_WrongForward), vectors(5, 0), columns(5, 3)
    operator = NTKOperator(model, x)
    with pytest.warns(FallbackWarning, match="disagrees with its backward"):
        found = operator @ v
    assert operator.passes.forward == "double"
    assert_near(found, reduced(sum(reference(model, x).values()), "trace") @ v, 1e-10)


@pytest.mark.parametrize("reverse", ["batched", "single"])
@pytest.mark.parametrize("forward", ["batched", "single", "double"])
@pytest.mark.parametrize("name", ["tied unembedding", "attention, fused", "in place", "convolution, layer norm"])
def test_all_ways_give_the_same(name, forward, reverse):
    model, x = build(BY_NAME[name]), BY_NAME[name].inputs(4, 0)
    operator = NTKOperator(model, x, reduce="flat")
    operator.passes.forward, operator.passes.reverse = forward, reverse
    v = columns(operator.shape[0], 3)
    assert_near(operator @ v, operator.to_dense() @ v, 1e-10)
    assert (operator.passes.forward, operator.passes.reverse) == (forward, reverse)  # and none of them gave up


def test_parameters_that_no_output_depends_on():
    model, x = build(BY_NAME["unused and frozen"]), vectors(4, 0)
    parts = NTKOperator(model, x, by="layer").parts
    assert float((parts["idle"] @ columns(4, 2)).abs().max()) == 0.0
    assert float((parts["used"] @ columns(4, 2)).abs().max()) > 0.0


@pytest.mark.parametrize("make", [pooled, tokens])
@pytest.mark.parametrize("reduce", ["flat", "trace"])
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_product_takes_no_more_than_its_limit(make, reduce, share):
    model, x = make()
    free = NTKOperator(model, x, reduce=reduce)
    limit = int(share * (free.plan.bytes_tile + 4 * free.plan.bytes_each))
    operator = NTKOperator(model, x, reduce=reduce, max_bytes=limit)
    v = columns(operator.shape[0], 6)
    with PeakBytes() as memory:
        _ = operator @ v
    assert memory.peak <= limit + 3 * v.nbytes, (memory.peak, limit)


def test_memory_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(Passes, "pull", lambda *a: pytest.fail("work was done"))
    with pytest.raises(MemoryPlanError, match=r"one vector with one example.*100.0 B are allowed.*Raise max_bytes"):
        NTKOperator(mlp(), torch.ones(4, 3), max_bytes=100)


@pytest.mark.parametrize("name", BAD_MODELS)
def test_models_without_a_kernel_are_refused(name):
    model, message = BAD_MODELS[name]
    with pytest.raises(ModelError, match=message):
        NTKOperator(model, torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_inputs_that_do_not_fit_are_refused(name):
    x, message = BAD_INPUTS[name]
    with pytest.raises(InputError, match=message):
        NTKOperator(mlp(), x)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"reduce": "full"}, "four axes.*reduce='flat'"),
        ({"reduce": "sum"}, "'sum' is unknown"),
        ({"reduce": (0, 2)}, r"class 2 is outside \[0, 2\)"),
        ({"by": "module"}, "'module' is unknown.*'parameter'"),
        ({"max_bytes": 0}, "positive number of bytes"),
    ],
)
def test_unknown_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        NTKOperator(mlp(), torch.ones(4, 3), **arguments)


@pytest.mark.parametrize(
    "v, message",
    [
        (torch.ones(3), r"4 x 4; a tensor \(4,\) or \(4, k\) can be multiplied, found \(3,\)"),
        (torch.ones(4, 1, 1), r"found \(4, 1, 1\)"),
        ([1.0] * 4, "found list"),
        (torch.ones(4, dtype=DOUBLE), "float64 on cpu, the kernel torch.float32 on cpu"),
        (torch.ones(4, device="meta"), "float32 on meta, the kernel torch.float32 on cpu"),
        (torch.tensor([1.0, torch.nan, 0.0, 0.0]), "NaN or an infinity"),
    ],
)
def test_vectors_that_cannot_be_multiplied(v, message):
    with pytest.raises(InputError, match=message):
        _ = NTKOperator(mlp(), torch.ones(4, 3)) @ v


def test_a_tile_that_turns_non_finite_names_its_examples():
    f = functional(lambda q, x: (x @ q["w"]).sqrt(), {"w": torch.ones(3, 1, dtype=DOUBLE)})
    x = torch.ones(40, 3, dtype=DOUBLE)
    x[[5, 9, 21]] = 0.0  # not among those that the checks look at: the root of 0 is finite, its slope is not
    operator = NTKOperator(f, x)
    with pytest.raises(ModelError, match=r"NaN or infinite at examples 5, 9, 21 .*take these examples out"):
        _ = operator @ columns(40, 1)
    small = NTKOperator(f, x, max_bytes=800)
    assert small.plan.tile < 9
    with pytest.raises(ModelError, match="at example 5 "):
        _ = small @ columns(40, 1)


def test_progress_counts_passes(capsys):
    operator = NTKOperator(mlp(), torch.ones(4, 3), progress=True)
    _ = operator @ torch.ones(4, 2)
    assert "kernel products:   0%|          | 0/2 " in capsys.readouterr().err  # C = 2 outputs and both vectors at once


def test_it_says_what_it_is():
    operator = NTKOperator(mlp(), torch.ones(4, 3), reduce="flat")
    assert repr(operator) == "NTKOperator(8 x 8, reduce='flat', 26 parameters, torch.float32, cpu)"
    assert operator.symmetric and not NTKOperator(mlp(), torch.ones(4, 3), reduce=(0, 1)).symmetric
