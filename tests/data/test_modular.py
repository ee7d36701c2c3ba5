"""The task: labels, one-hot inputs, splits."""

import pytest
import torch

from entk_tutorial.data import modular_task


@pytest.mark.parametrize("p", [3, 5, 7, 29])
def test_every_row_is_what_it_says(p):
    task = modular_task(p, 0.5, seed=0)
    n, m = torch.arange(p * p) // p, torch.arange(p * p) % p
    assert torch.equal(task.pairs, torch.stack([n, m], 1))
    assert torch.equal(task.labels, (n + m) % p)
    assert task.inputs.dtype == task.targets.dtype == torch.float32
    rows = torch.arange(p * p)
    assert bool(
        (task.inputs[rows, n] == 1).all() and (task.inputs[rows, p + m] == 1).all() and task.inputs.sum() == 2 * p * p
    )
    assert bool((task.targets[rows, task.labels] == 1).all() and task.targets.sum() == p * p)


@pytest.mark.parametrize("fraction, expected", [(0.7, 588), (0.3, 252), (0.5, 420), (1 / 841, 1), (840 / 841, 840)])
def test_the_split_is_a_partition_of_the_stated_size(fraction, expected):
    task = modular_task(29, fraction, seed=1)
    assert len(task.train) == expected
    assert torch.equal(torch.cat([task.train, task.held_out]).sort().values, torch.arange(841))


def test_a_fraction_of_k_over_p_squared_is_k_pairs_in_any_rounding():
    for p in (3, 5, 7, 11):
        assert [len(modular_task(p, k / p**2, 0).train) for k in range(1, p * p)] == list(range(1, p * p))


def test_seeds_fix_the_split_and_leave_the_global_state():
    before = torch.get_rng_state()
    a, b, c = (modular_task(7, 0.5, seed=s, labels="random") for s in (3, 3, 4))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a.train, b.train) and torch.equal(a.labels, b.labels)
    assert not torch.equal(a.train, c.train) and not torch.equal(a.labels, c.labels)


def test_random_labels_keep_the_split_and_cover_the_classes():
    task, plain = modular_task(29, 0.7, 0, labels="random"), modular_task(29, 0.7, 0)
    assert torch.equal(task.train, plain.train)
    assert task.labels.unique().tolist() == list(range(29))
    agree = float((task.labels == plain.labels).double().mean())
    assert abs(agree - 1 / 29) < 5 * (1 / 29 / 841) ** 0.5


@pytest.mark.parametrize(
    "p, message",
    [
        (2, "at least 3"),
        (1, "at least 3"),
        (0, "at least 3"),
        (-7, "at least 3"),
        (4, "even"),
        (30, "even"),
        (7.0, "float"),
    ],
)
def test_moduli_without_the_families(p, message):
    with pytest.raises(ValueError, match=message):
        modular_task(p, 0.5, 0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.1, 0.01, float("nan"), float("inf"), 1 - 1e-12])
def test_fractions_that_leave_one_side_empty(fraction):
    with pytest.raises(ValueError, match="train_fraction="):
        modular_task(5, fraction, 0)


def test_unknown_labels():
    with pytest.raises(ValueError, match="'product' is unknown; expected 'sum' or 'random'"):
        modular_task(5, 0.5, 0, labels="product")
