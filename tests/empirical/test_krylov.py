"""Block Krylov against planted spectra: equal eigenvalues, restarts, low rank, both precisions."""

import pytest
import torch

from entk_tutorial.empirical.krylov import block_krylov

from .test_eigen import planted

DOUBLE = torch.float64
TAIL = torch.linspace(0.9, 0.01, 200).tolist()
SPECTRA = {
    "separate": ([50.0, 20.0, 10.0, 5.0, *TAIL], 4),
    "equal": ([100.0] + [9.0] * 24 + [4.0] * 24 + TAIL, 49),
    "close": (torch.linspace(1.0, 0.5, 250).tolist(), 10),
    "low rank": ([5.0, 4.0, 3.0, 2.0, 1.0] + [0.0] * 200, 5),
    "beyond the rank": ([5.0, 4.0, 3.0] + [0.0] * 200, 6),
    "identity": ([1.0] * 200, 10),
    "zero": ([0.0] * 200, 3),
    "indefinite": ([3.0, 2.0] + [0.0] * 100 + [-4.0] * 50, 2),
    "tiny": ([3.0, 2.0, 1.0], 2),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("dtype, tolerance", [(DOUBLE, 1e-10), (torch.float32, 1e-6)])
@pytest.mark.parametrize("block", [8, 64])
def test_planted_spectra(name, dtype, tolerance, block):
    values, k = SPECTRA[name]
    exact, q = planted(values)
    table = exact.to(dtype)
    found = block_krylov(
        lambda v: table @ v, len(table), k, dtype=dtype, device=table.device, tolerance=tolerance, block=block
    )
    scale, slack = max(map(abs, values)), 1e-12 if dtype == DOUBLE else 2e-6
    assert found.converged
    assert torch.allclose(found.values, torch.tensor(values[:k], dtype=DOUBLE), rtol=0, atol=slack * scale)
    assert torch.allclose(found.vectors.T @ found.vectors, torch.eye(k, dtype=DOUBLE), atol=1e-12)
    residuals = torch.linalg.vector_norm(exact @ found.vectors - found.vectors * found.values, dim=0)
    assert float(residuals.max()) <= 5 * tolerance * scale
    if values[k - 1] > 1.01 * values[k]:
        p, r = found.vectors @ found.vectors.T, q[:, :k] @ q[:, :k].T
        assert float((p - r).abs().max()) < (1e-8 if dtype == DOUBLE else 1e-3)


@pytest.mark.parametrize("block", [1, 8])
def test_more_equal_eigenvalues_than_a_block_holds_are_found(block):
    """Twelve equal ones, and blocks of eight: what one starting block reaches holds eight of them, then 5 and 1."""
    values = [9.0] * 12 + [5.0, 1.0] + torch.linspace(0.1, 0.001, 192).tolist()
    table, _ = planted(values)
    run = {"dtype": DOUBLE, "device": table.device, "tolerance": 1e-3, "block": block}
    for seed in range(5):
        found = block_krylov(lambda v: table @ v, len(table), 10, seed=seed, **run).values
        assert torch.allclose(found, torch.full((10,), 9.0, dtype=DOUBLE), atol=1e-4)


@pytest.mark.parametrize("max_basis", [1, 60, 100])
def test_a_basis_that_is_compressed_on_the_way_gives_the_same(max_basis):
    values, k = SPECTRA["close"]
    table, _ = planted(values)
    found = block_krylov(lambda v: table @ v, 250, k, dtype=DOUBLE, device=table.device, tolerance=1e-10, block=8,
                         max_basis=max_basis, max_products=5000)  # fmt: skip
    assert found.converged and found.products > 100
    assert torch.allclose(found.values, torch.tensor(values[:k], dtype=DOUBLE), atol=1e-12)


def test_the_same_seed_gives_the_same_and_leaves_the_global_state():
    table, _ = planted(SPECTRA["separate"][0])
    run = {"dtype": DOUBLE, "device": table.device, "tolerance": 1e-10, "block": 8}
    before = torch.get_rng_state()
    a, b = (block_krylov(lambda v: table @ v, len(table), 4, **run) for _ in range(2))
    assert torch.equal(a.vectors, b.vectors) and torch.equal(before, torch.get_rng_state())
    other = block_krylov(lambda v: table @ v, len(table), 4, seed=1, **run)
    assert not torch.equal(a.vectors, other.vectors) and torch.allclose(a.values, other.values)


def test_giving_up_is_told():
    table, _ = planted(SPECTRA["close"][0])
    found = block_krylov(lambda v: table @ v, 250, 10, dtype=DOUBLE, device=table.device, tolerance=1e-10, block=8,
                         max_products=40)  # fmt: skip
    assert not found.converged and found.products == 40


def test_sums_are_taken_in_panels(monkeypatch):
    table, _ = planted(SPECTRA["equal"][0])
    run = {"dtype": torch.float32, "device": table.device, "tolerance": 1e-6, "block": 8}
    single = table.float()
    whole = block_krylov(lambda v: single @ v, len(table), 49, **run)
    monkeypatch.setattr("entk_tutorial.empirical.pairs.PANEL_BYTES", 8 * 60 * 10)
    pieces = block_krylov(lambda v: single @ v, len(table), 49, **run)
    assert torch.allclose(whole.values, pieces.values, atol=1e-4)
