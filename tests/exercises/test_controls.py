"""Exercises of the chapter on controls: right answers pass, mistakes are named, mysteries stay mysteries."""

import pytest
import torch

from entk_tutorial.exercises import controls as ex
from entk_tutorial.experiments.blind_discovery import MYSTERY_SEED, Config, mystery_order, task_of
from entk_tutorial.features.families import CANDIDATES, NONE, PARTNERS, family_labels, family_scores, name_family
from entk_tutorial.models.analytic import analytic_mlp, random_phase_mlp
from entk_tutorial.models.modular import QuadraticMLP


@pytest.mark.parametrize("name", sorted(ex.SOLUTIONS))
def test_solution_passes(name):
    answer = getattr(ex, name)(*ex.SOLUTIONS[name]())
    assert answer, answer.message


def test_every_check_has_a_solution():
    checks = {n for n in dir(ex) if n.startswith("check_") and getattr(ex, n).__module__ == ex.__name__}
    assert checks == set(ex.SOLUTIONS)


def constant_answer():
    model = QuadraticMLP(7, 20, seed=0)
    with torch.no_grad():
        model.fc2.weight[0] += 100
    return model


def turned(model):
    """The same network, answering one more: not a network of waves."""
    other = QuadraticMLP(model.p, model.hidden, seed=0).double()
    with torch.no_grad():
        other.fc1.weight.copy_(model.fc1.weight)
        other.fc2.weight.copy_(model.fc2.weight.roll(1, 0))
    return other


PRODUCT = next(k for k, v in mystery_order().items() if v == "n*m")
"""The mystery whose network multiplies."""
WRONG = [
    ("check_limit", (8 / 3,), "square of the ratio"),
    ("check_limit", (2**0.5,), "second layer's share"),
    ("check_limit", (1.5757,), "p = 29"),
    ("check_limit", (1.0,), "let p grow"),
    ("check_limit", (1.63,), "four digits"),
    ("check_output_chance", (0.97,), "four digits"),
    ("check_lattices", ([3, 4, 5, 6, 7, 8],), "4 is not exact"),
    ("check_lattices", ([5, 6, 7, 8],), "3 is exact, too"),
    ("check_output_chance", (29 * 28 / 841,), "one dimension less"),
    ("check_output_chance", (29 / 28,), "functions of digits as well"),
    ("check_output_chance", (2.0,), "p rows"),
    ("check_output_chance", (28.0,), "three numbers"),
    ("check_same_kernel", (analytic_mlp(7), analytic_mlp(5)), "different inputs"),
    ("check_same_kernel", (analytic_mlp(7), analytic_mlp(7)), "same answer on 100 %"),
    ("check_same_kernel", (analytic_mlp(7), constant_answer()), "too easy"),
    ("check_same_kernel", (random_phase_mlp(7, 60, 0), random_phase_mlp(7, 60, 1, operation="diff")), "differ by"),
    ("check_mystery", (PRODUCT, PARTNERS["n*m"]), "two families at once"),  # a partner is told from a stranger
    ("check_mystery", (PRODUCT, "n^2+m^2"), "shares a symmetry"),
    ("check_mystery", (PRODUCT, "n+m"), "Not this one"),
    ("check_mystery", (PRODUCT, NONE), "There is a family"),
]


@pytest.mark.parametrize(("name", "wrong", "phrase"), WRONG)
def test_mistake_is_named(name, wrong, phrase):
    answer = getattr(ex, name)(*wrong)
    assert not answer
    assert phrase in answer.message


def test_other_right_answers_pass():
    model = analytic_mlp(7)
    assert ex.check_same_kernel(model, turned(model))


def test_a_check_leaves_the_networks_as_they_were():
    one, two = QuadraticMLP(5, 8, seed=0), QuadraticMLP(5, 8, seed=1)
    ex.check_same_kernel(one, two)
    assert {p.dtype for m in (one, two) for p in m.parameters()} == {torch.float32}


def test_something_else_than_a_network():
    with pytest.raises(ValueError, match="two QuadraticMLP"):
        ex.check_same_kernel(torch.nn.Linear(2, 2), analytic_mlp(5))


def truth(k):
    return mystery_order()[k] if mystery_order()[k] in CANDIDATES else NONE


@pytest.mark.parametrize("k", sorted(mystery_order()))
def test_a_mystery_has_one_right_answer_and_the_rule_finds_it(k):
    right = {a for a in (*CANDIDATES, NONE) if ex.check_mystery(k, a)}
    assert right == {truth(k)}
    assert name_family(family_scores(ex.load_mystery(k), 29)).name == truth(k)


@pytest.mark.parametrize("k", sorted(mystery_order()))
def test_messages_do_not_give_the_answer_away(k):
    for wrong in {*CANDIDATES, NONE} - {truth(k)}:
        message = ex.check_mystery(k, wrong).message
        assert truth(k) == NONE or truth(k) not in message.replace(wrong, "")


def test_labels_of_ones_own():
    k = PRODUCT
    names = torch.randperm(29, generator=torch.Generator().manual_seed(0))
    assert ex.check_mystery(k, names[family_labels(29, "n*m")].reshape(29, 29))  # other names, same label
    assert "its partner has more" in ex.check_mystery(k, family_labels(29, "n/m")).message
    assert not ex.check_mystery(k, family_labels(29, "n+m"))
    k = next(k for k, v in mystery_order().items() if v == "renamed")
    assert "on no list" in ex.check_mystery(k, task_of(Config(), "renamed", MYSTERY_SEED).labels).message
    assert not ex.check_mystery(k, family_labels(29, "n+m"))


@pytest.mark.parametrize(
    ("call", "phrase"),
    [
        (lambda: ex.load_mystery(0), "from 1 to 6"),
        (lambda: ex.check_mystery(9, "n+m"), "from 1 to 6"),
        (lambda: ex.check_mystery(1, "n^3"), "not on the list"),
        (lambda: ex.check_mystery(1, torch.zeros(3)), "one integer for each"),
        (lambda: ex.check_mystery(1, [0, 1]), "a name, or labels as a tensor"),
        (lambda: ex.check_lattices(3), "a list of sizes"),
    ],
)
def test_misuse_is_named(call, phrase):
    with pytest.raises(ValueError, match=phrase):
        call()
