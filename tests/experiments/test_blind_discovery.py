"""Blind discovery on a tiny modulus: tasks, answers, mysteries; and the rule on networks of waves."""

from dataclasses import replace

import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.experiments import blind_discovery as blind
from entk_tutorial.experiments.blind_discovery import NETWORKS, TASKS, Config, mystery_order, task_of
from entk_tutorial.features.families import CANDIDATES, beyond_digits, family_labels, family_scores
from entk_tutorial.models.analytic import random_phase_mlp

TINY = Config(p=7, hidden=32, epochs=3, device="cpu")


@pytest.fixture(scope="module")
def result():
    return blind.run(TINY, seeds=[0, 1])


def test_one_answer_a_network(result):
    for rule in blind.RULES:
        answers = result.series[f"answers_{rule}"]
        assert all(len(row) == len(NETWORKS) and max(row) <= len(CANDIDATES) for row in answers)
        right = [sum(row[NETWORKS.index(t)] == CANDIDATES.index(t) for t in TASKS) / 5 for row in answers]
        assert result.metrics[f"{rule}_right"].tolist() == right
    assert set(result.chance) <= set(result.metrics)


def test_nothing_learned_nothing_named(result):
    assert bool((result.metrics["overlap_nothing_right"] == 1).all())
    assert bool((result.metrics["overlap_right"] == 0).all())  # three steps teach nothing


def test_tasks_have_the_labels_that_they_are_named_for():
    for network in TASKS:
        assert torch.equal(task_of(TINY, network, 0).labels, family_labels(7, network))
    renamed = task_of(TINY, "renamed", 0)
    assert torch.equal(renamed.targets.argmax(1), renamed.labels)
    assert all(not torch.equal(renamed.labels, family_labels(7, f)) for f in CANDIDATES)
    assert len(task_of(TINY, "memorised", 0).train) == 14


def test_mysteries_are_kept_for_one_seed_only():
    kept = blind.run_seed(TINY, blind.MYSTERY_SEED, lambda *_: None).checkpoint
    assert kept is not None and {k: v.shape for k, v in kept.items()} == {
        f"mystery-{k}": (49, 12) for k in mystery_order()
    }
    assert blind.run_seed(TINY, 1, lambda *_: None).checkpoint is None


def test_the_rule_names_the_pair_of_a_network_of_waves_and_cannot_tell_its_members():
    x = modular_task(11, 0.5, 0).inputs.double()
    scores = {}
    for operation in ("sum", "diff"):
        kernel = empirical_ntk(random_phase_mlp(11, 2000, 0, operation=operation), x)
        scores[operation] = family_scores(beyond_digits(kernel, 11, 20), 11)
    for found in scores.values():
        assert set(sorted(found, key=lambda f: -found[f])[:2]) == {"n+m", "n-m"}
    assert scores["sum"] == pytest.approx(scores["diff"], abs=1e-9)


def test_spreads():
    basis = torch.linalg.qr(torch.randn(49, 49, generator=torch.Generator().manual_seed(0)).double())[0]
    u = torch.cat([blind.family_basis(7, "n+m"), blind.family_basis(7, "n-m")], 1)
    assert blind.place_spread(u, 7, "n+m") == pytest.approx((35 / 12) ** 0.5)  # places 0 to 5
    assert blind.eigenvalue_spread(torch.eye(49).double(), 7, "n+m") == pytest.approx(0, abs=1e-9)
    assert blind.eigenvalue_spread(basis @ torch.diag(torch.arange(49.0).double()) @ basis.T, 7, "n+m") > 0.1


@pytest.mark.parametrize(
    "change", [{"p": 15}, {"p": 5}, {"threshold": 0.0}, {"concentration_threshold": 1.0}, {"lr": -1.0}], ids=str
)
def test_settings_that_cannot_be_run(change):
    with pytest.raises(ValueError):
        replace(TINY, **change)
