"""The Gram of the parameters against the dense flat kernel: spectra, eigenspaces, weights, refusals."""

import pytest
import torch
from torch import nn

from entk_tutorial.empirical import (
    FallbackWarning,
    MemoryPlanError,
    ModelError,
    empirical_ntk,
    functional,
    parameter_gram,
    parameter_gram_eigenpairs,
    top_eigenpairs,
)

from .cases import CASES, build, mlp, vectors

DOUBLE = torch.float64


def toy(n=12, outputs=5, hidden=2, dtype=DOUBLE):
    """A tied autoencoder with ReLU, as in toy models of superposition, and sparse inputs."""
    generator = torch.Generator().manual_seed(1)
    w = torch.randn(hidden, outputs, generator=generator, dtype=DOUBLE).to(dtype)
    b = (0.1 * torch.randn(outputs, generator=generator, dtype=DOUBLE)).to(dtype)
    x = torch.rand(n, outputs, generator=generator, dtype=DOUBLE)
    x = (x * (torch.rand(n, outputs, generator=generator, dtype=DOUBLE) < 0.6)).to(dtype)
    return functional(lambda q, x: (x @ q["w"].T @ q["w"] + q["b"]).relu(), {"w": w, "b": b}), x


def assert_same_pairs(pairs, kernel, k=None):
    """Values, spaces, residuals and signs against a dense eigendecomposition of ``kernel``."""
    dense = top_eigenpairs(kernel)
    rank = int((dense.values > 1e-10 * dense.values[0]).sum())
    k = rank if k is None else k
    scale = float(dense.values[0])
    assert len(pairs.spectrum) == rank and pairs.vectors.shape == (kernel.shape[0], k)
    assert torch.allclose(pairs.spectrum, dense.values[:rank], rtol=0, atol=1e-12 * scale)
    assert torch.equal(pairs.values, pairs.spectrum[:k])
    assert torch.allclose(pairs.vectors.T @ pairs.vectors, torch.eye(k, dtype=DOUBLE), atol=1e-6)
    found = torch.linalg.vector_norm(kernel @ pairs.vectors - pairs.vectors * pairs.values, dim=0)
    assert float(found.max()) < 1e-9 * scale
    assert torch.allclose(pairs.residuals, found, atol=1e-12 * scale)
    assert bool((pairs.vectors.gather(0, pairs.vectors.abs().argmax(0, keepdim=True)) > 0).all())
    assert pairs.method == "parameter_gram"


@pytest.mark.parametrize("case", [c for c in CASES if not c.warns], ids=lambda c: c.name)
def test_every_model_has_the_pairs_of_its_flat_kernel(case):
    model, x = build(case), case.inputs(case.n, 0)
    assert_same_pairs(parameter_gram_eigenpairs(model, x), empirical_ntk(model, x, reduce="flat"))


@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("limit", [None, 35_000])
def test_leading_pairs_with_and_without_a_kept_jacobian(k, limit, monkeypatch):
    model, x = toy(40)
    formed, form = [], parameter_gram.projected_jacobian
    monkeypatch.setattr(parameter_gram, "projected_jacobian", lambda *a, **kw: formed.append(a[1].n) or form(*a, **kw))
    pairs = parameter_gram_eigenpairs(model, x, k, max_bytes=limit)
    assert sum(formed) == (40 if limit is None else 3 * 40)  # where it does not fit, it is formed for each pass
    monkeypatch.undo()
    assert_same_pairs(pairs, empirical_ntk(model, x, reduce="flat"), k)


def test_a_rank_deficient_kernel_stops_at_its_rank():
    model, x = toy()
    x = x[[0, 1, 0, 1, 0, 1]]  # two different examples: at most 10 of 30 rows are independent
    kernel = empirical_ntk(model, x, reduce="flat")
    pairs = parameter_gram_eigenpairs(model, x)
    assert_same_pairs(pairs, kernel)
    rank = int(torch.linalg.matrix_rank(kernel))
    assert len(pairs.values) == rank < 15
    with pytest.raises(ValueError, match=f"numerical rank {rank}.*k <= {rank}"):
        parameter_gram_eigenpairs(model, x, rank + 1)


def test_more_parameters_than_rows():
    model, x = mlp().double(), vectors(3, 0)
    assert_same_pairs(parameter_gram_eigenpairs(model, x), empirical_ntk(model, x, reduce="flat"))


