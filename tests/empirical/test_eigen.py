"""Eigenpairs of tables against spectra that are known; of operators against their kernels."""

import numpy as np
import pytest
import torch
from torch import nn

from entk_tutorial.empirical import (
    MemoryPlanError,
    NTKOperator,
    RankWarning,
    ResidualWarning,
    SketchEigenpairs,
    eigen,
    empirical_ntk,
    krylov,
    tables,
    top_eigenpairs,
)

from .cases import CASES, build, mlp, vectors

DOUBLE = torch.float64


def planted(values, seed=0):
    """A symmetric matrix with these eigenvalues, and its eigenvectors."""
    v = torch.tensor(values, dtype=DOUBLE)
    q = torch.linalg.qr(torch.randn(len(v), len(v), generator=torch.Generator().manual_seed(seed), dtype=DOUBLE))[0]
    return (q * v) @ q.T, q


@pytest.mark.parametrize("method", ["auto", "dense", "lanczos", "krylov"])
def test_planted_values_projectors_and_residuals(method):
    values = [9.0, 4.0, 4.0, 4.0, 1.0] + [0.1] * 35
    k, q = planted(values)
    pairs = top_eigenpairs(k, 5, method=method, block=8)
    assert pairs.method == ("dense" if method == "auto" else method)
    assert torch.allclose(pairs.values, torch.tensor(values[:5], dtype=DOUBLE), atol=1e-10)
    group = pairs.vectors[:, 1:4]  # degenerate: the projector is defined, the vectors are not
    assert torch.allclose(group @ group.T, q[:, 1:4] @ q[:, 1:4].T, atol=1e-8)
    assert float(pairs.residuals.max()) < 1e-8
    assert torch.allclose(pairs.vectors.T @ pairs.vectors, torch.eye(5, dtype=DOUBLE), atol=1e-10)


def test_signs_are_fixed_and_numpy_agrees():
    k, _ = planted([5.0, 3.0, 2.0, 1.0])
    pairs = top_eigenpairs(k)
    assert np.allclose(pairs.values.numpy(), np.linalg.eigvalsh(k.numpy())[::-1])
    assert bool((pairs.vectors.gather(0, pairs.vectors.abs().argmax(0, keepdim=True)) > 0).all())


def test_negative_zero_and_single_precision_spectra():
    assert torch.allclose(
        top_eigenpairs(torch.diag(torch.tensor([-1.0, 2.0]))).values, torch.tensor([2.0, -1.0]).double()
    )
    for method in ("dense", "lanczos", "krylov", "sketch"):
        with pytest.warns(RankWarning, match="k=2, and the kernel has numerical rank 0"):
            assert float(top_eigenpairs(torch.zeros(3, 3), 2, method=method).values.abs().max()) == 0
    k = planted([3.0, 2.0, 1.0])[0].float()
    assert top_eigenpairs(k).values.dtype == DOUBLE


BAD_KERNELS = {
    "one axis": (torch.ones(3), {}, "square"),
    "not square": (torch.ones(3, 2), {}, "square"),
    "four axes": (torch.ones(2, 2, 2, 2), {}, "reduce='flat'"),
    "not symmetric": (torch.tensor([[1.0, 2.0], [0.0, 1.0]]), {}, "not symmetric"),
    "NaN": (torch.full((2, 2), torch.nan), {}, "NaN"),
    "integers": (torch.eye(3).long(), {}, "int64"),
    "k = 0": (torch.eye(3), {"k": 0}, "between 1 and N=3"),
    "k > N": (torch.eye(3), {"k": 4}, "between 1 and N=3"),
    "method": (torch.eye(3), {"method": "power"}, "'power' is unknown"),
    "empty": (torch.ones(0, 0), {}, "N=0"),
    "gram of a table": (torch.eye(3), {"method": "gram"}, "'gram' is unknown.*'lanczos'"),
    "tolerance": (torch.eye(3), {"k": 1, "method": "krylov", "tolerance": 0.0}, "tolerance=0.0"),
    "block": (torch.eye(3), {"k": 1, "method": "krylov", "block": 0}, "block=0"),
    "sketch of an indefinite table": (torch.diag(torch.tensor([-1.0, 2.0])), {"k": 1, "method": "sketch"}, "definite"),
}


