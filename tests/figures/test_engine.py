"""The tables of the stored benchmark say what the stored rows say, and leave no missed aim out."""

import pytest

from entk_tutorial.figures.engine import aims, costs_beside_peers, exponents
from entk_tutorial.results import load_benchmark


@pytest.fixture(scope="module")
def stored():
    return load_benchmark("engine")


def test_every_aim_is_in_one_of_the_two_lists(stored):
    with_aim = [row for row in stored["rows"] if row["limit"] is not None]
    missed, reached = aims(stored, met=False), aims(stored, met=True)
    assert len(missed) + len(reached) == len(with_aim)
    assert set(missed) == {f"{row['work']}: {row['figure']}" for row in with_aim if not row["met"]}


def test_costs_are_those_of_the_rows(stored):
    table = costs_beside_peers(stored)
    for row in stored["rows"]:
        if row["figure"] == "times faster":
            assert float(table[row["work"]]["times faster"].replace(",", "")) == pytest.approx(row["ours"], rel=1e-2)
        if row["figure"] in ("time", "trace by layer, time"):
            assert float(table[row["work"]]["seconds"]) == pytest.approx(row["ours"], rel=1e-2)
    stars = [entry["its seconds"].endswith("*") for entry in table.values() if entry.get("its seconds")]
    assert any(stars) and not all(stars)  # neural-tangents ran, others were extrapolated
    assert sum("eigenpairs" in name for name in table) == 2


def test_three_exponents(stored):
    found = exponents(stored)
    assert set(found) == {"inputs", "neurons", "outputs"}
    assert all(0 < float(row["measured"]) <= 2.5 for row in found.values())