@pytest.mark.parametrize("per_example", [True, False])
def test_row_weights_scale_rows_and_columns(per_example):
    model, x = toy()
    weights = torch.rand(12, 5, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    weights[:, 3] = 0.0
    weights = weights if per_example else weights[0]
    flat = weights.expand(12, 5).reshape(-1)
    kernel = flat[:, None] * empirical_ntk(model, x, reduce="flat") * flat
    pairs = parameter_gram_eigenpairs(model, x, row_weights=weights)
    assert_same_pairs(pairs, kernel)
    assert float(pairs.vectors.reshape(12, 5, -1)[:, 3].abs().max()) == 0.0  # rows are sample-major


def test_a_subset_of_the_parameters():
    model, x = build(next(c for c in CASES if c.name == "pooled sequence")), CASES[4].inputs(5, 0)
    names = ["down.weight", "up.bias"]
    parts = empirical_ntk(model, x, reduce="flat", by="parameter")
    assert_same_pairs(parameter_gram_eigenpairs(model, x, by_names=names), sum(parts[name] for name in names))
    again = parameter_gram_eigenpairs(model, x, by_names=names[::-1])
    assert torch.equal(again.values, parameter_gram_eigenpairs(model, x, by_names=names).values)


def test_the_diagonal_of_a_linear_layer_in_closed_form():
    x = torch.diag(torch.tensor([3.0, 2.0, 1.0], dtype=DOUBLE))
    pairs = parameter_gram_eigenpairs(nn.Linear(3, 2, bias=False).double(), x)
    assert torch.allclose(pairs.values, torch.tensor([9.0, 9, 4, 4, 1, 1], dtype=DOUBLE))


def test_small_eigenvalues_need_double_products():
    """lam_k / lam_1 = 1e-8: rows multiplied in float64 find it even for a float32 model; in float32 they cannot."""
    scales = torch.tensor([1.0, 1e-2, 1e-4])
    x = torch.linalg.qr(torch.randn(40, 3, generator=torch.Generator().manual_seed(0)))[0] * scales
    model = nn.Linear(3, 1, bias=False)
    expected = torch.linalg.svdvals(x.double()).square()
    assert torch.allclose(parameter_gram_eigenpairs(model, x).values, expected, rtol=1e-7, atol=0)
    assert len(parameter_gram_eigenpairs(model, x, dtype=torch.float32).spectrum) == 2
    assert torch.allclose(
        parameter_gram_eigenpairs(model, x, 1, dtype=torch.float32).values, expected[:1], rtol=1e-5, atol=0
    )


def test_single_precision_model():
    model, x = toy(dtype=torch.float32)
    exact = parameter_gram_eigenpairs(*toy(), 4)
    for dtype in (torch.float32, torch.float64):
        pairs = parameter_gram_eigenpairs(model, x, 4, dtype=dtype)
        assert pairs.vectors.dtype == pairs.values.dtype == DOUBLE
        assert torch.allclose(pairs.values, exact.values, rtol=1e-5)
        assert float(pairs.residuals.max()) < 1e-5 * float(exact.values[0])


def test_panels_and_chunks_do_not_change_the_pairs(monkeypatch):
    model, x = toy()
    whole = parameter_gram_eigenpairs(model, x, 5)
    monkeypatch.setattr(parameter_gram, "_PANEL", 4)
    monkeypatch.setattr(parameter_gram, "_CHUNK_BYTES", 1)
    pieces = parameter_gram_eigenpairs(model, x, 5)
    assert torch.allclose(whole.values, pieces.values, rtol=1e-12)
    assert_same_pairs(pieces, empirical_ntk(model, x, reduce="flat"), 5)


def test_a_model_that_cannot_be_vectorised_is_still_exact():
    case = next(c for c in CASES if c.name == "branching")
    model, x = build(case), case.inputs(5, 0)
    with pytest.warns(FallbackWarning) as said:
        pairs = parameter_gram_eigenpairs(model, x)
    assert said[0].filename == __file__
    with pytest.warns(FallbackWarning):
        assert_same_pairs(pairs, empirical_ntk(model, x, reduce="flat"))


BAD = {
    "k = 0": ({"k": 0}, "k=0; between 1 and 15"),
    "k > P": ({"k": 16}, "between 1 and 15 .*60 rows.*15 parameters"),
    "weights' shape": ({"row_weights": torch.ones(12)}, r"\(12,\).*\(12, 5\) or \(C,\)"),
    "weights' type": ({"row_weights": [1.0] * 5}, "row_weights: list"),
    "negative weights": ({"row_weights": -torch.ones(5)}, "not negative"),
    "NaN weights": ({"row_weights": torch.full((5,), torch.nan)}, "finite"),
    "zero weights": ({"row_weights": torch.zeros(5)}, "kernel is zero"),
    "unknown name": ({"by_names": ["w", "bb"]}, "no parameter is called 'bb'; the nearest names are b"),
    "a string": ({"by_names": "w"}, r"\['w'\]"),
    "no name": ({"by_names": []}, "at least one"),
    "a name twice": ({"by_names": ["w", "w"]}, "each of them once"),
    "dtype": ({"dtype": torch.float16}, "float16"),
    "max_bytes": ({"max_bytes": -1}, "positive number of bytes"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_computed_is_refused(name):
    arguments, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        parameter_gram_eigenpairs(*toy(), **arguments)


def test_memory_is_refused_before_it_is_taken(monkeypatch):
    monkeypatch.setattr(parameter_gram, "projected_jacobian", lambda *a, **k: pytest.fail("work was done"))
    with pytest.raises(MemoryPlanError, match=r"15 parameters with 3 eigenvectors of 60 rows.*1.0 KiB are allowed"):
        parameter_gram_eigenpairs(*toy(), 3, max_bytes=1024)


def test_a_derivative_that_is_not_finite():
    f = functional(lambda q, x: (q["w"] * x).sum(1, keepdim=True).abs().sqrt(), {"w": torch.zeros(2)})
    with pytest.raises(ModelError, match="derivative is not finite"):
        parameter_gram_eigenpairs(f, torch.ones(3, 2))
