import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from entk_tutorial.experiments import base, job, storage
from entk_tutorial.experiments.base import Result, SeedRecord
from entk_tutorial.results import load_stored_checkpoint
from entk_tutorial.training import CheckpointError
from tests.experiments.toy import Config

ROOT = Path(__file__).resolve().parents[2]


def test_result_in_memory_stacks_the_seeds(toy):
    result = toy.run([2, 5], results_dir=None)
    np.testing.assert_allclose(result.metrics["score"], [10 + 2 / 3, 10 + 5 / 3], rtol=1e-9)
    np.testing.assert_allclose(result.controls["untrained"]["score"], [0.2, 0.5])
    assert result.series["epoch"] == [[0, 1, 2], [0, 1, 2]]
    assert result.arrays["kernel"].shape == (3, 3)
    assert result.chance == {"score": 0.3333333333}
    assert not toy.folder.exists()


def test_mean_and_spread_are_those_of_a_sample(toy):
    result = toy.run([0, 3], results_dir=None)
    assert result.mean("score") == pytest.approx(10.5)
    assert result.spread("score") == pytest.approx(math.sqrt(0.5))  # (1/4 + 1/4) / (2 - 1)
    assert result.mean("score", "untrained") == pytest.approx(0.15)
    assert math.isnan(toy.run([0], results_dir=None).spread("score"))


@pytest.mark.parametrize(
    ("name", "control", "message"),
    [
        ("scor", None, "has no metric 'scor'; it has .*'score'"),
        ("score", "trained", "has no control 'trained'; it has"),
    ],
)
def test_unknown_metric_or_control_lists_those_there_are(toy, name, control, message):
    with pytest.raises(ValueError, match=message):
        toy.run([0], results_dir=None).mean(name, control)


@pytest.mark.parametrize(
    ("seeds", "message"),
    [
        ([], "no seeds given"),
        ([1, -2], r"integers >= 0; got \[-2\]"),
        ([0, 1, 0], r"seeds \[0\] are given more than once"),
        ([True], "integers >= 0"),
        ([1.0], "integers >= 0"),
    ],
)
def test_wrong_seeds_are_refused_before_anything_runs(toy, seeds, message):
    with pytest.raises(ValueError, match=message):
        toy.run(seeds)
    assert toy.calls == [] and not toy.folder.exists()


def test_config_of_another_experiment_is_refused(toy):
    with pytest.raises(ValueError, match="toy takes a Config, got dict"):
        toy.run([0], {"n": 3})


def test_stored_and_returned_results_are_the_same(toy):
    result, stored = toy.run(), Result.load(toy.final)
    assert stored.to_json() == result.to_json() == toy.final.read_text()
    assert stored.arrays == {}
    assert not toy.partial.exists()


def test_provenance_and_hashes_are_stored(toy):
    stored = json.loads((toy.run() and toy.final).read_text())
    assert set(stored["provenance"]) == {"commit", "versions", "hardware", "threads", "device", "seconds", "date"}
    assert stored["provenance"]["versions"]["numpy"] == np.__version__
    assert set(stored["hashes"]["criteria"]) == {"X.1"} and stored["verdicts"] == {"X.1": "reproduced"}


def test_config_other_than_the_default_gets_no_verdict(toy):
    assert toy.run([0], Config(n=2)).verdicts == {}


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), RuntimeError("boom")])
def test_interrupted_run_resumes_where_it_stopped(toy, stop):
    toy.interrupts[2] = stop
    with pytest.raises(type(stop)) as caught:
        toy.run()
    assert "2 of 3 seeds of toy are kept" in caught.value.__notes__[0]
    assert sorted(p.name for p in toy.partial.iterdir()) == ["seed-0.json", "seed-1.json"]
    resumed = toy.run()
    assert toy.calls == [0, 1, 2, 2]
    whole = toy.run(results_dir=None)
    for name in whole.metrics:
        assert resumed.metrics[name].tolist() == whole.metrics[name].tolist()
    assert resumed.series == whole.series


def test_interrupt_in_memory_says_that_seeds_are_lost(toy):
    toy.interrupts[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt) as caught:
        toy.run(results_dir=None)
    assert "1 of 3 seeds of toy were finished; without a results folder they are lost" in caught.value.__notes__[0]


