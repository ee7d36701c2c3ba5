"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import tangent_kernel as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_kernel_by_hand", 4, "share of a alone"),
        ("check_kernel_by_hand", 32, "share of b alone"),
        ("check_kernel_by_hand", 16, "product of the outputs"),
        ("check_kernel_by_hand", 12, "left out the factor a"),
        ("check_kernel_by_hand", 99, "multiply pairwise"),
        ("check_critical_rate", 2 / 3, "summed loss"),
        ("check_critical_rate", 1 / 3, "reaches -1"),
        ("check_critical_rate", 4, "smallest eigenvalue"),
        ("check_critical_rate", 1, "diagonal"),
        ("check_critical_rate", 17, "largest eigenvalue"),
        ("check_steps", 7, "frequency 1"),
        ("check_steps", 87, "left out the half"),
        ("check_steps", 27, "half is gone"),
        ("check_steps", 89, "left out the half"),
        ("check_steps", 88, "ten per cent"),
        ("check_steps", 500, "Solve"),
        ("check_floor", 0, "odd for every choice"),
        ("check_floor", 3, "constant 1 is even"),
        ("check_floor", 6, "cos 2t is even"),
        ("check_floor", 18, "one half of the loss"),
        ("check_floor", 0.75, "a sum"),
        ("check_floor", 12, "mean one half"),
        ("check_floor", 9.75, "3 is odd"),
        ("check_floor", 5, "even part"),
        ("check_scaling", -1, "s = 1/2"),
        ("check_scaling", 0, "s = 1,"),
        ("check_scaling", -0.75, "O3"),
        ("check_scaling", 0.5, "sign"),
        ("check_scaling", 3, "divide by K"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in answer.message


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
@pytest.mark.parametrize("given", ["36", None, True])
def test_not_a_number_is_said_to_be_none(name, given):
    with pytest.raises(ValueError, match=f"give a number, found {type(given).__name__}"):
        getattr(exercises, name)(given)
