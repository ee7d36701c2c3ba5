"""The benchmark compares equals, counts up as it says, and its stored table follows from its stored runs."""

import json

import pytest

from benchmarks import microscope_kernels as bench


def test_both_sides_compute_the_same():
    assert max(bench.agreement().values()) < 1e-10


def test_the_dense_way_is_counted_up_by_squares_and_cubes():
    sizes = (25, 50)
    runs = [bench.Run("dense", "10", n, 2.0 * n**2 + 3.0 * n**3, 0.0, 3.0 * n**3, 0, 0.0) for n in sizes]
    row = bench.counted(runs)
    assert row["seconds"] == pytest.approx(2.0 * 500**2 + 3.0 * 500**3)
    assert (row["from_n"], row["measured"], row["matrix_bytes"]) == (50, False, 25_000**2 * 8)


def test_stored_table_follows_from_the_stored_runs():
    stored = json.loads(bench.RESULTS.read_text(encoding="utf-8"))
    assert stored["summary"] == bench.summary([bench.Run(**r) for r in stored["runs"]])
    assert stored["busy"] == (max(r["load"] for r in stored["runs"]) > bench.BUSY)
    assert max(stored["relative_differences"].values()) < 1e-10
