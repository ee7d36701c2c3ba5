from __future__ import annotations

import pytest

from entk_tutorial.experiments import word_order
from entk_tutorial.experiments.word_order import Config, families, key


@pytest.fixture(scope="module")
def result() -> word_order.Result:
    return word_order.run(Config(steps=300), seeds=[0, 1])


@pytest.mark.parametrize(
    "name", ["linear", "MLP per token, relu", "CNN, linear", "attention, tied", "additive linear RNN"]
)
def test_additive_families_never_learn_negation(result: word_order.Result, name: str) -> None:
    assert abs(result.mean(f"{key(name)}_interaction")) < 1e-9
    assert result.mean(f"{key(name)}_accuracy_negated") < 0.5


def test_hadamard_memorises_and_similar_vectors_carry_over(result: word_order.Result) -> None:
    assert result.mean("hadamard_accuracy_negated") == 1.0
    assert result.mean("hadamard_accuracy_negated_held_out") == 0.5  # ties: an unseen bigram has no score
    assert abs(result.mean("matrix_vector_mv_interaction_held_out")) < 1e-9
    assert result.mean("mv_similar_word_vectors_interaction_held_out") > 0.3


def test_every_family_has_its_chance_level() -> None:
    levels = word_order.chance(Config())
    assert set(levels.values()) == {0.5}
    assert len(levels) == 4 * len(families(Config()))


@pytest.mark.parametrize("settings", [{"steps": 0}, {"similarity": 1.0}, {"test_fraction": 0.0}])
def test_settings_that_cannot_run_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Config(**settings)  # type: ignore[arg-type]
