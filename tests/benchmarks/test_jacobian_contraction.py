"""The benchmark compares equals, extrapolates power laws, and its stored table follows from its stored runs."""

import json

import pytest

from benchmarks import jacobian_contraction as bench


def run(method, n, seconds):
    return bench.Run(method, n, seconds, seconds, int(1000 * seconds), 0.0)


def test_both_sides_compute_the_same_kernel():
    assert bench.agreement() < 1e-12


def test_a_power_law_is_extrapolated_exactly():
    value, exponent = bench.extrapolated([run("trace", n, 3.0 * n**1.5) for n in (100, 200, 400)], "seconds")
    assert exponent == pytest.approx(1.5)
    assert value == pytest.approx(3.0 * bench.N**1.5)


def test_a_whole_run_replaces_the_extrapolation():
    runs = [run(m, n, float(n)) for m in bench.SIZES for n in (50, 100)]
    runs += [run("trace", bench.N, 7.0), run("products", bench.N, 0.5)]
    row = bench.summary(runs)["trace"]
    assert row["measured"] and row["times_slower"] == pytest.approx(14.0)
    assert row["extrapolated_seconds"] == pytest.approx(bench.N)


def test_stored_table_follows_from_the_stored_runs():
    stored = json.loads(bench.RESULTS.read_text(encoding="utf-8"))
    again = bench.summary([bench.Run(**r) for r in stored["runs"]])
    assert stored["summary"].keys() == again.keys()
    for name, row in stored["summary"].items():  # a fitted exponent differs in its last digits between machines
        assert row == pytest.approx(again[name], rel=1e-9), name
    assert stored["busy"] == (max(r["load"] for r in stored["runs"]) > bench.BUSY)
