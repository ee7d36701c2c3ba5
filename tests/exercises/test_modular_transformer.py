"""The exercises of the chapter on the Transformer: right answers pass, planted mistakes are named."""

import pytest
import torch

from entk_tutorial.exercises import modular_transformer as ex
from entk_tutorial.features.key_frequencies import embedding_power, key_frequencies


@pytest.mark.parametrize("name", sorted(ex.SOLUTIONS))
def test_solution_passes(name):
    answer = getattr(ex, name)(*ex.SOLUTIONS[name]())
    assert answer, answer.message


def test_every_check_has_a_solution():
    checks = {n for n in dir(ex) if n.startswith("check_") and getattr(ex, n).__module__ == ex.__name__}
    assert checks == set(ex.SOLUTIONS)


def spectrum(table, p):
    return torch.fft.rfft(table[:p].double(), dim=0).abs().square().sum(1)


WRONG = [
    ("check_windows", ((0, 5), (5, 9)), "published slices"),
    ("check_windows", ((0, 8), (8, 16)), "constant mode"),
    ("check_windows", ((0, 5), (5, 10)), "Count the modes"),
    ("check_windows", ((1, 9), (9, 17)), "starts at 0"),
    ("check_relabelled", (1.0,), "as the MLP's does"),
    ("check_relabelled", (0.0,), "still a function of n"),
    ("check_relabelled", (7 / 841,), "anywhere in R"),
    ("check_relabelled", (3 / 28,), "a cosine and a sine"),
    ("check_relabelled", (6 / 29,), "p - 1 dimensions"),
    ("check_relabelled", (0.5,), "how many does the window hold"),
    ("check_reduction_ratio", (30,), "how many are not zero"),
    ("check_reduction_ratio", (1,), "a sum beside a mean"),
    ("check_reduction_ratio", (29 * 29,), "count it"),
    ("check_reduction_ratio", (7,), "moves logit c only"),
    ("check_ceiling", (1.0,), "cannot hold six"),
    ("check_ceiling", (4 / 6,), "constant among the five"),
    ("check_ceiling", (0.1,), "smaller of the two"),
    ("check_finder", (lambda e, p: [1, 12],), "read them off"),
    ("check_finder", (lambda e, p: spectrum(e, p)[1:].topk(3).indices.tolist(),), "one too low"),
    ("check_finder", (lambda e, p: spectrum(e, p).topk(3).indices.tolist(),), "Frequency 0"),
    ("check_finder", (lambda e, p: (spectrum(e, p)[1:].topk(3).indices + 1).tolist(),), "too low"),
    ("check_finder", (lambda e, p: [k + 1 for k, v in enumerate(embedding_power(e, p)) if v > 1 / 14],), "pure noise"),
    ("check_finder", (lambda e, p: [k + 1 for k, v in enumerate(embedding_power(e, p)) if v > 0.2],), "too high"),
    ("check_finder", (lambda e, p: key_frequencies(e[:5], p),), "stops with ValueError"),
]


@pytest.mark.parametrize(("name", "wrong", "phrase"), WRONG)
def test_mistake_is_named(name, wrong, phrase):
    answer = getattr(ex, name)(*wrong)
    assert not answer
    assert phrase in answer.message
