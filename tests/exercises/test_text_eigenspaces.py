"""Every solution passes its check; every planted mistake is named."""

import pytest

from entk_tutorial.exercises import text_eigenspaces as exercises


def test_every_check_has_a_solution():
    assert {name for name in vars(exercises) if name.startswith("check_")} == set(exercises.SOLUTIONS)


@pytest.mark.parametrize("name", exercises.SOLUTIONS)
def test_solution_passes(name):
    answer = getattr(exercises, name)(exercises.SOLUTIONS[name]())
    assert answer, answer


@pytest.mark.parametrize(
    ("name", "right"),
    [("check_rank", 13), ("check_pure_pairs", 16), ("check_chance", 6 / 114), ("check_matrix_kernel", -0.4)],
)
def test_answer_on_paper(name, right):
    assert getattr(exercises, name)(right)


@pytest.mark.parametrize(
    ("name", "wrong", "reason"),
    [
        ("check_rank", 500, "size of the kernel"),
        ("check_rank", 32, "width"),
        ("check_rank", 12, "left out"),
        ("check_rank", 14, "no extra"),
        ("check_rank", 169, "pairs"),
        ("check_rank", 3, "largest rank"),
        ("check_pure_pairs", 25, "all pairs"),
        ("check_pure_pairs", 24, "constant only"),
        ("check_pure_pairs", 20, "one of the two"),
        ("check_pure_pairs", 10, "ordered"),
        ("check_pure_pairs", 48, "places"),
        ("check_pure_pairs", 3, "average to 0"),
        ("check_chance", 6 / 500, "over all documents"),
        ("check_chance", 6 / 428, "beyond pairs"),
        ("check_chance", 36 / 114, "one function"),
        ("check_chance", 1 / 114, "there are six"),
        ("check_chance", 0.9, "how many dimensions"),
        ("check_matrix_kernel", 0.4, "sign"),
        ("check_matrix_kernel", 0, "before training"),
        ("check_matrix_kernel", 1, "second ones"),
        ("check_matrix_kernel", -0.8, "one term"),
        ("check_matrix_kernel", 9, "gradient"),
    ],
)
def test_mistake_is_named(name, wrong, reason):
    answer = getattr(exercises, name)(wrong)
    assert not answer
    assert reason in " ".join(str(answer).split())
