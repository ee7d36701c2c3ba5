"""Every solution passes its check; every planted mistake is named."""

import pytest
import torch

from entk_tutorial.exercises import computing_entk as exercises


def call(name, answer):
    return getattr(exercises, name)(*(answer if isinstance(answer, tuple) else (answer,)))


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = call(name, exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_reductions", (3, 0.3), "mean of the diagonal"),
        ("check_reductions", (300, 0.3), "a row each"),
        ("check_reductions", (90, 0.3), "squared the scalar product"),
        ("check_reductions", (17, 0.3), "Sum over c"),
        ("check_reductions", (30, 3), "divide by 100"),
        ("check_reductions", (30, 0.03), "only one output"),
        ("check_reductions", (30, 30), "trace again"),
        ("check_reductions", (30, 7), "all pairs"),
        ("check_jacobian_gib", 3.7, "its own gradient"),
        ("check_jacobian_gib", 9.3, "four bytes"),
        ("check_jacobian_gib", 40, "10^9 bytes"),
        ("check_jacobian_gib", 74.5, "float64"),
        ("check_jacobian_gib", 0.04, "left out"),
        ("check_jacobian_gib", 1, "4 N C P"),
        ("check_twice", 18, "cross terms"),
        ("check_twice", 9, "one of four"),
        ("check_twice", 27, "two cross terms"),
        ("check_twice", 81, "product of the outputs"),
        ("check_twice", 6, "multiplies two"),
        ("check_twice", 5, "four products"),
        ("check_crossover", 256, "T squared"),
        ("check_crossover", 512, "both factors"),
        ("check_crossover", 23, "not O alone"),
        ("check_crossover", 1, "one token"),
        ("check_crossover", 16, "cost the same"),
        ("check_crossover", 15, "whole number"),
        ("check_crossover", 18, "whole number"),
        ("check_crossover", 99, "Solve"),
        ("check_distance", lambda u, v: 1.0, "from itself"),
        ("check_distance", lambda u, v: (u - v).norm(), "sign"),
        ("check_distance", lambda u, v: (u.abs() - v.abs()).norm(), "Exchanging"),
        ("check_distance", lambda u, v: 6 - (u.T @ v).abs().max(0).values.sum(), "rotation"),
        ("check_distance", lambda u, v: 0.0, "unrelated"),
        ("check_distance", lambda u, v: float((u.T @ v).norm() < 2), "one direction"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = call(name, wrong)
    assert not answer
    assert reason in answer.message


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("check_reductions", ("30", 0.3)),
        ("check_reductions", (30, "0.3")),
        ("check_jacobian_gib", "37.3"),
        ("check_twice", "36"),
        ("check_crossover", "17"),
    ],
)
def test_text_is_not_a_number(name, given):
    with pytest.raises(ValueError, match="give a number, found str"):
        call(name, given)


def test_distance_by_the_overlap_passes():
    assert exercises.check_distance(lambda u, v: (2 * u.shape[1] - 2 * (u.T @ v).square().sum()).clamp(min=0))


def test_distance_of_a_wrong_type_is_not_hidden():
    with pytest.raises(TypeError):
        exercises.check_distance(lambda u: torch.zeros(()))
