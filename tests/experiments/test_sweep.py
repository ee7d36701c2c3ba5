"""Sweeps on a cluster: the same numbers and files as one process makes, resumable, and never those of other code."""

import json

import numpy as np
import pytest

from entk_tutorial.distributed import BackendError, connect
from entk_tutorial.experiments import job
from entk_tutorial.experiments.overrides import sweep_configs
from entk_tutorial.experiments.sweep import _one, run_sweep
from tests.experiments import toy as toy_module
from tests.experiments.toy import Config


@pytest.fixture(scope="module")
def client():
    with connect(2) as client:
        yield client


def test_a_sweep_gives_what_one_process_gives(toy, client):
    alone = toy.run(range(4), results_dir=None)
    found = run_sweep(toy.experiment, {"": Config()}, range(4), client=client, results_dir=toy.folder)[""]
    assert found.seeds == alone.seeds
    np.testing.assert_array_equal(found.metrics["score"], alone.metrics["score"])
    np.testing.assert_array_equal(found.arrays["kernel"], alone.arrays["kernel"])  # the first seed's
    assert found.verdicts == alone.verdicts
    assert json.loads(toy.final.read_text())["seeds"] == [0, 1, 2, 3]
    assert not toy.calls[4:], "the seeds were run by the workers"


def test_settings_have_folders_of_their_own_and_finished_seeds_are_kept(toy, client):
    configs = sweep_configs(Config(), ["scale=1;2", "rates=0.5,1;2"])
    found = run_sweep(toy.experiment, configs, [0, 1], client=client, results_dir=toy.folder)
    assert sorted(p.name for p in toy.folder.iterdir()) == sorted(configs)
    assert found["scale=2,rates=2"].mean("score") == pytest.approx(2 * found["scale=1,rates=2"].mean("score"))
    again = run_sweep(toy.experiment, configs, [0, 1, 2], client=client, results_dir=toy.folder)
    assert again["scale=1,rates=2"].seeds == [0, 1, 2]


def test_a_seed_that_fails_keeps_the_others(toy, client, monkeypatch):
    def broken(self, seed, record, seconds):
        if seed == 2:
            raise ValueError("seed 2 is broken")
        take(self, seed, record, seconds)

    take = job.Job.take
    monkeypatch.setattr(job.Job, "take", broken)
    with pytest.raises(ValueError, match="seed 2 is broken") as caught:
        run_sweep(toy.experiment, {"": Config()}, range(3), client=client, results_dir=toy.folder)
    assert "of 3 seeds of toy are kept" in " ".join(caught.value.__notes__)


def test_other_code_on_a_worker_is_refused():
    with pytest.raises(BackendError, match="other code"):
        _one(toy_module.run_seed, Config(), 0, "0" * 64, True)


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({}, "no configs"),
        ({"a/b": Config(), "c": Config()}, "'a/b' cannot name a folder"),
        ({"": Config(), "c": Config()}, "''"),
    ],
)
def test_labels_that_are_no_folders(toy, configs, message):
    with pytest.raises(ValueError, match=message):
        run_sweep(toy.experiment, configs, [0], client=None, results_dir=toy.folder)


@pytest.mark.parametrize("items", [["scale"], ["scale=1;1"], ["scale=1;"], ["rates=1,2;1-2"]])
def test_sweeps_that_cannot_be_read(items):
    with pytest.raises(ValueError, match=r"scale|rates"):
        sweep_configs(Config(), items)