@pytest.mark.parametrize("name", BAD_KERNELS)
def test_bad_kernels(name):
    kernel, arguments, message = BAD_KERNELS[name]
    with pytest.raises(ValueError, match=message):
        top_eigenpairs(kernel, **arguments)


@pytest.mark.parametrize("tile", [1, 3, 1024])
def test_a_table_is_looked_through_tile_by_tile_and_left_as_it_is(tile, monkeypatch):
    monkeypatch.setattr(tables, "_TILE", 2 * tile)
    k = planted([4.0, 3.0, 2.0, 1.0, 0.5, 0.3, 0.1])[0]
    kept = k.clone()
    pairs = top_eigenpairs(k, 3)
    assert torch.equal(k, kept) and torch.allclose(pairs.values, torch.tensor([4.0, 3.0, 2.0], dtype=DOUBLE))
    assert float(pairs.residuals.max()) < 1e-12
    for spoilt, message in ((torch.nan, "NaN"), (torch.inf, "NaN or an infinity"), (7.0, "not symmetric")):
        k[6, 2] = spoilt
        with pytest.raises(ValueError, match=message):
            top_eigenpairs(k, 3)


def test_rounding_of_a_table_is_symmetrised():
    k = planted([4.0, 3.0, 2.0, 1.0])[0]
    skew = 1e-15 * torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    assert torch.equal(top_eigenpairs(k + skew - skew.T).values, top_eigenpairs(k - skew + skew.T).values)


def test_which_way_a_table_goes(monkeypatch):
    k = planted([2.0**-i for i in range(40)])[0]
    assert top_eigenpairs(k, 4).method == "dense"
    monkeypatch.setattr(eigen, "_DENSE_LIMIT", 30)
    assert top_eigenpairs(k, 4).method == "krylov"
    assert top_eigenpairs(k, 5).method == "dense"  # more than a tenth of all
    with pytest.raises(MemoryPlanError, match=r"40 rows needs about 50.0 KiB, and 1.0 KiB are allowed.*krylov"):
        top_eigenpairs(k, 4, method="dense", max_bytes=1024)


def test_more_pairs_than_the_rank_of_a_table_are_flagged():
    x = torch.randn(9, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    for table in (x @ x.T, (x @ x.T).float()):
        with pytest.warns(RankWarning, match="numerical rank 3: vectors 4 to 5 are arbitrary.*Ask for k=3") as said:
            top_eigenpairs(table, 5)
        assert said[0].filename == __file__
        top_eigenpairs(table, 3)
        assert len(top_eigenpairs(table).values) == 9  # None stands for all, and is no mistake
    top_eigenpairs(torch.diag(torch.tensor([1.0, -1.0])), 2)  # indefinite, of full rank


def test_half_precision_is_multiplied_in_single():
    k = torch.diag(torch.tensor([8.0, 4.0, 2.0, 1.0] + [0.0] * 60)).bfloat16()
    pairs = top_eigenpairs(k, 3, method="krylov", block=4)
    assert torch.allclose(pairs.values, torch.tensor([8.0, 4.0, 2.0], dtype=DOUBLE), rtol=1e-6)


def test_krylov_that_gives_up_says_so(monkeypatch):
    k = planted(np.linspace(1, 0.99, 300).tolist())[0]
    run = krylov.block_krylov
    monkeypatch.setattr(eigen, "block_krylov", lambda *a, **kw: run(*a, **kw, max_products=24))
    with pytest.warns(ResidualWarning, match=r"stopped after 24 products.*method='dense'") as said:
        pairs = top_eigenpairs(k, 4, method="krylov", block=8)
    assert said[0].filename == __file__
    assert float(pairs.residuals.max()) > 1e-6
    assert torch.allclose(
        pairs.residuals, torch.linalg.vector_norm(k @ pairs.vectors - pairs.vectors * pairs.values, dim=0)
    )


def operators(reduce, by=None):
    """More rows than parameters, and fewer."""
    generator = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=DOUBLE))
    x = torch.randn(40, 2, generator=generator, dtype=DOUBLE)
    return NTKOperator(model, x, reduce=reduce, by=by), NTKOperator(model, x[:6], reduce=reduce, by=by)