def test_killed_process_loses_no_finished_seed(toy):
    code = (
        "import sys; from tests.experiments.toy import EXPERIMENT, Config;"
        "from entk_tutorial.experiments.base import run_experiment;"
        "run_experiment(EXPERIMENT, Config(n=2), range(4), results_dir=sys.argv[1])"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOY_KILLED_IN_SEED": "2"}
    command = [sys.executable, "-c", code, str(toy.folder)]
    assert subprocess.run(command, env=environment, cwd=ROOT, check=False).returncode == -9
    assert sorted(p.name for p in toy.partial.iterdir()) == ["seed-0.json", "seed-1.json"]
    assert toy.run(range(4), Config(n=2)).seeds == [0, 1, 2, 3]
    assert toy.calls == [2, 3]


def test_finished_run_computes_nothing_again(toy):
    first = toy.run()
    again = toy.run([2, 0])
    assert toy.calls == [0, 1, 2]
    assert again.seeds == [2, 0] and again.metrics["score"].tolist() == first.metrics["score"][[2, 0]].tolist()


def test_more_seeds_are_added_and_none_is_lost(toy):
    toy.run([0, 1])
    assert toy.run([3]).seeds == [3]
    assert Result.load(toy.final).seeds == [0, 1, 3]
    assert toy.calls == [0, 1, 3]


def test_fresh_computes_everything_again(toy):
    toy.run([0, 1])
    toy.run([1], fresh=True)
    assert toy.calls == [0, 1, 1]
    assert Result.load(toy.final).seeds == [1]


def test_truncated_seed_is_named_and_run_again(toy):
    toy.interrupts[2] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        toy.run()
    path = toy.partial / "seed-1.json"
    path.write_text(path.read_text()[:50])
    with pytest.warns(UserWarning, match=r"seed-1\.json is not a whole seed .* run again"):
        toy.run()
    assert toy.calls == [0, 1, 2, 1, 2]


def test_seed_of_another_config_is_not_used_and_not_lost(toy):
    toy.interrupts[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        toy.run()  # keeps seed 0 of the default config
    with pytest.warns(UserWarning, match=r"seed-0\.json is from another config and other criteria: it is not used"):
        assert toy.run([0], Config(scale=2.0)).metrics["score"][0] == 20.0
    with pytest.warns(UserWarning, match=r"toy\.json is from another config"):
        toy.run()
    assert toy.calls == [0, 1, 0, 1, 2]  # seed 0 of the default config came back from where it was set aside


def test_result_of_another_config_is_set_aside(toy):
    toy.run()
    with pytest.warns(UserWarning, match="It will be set aside, not overwritten"):
        toy.run([0], Config(n=2))
    aside = [p for p in toy.folder.glob("toy.*.json")]
    assert len(aside) == 1 and Result.load(aside[0]).seeds == [0, 1, 2]
    with pytest.warns(UserWarning, match="another config"):
        toy.run()
    assert toy.calls == [0, 1, 2, 0]


def test_seed_of_other_code_is_run_again(toy, monkeypatch):
    toy.run([0])
    monkeypatch.setattr(job, "code_hash", lambda function: "0" * 64)
    with pytest.warns(UserWarning, match="is from other code"):
        toy.run([0])
    assert toy.calls == [0, 0]


def test_seed_that_ran_under_other_criteria_is_run_again(toy):
    toy.run([0])
    toy.claim(toy.claims_file.read_text().replace("value = 10", "value = 9"))
    with pytest.warns(UserWarning, match="is from other criteria"):
        toy.run([0])
    assert toy.calls == [0, 0]


def test_corrupt_final_result_stops_the_run(toy):
    toy.run([0])
    toy.final.write_text(toy.final.read_text()[:-40])
    with pytest.raises(ValueError, match=r"toy\.json is not a whole JSON file .* Restore the file"):
        toy.run([0])
    assert toy.calls == [0]
    assert toy.run([0], fresh=True).seeds == [0]


def test_folder_that_cannot_be_written_stops_before_computing(toy, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"cannot be written to .*: nothing was computed"):
        toy.run([0], results_dir=tmp_path / "file" / "results")
    assert toy.calls == []


def test_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    path.write_text("old")
    monkeypatch.setattr(storage.os, "replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        storage.write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (SeedRecord({"score": math.nan}), "toy, seed 0: metric 'score' is nan, which is no result"),
        (SeedRecord({"score": True}), "a bool: make it a number"),
        (SeedRecord({"score": 1.0}, {"untrained": {"score": math.inf}}), "control 'untrained', metric 'score' is inf"),
        (SeedRecord({"score": 1.0}, series={"curve": [[1.0, math.nan]]}), "series 'curve' is nan"),
        (SeedRecord({"score": 1.0}, series={"curve": np.ones(2)}), r"series 'curve' holds ndarray: .*\.tolist"),
        ({"score": 1.0}, "should return a SeedRecord, got dict"),
    ],
)
def test_record_that_cannot_be_stored_is_refused(toy, record, message):
    experiment = replace(toy.experiment, run_seed=lambda config, seed, progress: record)
    with pytest.raises(ValueError, match=message):
        base.run_experiment(experiment, None, [0])


def test_seeds_that_measure_different_things_are_refused(toy):
    def run_seed(config, seed, progress):
        return SeedRecord({"score": 1.0} if seed == 0 else {"scores": 1.0})

    experiment = replace(toy.experiment, run_seed=run_seed)
    with pytest.raises(ValueError, match=r"seed 1: its entries differ from another seed's: \['score', 'scores'\]"):
        base.run_experiment(experiment, None, [0, 1])


def test_progress_is_silent_unless_asked_for(toy, capsys):
    toy.run([0], results_dir=None)
    assert capsys.readouterr() == ("", "")
    toy.run([0, 1], results_dir=None, progress=True)
    out, err = capsys.readouterr()
    assert out == "" and "toy" in err and "100%" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a-b"}, "named like its module"),
        ({"config_type": int}, "config_type must be a dataclass"),
        ({"quick": 3}, "quick must be a Config, got int"),
        ({"tolerances": {"score": 1.0}}, "default under"),
        ({"tolerances": {"*": -1.0}}, "tolerances must be >= 0"),
    ],
)
def test_registration_that_could_not_work_is_refused(toy, change, message):
    with pytest.raises(ValueError, match=message):
        replace(toy.experiment, **change)


