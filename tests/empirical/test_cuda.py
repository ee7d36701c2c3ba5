"""The same kernels, products and eigenpairs on a CUDA device, in float32, against the processor in float64.

Skipped without such a device, with that reason. All tests that need one are here, and carry the marker ``cuda``:
``pytest -m cuda`` runs them alone. Not covered, here or on the processor: recurrent layers, whose fused CUDA form has
neither a forward derivative nor a second reverse pass.
"""

import pytest
import torch

from entk_tutorial.empirical import (
    InputError,
    LinearizedModel,
    MemoryPlanError,
    NTKOperator,
    empirical_ntk,
    jacobian,
    parameter_gram_eigenpairs,
    plan,
    top_eigenpairs,
)

from .cases import CASES, assert_near, build, cast, mlp, vectors
from .test_eigen import planted

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and this machine has none"),
]

every_case = pytest.mark.parametrize("case", [c for c in CASES if not c.warns], ids=lambda c: c.name)


def there(x):
    """Inputs on the device, floating ones in float32."""
    if isinstance(x, torch.Tensor):
        return cast(x, torch.float32).cuda()
    if isinstance(x, dict):
        return {k: there(t) for k, t in x.items()}
    return tuple(there(t) for t in x)


@every_case
@pytest.mark.parametrize("reduce", ["flat", "trace", "mean_logit"])
def test_kernels(case, reduce):
    x = case.inputs(case.n, 0)
    expected = empirical_ntk(build(case), x, reduce=reduce)
    model, moved = build(case, torch.float32).cuda(), there(x)
    for method in ("auto", "jacobian"):
        found = empirical_ntk(model, moved, reduce=reduce, method=method)
        assert found.device.type == "cuda" and found.dtype == torch.float32
        assert_near(found.cpu(), expected, 1e-5)
    assert_near(sum(empirical_ntk(model, moved, reduce=reduce, by="layer").values()).cpu(), expected, 1e-5)


@every_case
@pytest.mark.parametrize("reduce", ["flat", "trace"])
@pytest.mark.filterwarnings("ignore::entk_tutorial.empirical.FallbackWarning")
def test_products(case, reduce):
    x = case.inputs(case.n, 0)
    expected = empirical_ntk(build(case), x, reduce=reduce)
    operator = NTKOperator(build(case, torch.float32).cuda(), there(x), reduce=reduce)
    v = torch.randn(len(expected), 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = operator @ v.float().cuda()
    assert found.device.type == "cuda"
    assert_near(found.cpu(), expected @ v, 1e-5)


def test_tiles_fit_the_device_and_change_nothing():
    model, x = mlp().float().cuda(), vectors(200, 0).float().cuda()
    whole = empirical_ntk(model, x, reduce="flat")
    limit = whole.nbytes + 100_000
    assert plan(model, x, reduce="flat", max_bytes=limit).tile < 200
    assert_near(empirical_ntk(model, x, reduce="flat", max_bytes=limit), whole, 1e-5)
    v = torch.ones(400, 2, device="cuda")
    assert_near(NTKOperator(model, x, reduce="flat", max_bytes=30_000) @ v, whole @ v, 1e-5)
    with pytest.raises(MemoryPlanError):
        empirical_ntk(model, x, reduce="flat", max_bytes=1000)


@pytest.mark.parametrize("method", ["dense", "lanczos", "krylov", "sketch"])
def test_eigenpairs_of_tables(method):
    table, _ = planted([4.0, 3.0, 2.0, 1.0] + [1e-3] * 400)
    pairs = top_eigenpairs(table.float().cuda(), 4, method=method, block=16)
    assert pairs.vectors.device.type == "cuda" and pairs.method == method
    expected = torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    assert torch.allclose(pairs.values.cpu(), expected, atol=1e-4)
    assert float(pairs.residuals.max()) < (1e-2 if method == "sketch" else 1e-5)


@pytest.mark.parametrize("method", ["auto", "gram", "krylov", "sketch"])
@pytest.mark.parametrize("reduce", ["flat", "trace", "mean_logit"])
def test_eigenpairs_of_operators(method, reduce):
    model, x = mlp().float().cuda(), vectors(60, 0).float().cuda()
    operator = NTKOperator(model, x, reduce=reduce)
    exact = top_eigenpairs(empirical_ntk(model.double(), x.double(), reduce=reduce), 3)
    pairs = top_eigenpairs(NTKOperator(model.float(), x, reduce=reduce), 3, method=method, block=16)
    assert operator.device.type == "cuda"
    assert torch.allclose(pairs.values, exact.values, rtol=1e-3 if method == "sketch" else 1e-5)


def test_the_parameters_gram_and_the_linearised_model():
    model, x = mlp().double(), vectors(30, 0)
    expected = parameter_gram_eigenpairs(model, x, 3).values
    y = torch.ones(30, 2, dtype=torch.float64)
    predicted = LinearizedModel(model, x, y, ridge=1.0).predict(x)
    full = jacobian(model, x)
    model, x = model.float().cuda(), x.float().cuda()
    assert torch.allclose(parameter_gram_eigenpairs(model, x, 3).values.cpu(), expected, rtol=1e-5)
    assert torch.allclose(LinearizedModel(model, x, y.cuda(), ridge=1.0).predict(x).cpu(), predicted, atol=1e-3)
    assert_near(jacobian(model, x).cpu(), full, 1e-5)


def test_devices_that_differ_are_named():
    model, x = mlp().float().cuda(), vectors(4, 0).float()
    for call in (empirical_ntk, NTKOperator):
        with pytest.raises(InputError, match=r"lies on cpu, the parameters on cuda"):
            call(model, x)
    with pytest.raises(InputError, match=r"float32 on cpu, the kernel torch.float32 on cuda"):
        _ = NTKOperator(model, x.cuda()) @ torch.ones(4)