@pytest.mark.parametrize("reduce", ["flat", "trace", "mean_logit", (1, 1)])
@pytest.mark.parametrize("method", ["auto", "gram", "dense", "krylov", "sketch"])
def test_operators_have_the_pairs_of_their_kernels(reduce, method):
    for operator in operators(reduce):
        kernel = operator.to_dense()
        exact = top_eigenpairs(kernel)
        pairs = top_eigenpairs(operator, 4, method=method, block=4)
        scale = float(exact.values[0])
        assert torch.allclose(
            pairs.values, exact.values[:4], rtol=0, atol=(1e-3 if method == "sketch" else 1e-9) * scale
        )
        found = torch.linalg.vector_norm(kernel @ pairs.vectors - pairs.vectors * pairs.values, dim=0)
        assert torch.allclose(pairs.residuals, found, rtol=1e-3, atol=1e-10 * scale)
        assert torch.allclose(pairs.vectors.T @ pairs.vectors, torch.eye(4, dtype=DOUBLE), atol=1e-8)
        if method != "sketch":
            a, b = pairs.vectors, exact.vectors[:, :4]
            assert torch.allclose(a @ a.T, b @ b.T, atol=1e-6)


@pytest.mark.parametrize("case", [c for c in CASES if not c.warns], ids=lambda c: c.name)
def test_every_model_has_the_pairs_of_its_trace_kernel(case):
    operator = NTKOperator(build(case), case.inputs(case.n, 0))
    exact = top_eigenpairs(operator.to_dense())
    pairs = top_eigenpairs(operator)
    assert torch.allclose(pairs.values, exact.values[: len(pairs.values)], rtol=0, atol=1e-10 * float(exact.values[0]))
    assert float(exact.values[len(pairs.values) :].abs().sum()) < 1e-10 * float(exact.values[0])


def test_which_way_an_operator_goes(monkeypatch):
    many, few = operators("flat")
    assert top_eigenpairs(many, 3).method == "parameter_gram"  # 17 parameters, 80 rows
    assert top_eigenpairs(few, 3).method == "formed, dense"
    monkeypatch.setattr(eigen, "_GRAM_LIMIT", 4)
    monkeypatch.setattr(NTKOperator, "forming_cost", lambda self: 1e30)
    assert top_eigenpairs(many, 3, block=4).method == "krylov"
    monkeypatch.setattr(NTKOperator, "forming_cost", lambda self: 1.0)
    assert top_eigenpairs(many, 3, block=4).method == "formed, dense"
    assert top_eigenpairs(many, 3, block=4, max_bytes=10_000).method == "krylov"  # formed, it would not fit


def test_costs_are_counted():
    model, x = (
        nn.Sequential(nn.Linear(3, 4, bias=False), nn.Tanh(), nn.Linear(4, 2, bias=False)),
        vectors(10, 0).float(),
    )
    for reduce, passes, blocks in (("flat", 1, 4), ("trace", 2, 2), ("mean_logit", 1, 1)):
        operator = NTKOperator(model, x, reduce=reduce)
        assert operator.product_cost() == 6 * 10 * 20 * passes
        assert operator.forming_cost() == 100 * blocks * (7 + 6)  # both layers go by rule


