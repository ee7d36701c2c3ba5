"""The exercises of the chapter on lazy and rich training: right answers pass, planted mistakes are named."""

import pytest

from entk_tutorial.exercises import lazy_to_rich as ex


@pytest.mark.parametrize("name", sorted(ex.SOLUTIONS))
def test_solution_passes(name):
    answer = getattr(ex, name)(ex.SOLUTIONS[name]())
    assert answer, answer.message


def test_every_check_has_a_solution():
    checks = {n for n in dir(ex) if n.startswith("check_") and getattr(ex, n).__module__ == ex.__name__}
    assert checks == set(ex.SOLUTIONS)


WRONG = [
    ("check_distance_exponent", -1, "quadratic in the angle"),
    ("check_distance_exponent", 2, "exponent is negative"),
    ("check_distance_exponent", -0.5, "Begin with the weights"),
    ("check_held_out_margin", 0.09, "sign must differ"),
    ("check_held_out_margin", -0.03, "sums that cancel"),
    ("check_held_out_margin", -0.01, "wrong share"),
    ("check_held_out_margin", 0.0, "training pairs included"),
    ("check_held_out_margin", 0.5, "split it in two"),
    ("check_adam_first_step", 1.0, "does not notice a factor"),
    ("check_adam_first_step", 1e4, "one alpha from the gradient"),
    ("check_adam_first_step", 0.01, "other way round"),
    ("check_adam_first_step", 7.0, "First the step of the weights"),
]


@pytest.mark.parametrize(("name", "wrong", "phrase"), WRONG)
def test_mistake_is_named(name, wrong, phrase):
    answer = getattr(ex, name)(wrong)
    assert not answer
    assert phrase in answer.message
