"""Counted costs."""

from __future__ import annotations

import pytest

from entk_tutorial.experiments.scaling_costs import (
    fitted_exponent,
    language_model_costs,
    modular_costs,
    processor_seconds,
)


@pytest.mark.parametrize(
    ("way", "kind", "exponent"),
    [
        ("training step", "operations", 4),
        ("table, class by class", "operations", 6),
        ("table, shared factor", "operations", 5),
        ("products", "operations", 4),
        ("table, shared factor", "bytes", 4),
        ("products", "bytes", 3),
    ],
)
def test_exponents_in_p_at_fixed_neurons_a_frequency(way: str, kind: str, exponent: float) -> None:
    sizes = [100_001, 200_001, 400_001]
    costs = [modular_costs(p, 18 * (p - 1))[way][kind] for p in sizes]
    assert fitted_exponent(sizes, costs) == pytest.approx(exponent, abs=0.01)


def test_language_model_by_hand() -> None:
    # 2 texts, 3 outputs, 5 parameters, 7 tokens: one reverse pass takes 4 * 5 * 7 = 140 operations.
    costs = language_model_costs(2, 3, 5, 7, directions=2, dimension=11)
    assert costs["one output"] == {"operations": 2 * 140 + 4 * 5, "bytes": 2 * 5 * 4}
    assert costs["trace, exact"] == {"operations": 6 * 140 + 4 * 3 * 5, "bytes": 6 * 5 * 4}
    assert costs["trace, r mixtures, projected"]["bytes"] == 4 * 11 * 4
    assert costs["flat, exact"]["bytes"] == 36 * 4


def test_time_is_the_least_of_the_calls() -> None:
    calls = []
    assert processor_seconds(lambda: calls.append(1), repeats=4) >= 0
    assert len(calls) == 4
    with pytest.raises(ValueError, match="at least one"):
        processor_seconds(lambda: None, repeats=0)


@pytest.mark.parametrize(("sizes", "costs"), [([1], [1]), ([1, 1], [1, 2]), ([1, 2], [1]), ([1, 2], [0, 1])])
def test_no_exponent_without_two_sizes(sizes: list[float], costs: list[float]) -> None:
    with pytest.raises(ValueError, match="two or more sizes"):
        fitted_exponent(sizes, costs)
