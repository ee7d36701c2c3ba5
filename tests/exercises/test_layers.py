"""The exercises of the chapter on layers: right answers pass, planted mistakes are named."""

import pytest
import torch

from entk_tutorial.exercises import layers as ex
from entk_tutorial.features.ablation import line_families, line_residues, without_functions


@pytest.mark.parametrize("name", sorted(ex.SOLUTIONS))
def test_solution_passes(name):
    answer = getattr(ex, name)(ex.SOLUTIONS[name]())
    assert answer, answer.message


def test_every_check_has_a_solution():
    checks = {n for n in dir(ex) if n.startswith("check_") and getattr(ex, n).__module__ == ex.__name__}
    assert checks == set(ex.SOLUTIONS)


RESIDUE = line_residues(13)["sum"]


def _means(table):
    return torch.stack([table[RESIDUE == s].mean(0) for s in range(13)])[RESIDUE]


WRONG = [
    ("check_memory", 1 / 29, "if all right logits of one sum were equal"),
    ("check_memory", 1.0, "turns negative"),
    ("check_memory", 0.0, "lie above the mean"),
    ("check_memory", 0.2, "exchanged"),
    ("check_memory", 0.5, "which pairs stay positive"),
    ("check_symmetric", 1.0, "without the symmetry"),
    ("check_symmetric", 0.5, "Upside down"),
    ("check_symmetric", 3.0, "Project on symmetric functions"),
    ("check_mean_logit", 30, "That is the trace"),
    ("check_mean_logit", 1, "mean over logits"),
    ("check_mean_logit", 1 / 900, "how many pairs"),
    ("check_mean_logit", 7, "average its"),
    ("check_equal_energy", 757, "centred dimensions"),
    ("check_equal_energy", 28, "equal dimension"),
    ("check_equal_energy", 84, "left over"),
    ("check_equal_energy", 400, "the same share"),
    ("check_removal", lambda t: t - _means(t), "add it back"),
    ("check_removal", _means, "Subtract it"),
    ("check_removal", lambda t: without_functions(t, line_families(13)["diff"]), "n - m"),
    ("check_removal", lambda t: t, "share of 1.00"),
    ("check_removal", lambda t: 0 * t, "something else with it"),
    ("check_removal", lambda t: t[:5], "should come back"),
    ("check_removal", lambda t: 3, "should come back"),
]


@pytest.mark.parametrize(("name", "wrong", "phrase"), WRONG)
def test_mistake_is_named(name, wrong, phrase):
    answer = getattr(ex, name)(wrong)
    assert not answer
    assert phrase in answer.message