@pytest.mark.parametrize("method", ["auto", "gram", "dense", "krylov", "sketch"])
def test_more_pairs_than_the_rank_of_an_operator_are_refused(method):
    layer = nn.Linear(3, 1, bias=False).double()
    x = vectors(12, 0)
    x[:, 2] = x[:, 0] + x[:, 1]  # two independent columns
    operator = NTKOperator(layer, x)
    with pytest.raises(ValueError, match=r"k=3.* numerical rank 2.*Ask for k <= 2"):
        top_eigenpairs(operator, 3, method=method, block=4)
    with pytest.raises(ValueError, match=r"k=4; a kernel of 12 rows and 3 derivatives has at most rank 3"):
        top_eigenpairs(operator, 4, method=method)


def test_all_pairs_of_an_operator_stop_at_its_rank():
    layer, x = nn.Linear(3, 1, bias=False).double(), vectors(12, 0)
    for method in ("auto", "gram", "dense"):
        pairs = top_eigenpairs(NTKOperator(layer, x), method=method)
        assert torch.allclose(pairs.values, torch.linalg.svdvals(x).square())
        assert pairs.vectors.shape == (12, 3) and pairs.residuals.shape == (3,)
    for method in ("krylov", "sketch"):
        with pytest.raises(ValueError, match=f"method='{method}' needs k"):
            top_eigenpairs(NTKOperator(layer, x), method=method)


def test_operators_without_eigenpairs_are_refused():
    with pytest.raises(ValueError, match=r"\(0, 1\).*not symmetric.*'flat'"):
        top_eigenpairs(NTKOperator(mlp(), torch.ones(4, 3), reduce=(0, 1)), 1)
    with pytest.raises(ValueError, match=r"'lanczos' is unknown.*'gram'"):
        top_eigenpairs(NTKOperator(mlp(), torch.ones(4, 3)), 1, method="lanczos")


@pytest.mark.parametrize("method", ["gram", "krylov", "sketch"])
def test_tiling_changes_neither_values_nor_projectors(method):
    model, x = mlp().double(), vectors(30, 0)
    whole = NTKOperator(model, x, reduce="flat")
    each = whole.plan.bytes_tile // 30
    tiled = NTKOperator(model, x, reduce="flat", max_bytes=8 * 60 + whole.plan.bytes_each - 30 * each + 8 * each)
    assert tiled.plan.tile < 9
    limit = None if method != "gram" else 60_000
    a = top_eigenpairs(whole, 5, method=method, block=8)
    b = top_eigenpairs(tiled, 5, method=method, block=8, max_bytes=limit)
    assert torch.allclose(a.values, b.values, rtol=1e-9)
    assert torch.allclose(a.vectors @ a.vectors.T, b.vectors @ b.vectors.T, atol=1e-7)


def test_parts_of_an_operator_have_pairs_of_their_own():
    for operator in operators("trace", by="layer"):
        kernels = empirical_ntk(operator.fn, operator.inputs.copy(), by="layer")
        for name, part in operator.parts.items():
            expected = top_eigenpairs(kernels[name]).values[:2]
            assert torch.allclose(top_eigenpairs(part, 2).values, expected, rtol=1e-10)


def test_single_precision_operator():
    model, x = nn.Sequential(nn.Linear(3, 40), nn.Tanh(), nn.Linear(40, 2)), vectors(60, 0).float()
    operator = NTKOperator(model, x, reduce="flat")
    exact = top_eigenpairs(operator.to_dense().double(), 6)
    for method in ("krylov", "sketch"):
        pairs = top_eigenpairs(operator, 6, method=method, block=16)
        assert pairs.values.dtype == pairs.vectors.dtype == DOUBLE
        assert torch.allclose(pairs.values, exact.values, rtol=0, atol=1e-5 * float(exact.values[0]))
    assert isinstance(pairs, SketchEigenpairs)
