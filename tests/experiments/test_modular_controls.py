"""What finds what, on a tiny modulus: every method has its row, and rows lie where they must."""

from dataclasses import replace

import pytest

from entk_tutorial.experiments import modular_controls
from entk_tutorial.experiments.modular_controls import METHODS, Config

TINY = Config(p=7, hidden=64, epochs=20, device="cpu")


@pytest.fixture(scope="module")
def result():
    return modular_controls.run(TINY, seeds=[0, 1])


def test_every_method_has_its_row(result):
    for table in (result.metrics, result.controls["untrained"], result.chance):
        for method in METHODS:
            for column in ("n", "m", "sum", "diff", "concentration", "renamed"):
                assert f"{method}_{column}" in table, (method, column)


def test_rows_lie_where_they_must(result):
    m = result.metrics
    assert m["input_gram_n"] == pytest.approx(6) and m["w1_svd_m"] == pytest.approx(6, abs=1e-3)
    for method in ("entk_beyond", "pca_beyond", "weight_dft", "random_waves"):
        assert bool((abs(m[f"{method}_n"]) < 1e-4).all()), method
    for method in ("weight_dft", "random_waves"):
        assert m[f"{method}_concentration"] == pytest.approx(1)
    for method in METHODS:
        total = sum(m[f"{method}_{f}"] for f in ("n", "m", "sum", "diff"))
        assert bool((total <= 12 + 1e-6).all()), method


def test_same_seed_same_numbers(result):
    again = modular_controls.run(TINY, seeds=[1])
    for name, values in again.metrics.items():
        assert values[0] == pytest.approx(result.metrics[name][1], rel=1e-8), name


@pytest.mark.parametrize("change", [{"p": 5}, {"p": 8}, {"hidden": 20}, {"lr": 0.0}, {"epochs": -1}], ids=str)
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)
