"""Eigenpairs, cliffs and effective rank against spectra that are known."""

import numpy as np
import pytest
import torch

from entk_tutorial.empirical import cliffs, effective_rank, top_eigenpairs

DOUBLE = torch.float64


def planted(values, seed=0):
    """A symmetric matrix with these eigenvalues, and its eigenvectors."""
    v = torch.tensor(values, dtype=DOUBLE)
    q = torch.linalg.qr(torch.randn(len(v), len(v), generator=torch.Generator().manual_seed(seed), dtype=DOUBLE))[0]
    return (q * v) @ q.T, q


@pytest.mark.parametrize("method", ["auto", "dense", "lanczos"])
def test_planted_values_projectors_and_residuals(method):
    values = [9.0, 4.0, 4.0, 4.0, 1.0] + [0.1] * 35
    k, q = planted(values)
    pairs = top_eigenpairs(k, 5, method=method)
    assert pairs.method == ("lanczos" if method == "lanczos" else "dense")
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
    for method in ("dense", "lanczos"):
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
}


@pytest.mark.parametrize("name", BAD_KERNELS)
def test_bad_kernels(name):
    kernel, arguments, message = BAD_KERNELS[name]
    with pytest.raises(ValueError, match=message):
        top_eigenpairs(kernel, **arguments)


def test_cliffs_count_from_one_and_stop_at_the_rank():
    c = cliffs(torch.tensor([1000.0, 10.0, 8.0, 2.0, 1.0, 1e-9, 0.0], dtype=DOUBLE), rank_tolerance=1e-10)
    assert (c.constant, c.rank, c.ratio(2), c.ratio(3)) == (100.0, 5, 1.25, 4.0)
    assert c.largest_other([]) == (3, 4.0)
    assert c.largest_other([3]) == (4, 2.0)
    assert c.largest_other([], last=2) == (2, 1.25)


def test_cliffs_refuse():
    for values in ([1.0, 2.0], [[1.0]], [], [1.0, float("nan")]):
        with pytest.raises(ValueError, match="descending"):
            cliffs(torch.tensor(values))
    for values in ([1.0], [1.0, 0.0], [0.0, 0.0], [-1.0, -2.0]):
        with pytest.raises(ValueError, match="numerical rank"):
            cliffs(torch.tensor(values))
    c = cliffs(torch.tensor([4.0, 2.0, 1.0]))
    for i in (0, 3):
        with pytest.raises(ValueError, match="ratios 1 to 2 exist"):
            c.ratio(i)
    with pytest.raises(ValueError, match="no ratio is left"):
        c.largest_other([2])


def test_effective_rank_of_known_spectra():
    assert effective_rank(torch.ones(7)) == pytest.approx(7)
    assert effective_rank(torch.tensor([3.0, 0.0, 0.0])) == pytest.approx(1)
    share = np.array([0.5, 0.3, 0.2])
    expected = np.exp(-(share * np.log(share)).sum())
    assert effective_rank(torch.tensor(10 * share)) == pytest.approx(expected)
    assert effective_rank(torch.tensor([1.0, -1e-9])) == pytest.approx(1)


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, -0.1], [1.0, float("nan")], [float("inf")], []])
def test_effective_rank_refuses(values):
    with pytest.raises(ValueError, match="semi-definite"):
        effective_rank(torch.tensor(values))