def test_tolerance_takes_the_most_specific_entry(toy):
    tolerance = toy.experiment.tolerance
    assert tolerance("score") == 1e-9
    assert tolerance("error") == tolerance("error", "shuffled") == 0.1
    assert tolerance("score", "untrained") == 0.01


def test_stored_config_is_restored_with_its_tuples(toy):
    config = Config(rates=(1.0, 2.0), mode="x")
    assert toy.experiment.restore(toy.run([0], config).config) == config
    with pytest.raises(ValueError, match="does not know the settings"):
        toy.experiment.restore({"m": 3})


# ---------------------------------------------------------------- weights that a seed keeps


@pytest.fixture
def weighty(toy, monkeypatch):
    """The toy experiment, each seed of which keeps a weight that is its number."""
    plain = toy.experiment.run_seed

    def run_seed(config, seed, progress):
        return replace(plain(config, seed, progress), checkpoint={"w": torch.full((3,), float(seed))})

    run_seed.__module__ = plain.__module__
    changed = replace(toy.experiment, run_seed=run_seed)
    monkeypatch.setattr("tests.experiments.toy.EXPERIMENT", changed)
    return toy


def test_weights_are_stored_beside_the_result_and_read_back(weighty):
    result = weighty.run()
    assert set(result.checkpoints) == {"0", "1", "2"} and len(set(result.checkpoints.values())) == 3
    assert load_stored_checkpoint("toy", 2, weighty.folder)["w"].tolist() == [2.0, 2.0, 2.0]
    assert not weighty.partial.exists()
    with pytest.raises(ValueError, match="kept no weights of seed 7; it has those of seeds: 0, 1, 2"):
        load_stored_checkpoint("toy", 7, weighty.folder)


def test_weights_survive_an_interrupt(weighty):
    weighty.interrupts[1] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        weighty.run()
    assert (weighty.partial / "seed-0.safetensors").exists()
    weighty.run()
    assert weighty.calls == [0, 1, 1, 2]
    assert load_stored_checkpoint("toy", 0, weighty.folder)["w"].tolist() == [0.0, 0.0, 0.0]


def test_altered_weights_are_refused_and_the_seed_runs_again(weighty):
    weighty.run()
    path = weighty.folder / "toy.seed-1.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(CheckpointError, match="SHA-256 is"):
        load_stored_checkpoint("toy", 1, weighty.folder)
    with pytest.warns(UserWarning, match="seed 1 is run again"):
        weighty.run()
    assert weighty.calls == [0, 1, 2, 1]
    assert load_stored_checkpoint("toy", 1, weighty.folder)["w"].tolist() == [1.0, 1.0, 1.0]


def test_weights_of_another_config_are_set_aside_and_come_back(weighty):
    weighty.run([0, 1])
    with pytest.warns(UserWarning, match="set aside"):
        weighty.run([0], Config(n=2))
    assert load_stored_checkpoint("toy", 0, weighty.folder)["w"].tolist() == [0.0] * 3
    with pytest.warns(UserWarning, match="another config"):
        weighty.run([0, 1])
    assert weighty.calls == [0, 1, 0]
    assert load_stored_checkpoint("toy", 1, weighty.folder)["w"].tolist() == [1.0] * 3


def test_weights_that_are_not_finite_are_refused(weighty, monkeypatch):
    broken = lambda config, seed, progress: SeedRecord({"score": 1.0}, checkpoint={"w": torch.tensor([np.nan])})  # noqa: E731
    broken.__module__ = "tests.experiments.toy"
    monkeypatch.setattr("tests.experiments.toy.EXPERIMENT", replace(weighty.experiment, run_seed=broken))
    with pytest.raises(ValueError, match="checkpoint entry 'w' is no tensor of finite numbers"):
        weighty.run([0])
