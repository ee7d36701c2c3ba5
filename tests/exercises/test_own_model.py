"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import own_model as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "right"), [("check_scale", 8), ("check_chance", 112 / 191), ("check_endless", 0.54), ("check_head", 8)]
)
def test_answer_on_paper(name, right):
    assert getattr(exercises, name)(right)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_scale", 1, "variance 1/A"),
        ("check_scale", 48, "cancels"),
        ("check_scale", 0.125, "other way"),
        ("check_scale", 384, "summed over"),
        ("check_scale", 64, "enters once"),
        ("check_scale", 9, "variance of an entry"),
        ("check_chance", 16 / 191, "divided by seven"),
        ("check_chance", 112 / 192, "constant"),
        ("check_chance", 128 / 191, "seven dimensions"),
        ("check_chance", 16 / 7, "how many inputs"),
        ("check_chance", 9, "excluded=1"),
        ("check_endless", 0.18, "three quarters"),
        ("check_endless", 0.135, "next doubling"),
        ("check_endless", 0.72, "behind you: start"),
        ("check_endless", 0.42, "steps are behind"),
        ("check_endless", 9, "r / (1 - r)"),
        ("check_head", 6, "bias has"),
        ("check_head", 4, "sums over both"),
        ("check_head", 3, "bias is missing"),
        ("check_head", 10, "once an output"),
        ("check_head", 9, "gradient h"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in " ".join(str(answer).split())
