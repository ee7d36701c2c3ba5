"""Every solution passes its check; every planted mistake is named."""

from __future__ import annotations

import pytest

from entk_tutorial.exercises import scaling_up as exercises


def test_every_check_has_a_solution() -> None:
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name: str) -> None:
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("check_places", (393, 785)),
        ("check_largest", 211),
        ("check_waves", 26.25),
        ("check_epsilon", 0.138),
    ],
)
def test_answer_on_paper(name: str, right: object) -> None:
    assert getattr(exercises, name)(right)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_places", (392, 784), "constant mode"),
        ("check_places", (394, 788), "p - 1 functions"),
        ("check_places", (197, 393), "two families"),
        ("check_places", (393, 589), "sum and difference"),
        ("check_places", (1, 2), "windows of"),
        ("check_largest", 44721, "That is N"),
        ("check_largest", 177, "4 bytes a number, not 8"),
        ("check_largest", 299, "takes 4 bytes"),
        ("check_largest", 212, "round down"),
        ("check_largest", 251, "both halves"),
        ("check_largest", 5, "solve"),
        ("check_waves", 25.25, "add 1"),
        ("check_waves", 51.5, "half a wave"),
        ("check_waves", 2, "other ratio"),
        ("check_waves", 26, "Nearly"),
        ("check_waves", 7, "divide"),
        ("check_epsilon", 1, "without its epsilon"),
        ("check_epsilon", 0.16, "added to"),
        ("check_epsilon", 0.862, "Turn it round"),
        ("check_epsilon", 0.9476, "after the loss"),
        ("check_epsilon", 7, "first step"),
    ],
)
def test_mistake_is_named(name: str, wrong: object, reason: str) -> None:
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in " ".join(str(answer).split())


def test_an_answer_that_is_no_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="two numbers"):
        exercises.check_places(393)  # type: ignore[arg-type]
