"""The one-pass sketch: its values lie below, its bound holds, its second product makes them exact on their span."""

import pytest
import torch

from entk_tutorial.empirical import SketchEigenpairs, top_eigenpairs
from entk_tutorial.empirical.sketch import sketched_eigenpairs

from .test_eigen import planted

DOUBLE = torch.float64
SPECTRA = {
    "fast": [2.0**-i for i in range(120)],
    "slow": [1 / (1 + i) for i in range(120)],
    "steps": [10.0] * 5 + [1.0] * 40 + [0.1] * 75,
    "low rank": [3.0, 2.0, 1.0] + [0.0] * 117,
}


def sketch(table, k, **options):
    return sketched_eigenpairs(lambda v: table @ v, len(table), k, dtype=DOUBLE, device=table.device, **options)


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("seed", range(5))
def test_the_stated_error_holds(name, seed):
    values = torch.tensor(SPECTRA[name], dtype=DOUBLE)
    table, _ = planted(SPECTRA[name])
    k = 3
    for exact_step in (False, True):
        pairs = top_eigenpairs(table, k, method="sketch", rayleigh_ritz=exact_step, seed=seed)
        assert isinstance(pairs, SketchEigenpairs)
        below = values[:k] - pairs.values
        assert bool((below >= -1e-9).all()) and bool((below <= pairs.norm_error + 1e-12).all())
        real = torch.linalg.vector_norm(table @ pairs.vectors - pairs.vectors * pairs.values, dim=0)
        assert torch.allclose(pairs.vectors.T @ pairs.vectors, torch.eye(k, dtype=DOUBLE), atol=1e-10)
        if exact_step:
            assert pairs.method == "sketch" and torch.allclose(pairs.residuals, real, atol=1e-12)
        else:
            assert pairs.method == "sketch, one pass"
            assert bool((real <= pairs.residuals + 1e-9).all())
            assert bool((pairs.residuals == pairs.norm_error).all())


@pytest.mark.parametrize("name", ["slow", "steps"])
@pytest.mark.parametrize("seed", range(10))
def test_the_bound_bounds_the_norm_and_is_not_idle(name, seed):
    """With all pairs of the sketch: the norm of what it leaves lies below the bound, and within a factor of 20."""
    table, _ = planted(SPECTRA[name])
    pairs = sketch(table, 20, size=20, rayleigh_ritz=False, seed=seed)
    left = float(torch.linalg.matrix_norm(table - (pairs.vectors * pairs.values) @ pairs.vectors.T, 2))
    assert left <= pairs.norm_error < 20 * left


def test_the_second_product_only_improves():
    table, _ = planted(SPECTRA["slow"])
    once, twice = (top_eigenpairs(table, 5, method="sketch", rayleigh_ritz=r) for r in (False, True))
    assert bool((twice.values >= once.values - 1e-12).all())
    assert float((twice.values - once.values).max()) > 1e-6
    assert float(twice.residuals.max()) < float(once.residuals.max()) / 10


def test_products_are_counted():
    """One pass means one: 2 k + 20 vectors and the seventeen of the bound; the second has 2 k + 20."""
    table, _ = planted(SPECTRA["slow"])
    for exact_step, expected in ((False, [43]), (True, [43, 26])):
        seen = []
        sketched_eigenpairs(
            lambda v, seen=seen: seen.append(v.shape[1]) or table @ v, 120, 3, dtype=DOUBLE, device=table.device,
            rayleigh_ritz=exact_step,
        )  # fmt: skip
        assert seen == expected


def test_single_precision_and_few_rows():
    table, _ = planted(SPECTRA["fast"])
    exact = torch.tensor(SPECTRA["fast"][:4], dtype=DOUBLE)
    pairs = top_eigenpairs(table.float(), 4, method="sketch")
    assert torch.allclose(pairs.values, exact, atol=1e-6) and pairs.norm_error < 1e-3
    small = top_eigenpairs(table[:5, :5], 4, method="sketch")  # no more vectors than rows
    assert torch.allclose(small.values, torch.linalg.eigvalsh(table[:5, :5]).flip(0)[:4], atol=1e-10)
