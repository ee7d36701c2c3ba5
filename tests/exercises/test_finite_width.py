"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import finite_width as exercises
from entk_tutorial.experiments.token_kernel_error import predicted_constants

C = predicted_constants("tanh").centred


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "right"),
    [("check_width", 198_000), ("check_linear_constant", 0.7454), ("check_holm", 1), ("check_cliff", (225, 57.5))],
)
def test_answer_on_paper(name, right):
    assert getattr(exercises, name)(right)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_width", C**2 * 100, "for one token"),
        ("check_width", C**2 * 50_000, "square of the error"),
        ("check_width", C * 500_000, "squared as well"),
        ("check_width", 500_000, "constant c of tanh"),
        ("check_width", C**2 * 5000, "error of 1"),
        ("check_width", 7, "Solve"),
        ("check_linear_constant", 1 / 3, "overlap of the embeddings"),
        ("check_linear_constant", 2**0.5 / 3, "enters twice"),
        ("check_linear_constant", 3**0.5 / 3, "before you square"),
        ("check_linear_constant", 5**0.5, "Divide by A"),
        ("check_linear_constant", 5 / 3, "square root"),
        ("check_linear_constant", 5**0.5 / 2, "three parts"),
        ("check_linear_constant", 7, "Put Phi"),
        ("check_holm", 3, "one by one"),
        ("check_holm", 2, "three hypotheses are left"),
        ("check_holm", 0, "below the level"),
        ("check_holm", 4, "no evidence"),
        ("check_holm", 7, "Sort"),
        ("check_cliff", (57, 15.5), "p = 29"),
        ("check_cliff", (224, 57.5), "Count again"),
        ("check_cliff", (113, 57.5), "2p - 1"),
        ("check_cliff", (225, 115), "divide"),
        ("check_cliff", (225, 3), "(p + 2) / 2"),
        ("check_cliff", (225,), "Two numbers"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message
