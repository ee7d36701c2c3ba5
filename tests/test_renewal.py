import json
import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from entk_tutorial import experiments, renewal
from entk_tutorial.beside import run_beside
from entk_tutorial.experiments.provenance import code_hash
from entk_tutorial.experiments.result import SeedRecord
from entk_tutorial.renewal import renew
from entk_tutorial.results import load_result
from entk_tutorial.verify import Comparison, spot_seed


def stale(toy):
    """A stored run whose code hash is of other code."""
    toy.run()
    toy.edit(lambda document: document["hashes"].update(code="0" * 64))


def test_nothing_is_run_if_the_result_is_not_stale(toy):
    toy.run()
    before = toy.final.read_text()
    assert renew("toy", toy.folder).seed is None
    assert toy.calls == [0, 1, 2] and toy.final.read_text() == before


def test_stale_result_is_renewed_by_one_seed_that_the_commit_draws(toy):
    stale(toy)
    found = renew("toy", toy.folder, commit_hash=lambda: "abc")
    assert found.different == [] and len(found.rows) == 4 + 2  # metrics and controls; series
    assert found.seed == spot_seed("toy", [0, 1, 2], "abc") and toy.calls == [0, 1, 2, found.seed]
    stored = load_result("toy", toy.folder)
    assert stored.hashes["code"] == code_hash(toy.experiment.run_seed)
    note = stored.provenance["renewed"][0]
    assert note["replaced_code"] == "0" * 64 and note["seed"] == found.seed and note["commit"] == "abc"
    assert stored.metrics["score"].tolist() == toy.run().metrics["score"].tolist()


@pytest.mark.parametrize(
    ("change", "entry"),
    [
        (lambda d, i: d["metrics"]["score"].__setitem__(i, d["metrics"]["score"][i] * (1 + 3e-5)), "score"),
        (lambda d, i: d["controls"]["shuffled"]["score"].__setitem__(i, 3.0), "shuffled.score"),
        (lambda d, i: d["series"]["epoch"].__setitem__(i, [0, 1, 2.1]), "series epoch"),
        (lambda d, i: d["series"]["epoch"].__setitem__(i, [0, 1]), "series epoch"),
    ],
)
def test_number_that_does_not_come_out_again_leaves_the_file_alone(toy, change, entry):
    stale(toy)
    seed = spot_seed("toy", [0, 1, 2], "abc")
    toy.edit(lambda document: change(document, seed))
    before = toy.final.read_text()
    assert [row.entry for row in renew("toy", toy.folder, commit_hash=lambda: "abc").different] == [entry]
    assert toy.final.read_text() == before


def beside(toy, monkeypatch, error=0.0):
    """Another checkout, whose code gives the stored numbers with another error, and knows which code it must be."""
    asked = []

    def run(checkout, name, seed, config, *, code):
        asked.append((checkout, name, config, code))
        record = load_result("toy", toy.folder).record(seed)
        return replace(record, metrics={**record.metrics, "error": record.metrics["error"] + error})

    monkeypatch.setattr(renewal, "run_beside", run)
    return asked


@pytest.mark.parametrize("by", [0.0, 0.05, 0.2])
def test_on_another_processor_the_new_code_must_give_the_numbers_of_the_old_one(toy, monkeypatch, by):
    stale(toy)
    plain = toy.experiment.run_seed

    def shifted(config, seed, progress):  # this machine gives other digits than the stored ones, whatever the code
        record = plain(config, seed, progress)
        return replace(record, metrics={**record.metrics, "error": record.metrics["error"] + by})

    shifted.__module__ = plain.__module__
    seed = spot_seed("toy", [0, 1, 2], "abc")
    asked = beside(toy, monkeypatch, by)
    monkeypatch.setattr("tests.experiments.toy.EXPERIMENT", replace(toy.experiment, run_seed=shifted))
    found = renew("toy", toy.folder, commit_hash=lambda: "abc", beside="there")
    assert [(where, name, code) for where, name, _, code in asked] == [("there", "toy", "0" * 64)]
    within = by < 0.1  # the experiment's tolerance for other machines
    assert [row.entry for row in found.different] == ([] if within else ["error"])
    history = load_result("toy", toy.folder).provenance.get("renewed", [])
    assert [(note["agreement"], note["moved"], note["seed"]) for note in history] == (
        [("the old code on the same machine", int(by > 0), seed)] if within else []
    )


def test_new_code_that_differs_from_the_old_one_on_this_machine_is_not_renewed(toy, monkeypatch):
    stale(toy)
    beside(toy, monkeypatch, 0.05)
    assert [row.entry for row in renew("toy", toy.folder, beside="there").different] == ["error"]
    assert "renewed" not in load_result("toy", toy.folder).provenance


def test_the_code_of_another_checkout_is_really_run(tmp_path):
    (tmp_path / "entk_tutorial").symlink_to(Path(renewal.__file__).parent)  # as the other version, this one
    experiment = experiments.get("token_kernel_error")
    config = json.loads(json.dumps(asdict(experiment.quick)))
    here = experiment.run_seed(experiment.quick, 1, lambda fraction, message="": None)
    with pytest.raises(ValueError, match=r"which is not in|its code is"):
        run_beside(tmp_path, "token_kernel_error", 1, config, code="0" * 64)
    (tmp_path / "entk_tutorial").unlink()
    shutil.copytree(Path(renewal.__file__).parent, tmp_path / "entk_tutorial", ignore=shutil.ignore_patterns("results"))
    with pytest.raises(ValueError, match=r"its code is .*, and the result's 00000000\. Take the commit"):
        run_beside(tmp_path, "token_kernel_error", 1, config, code="0" * 64)
    there = run_beside(tmp_path, "token_kernel_error", 1, config, code=code_hash(experiment.run_seed))
    assert there.metrics == {k: float(v) for k, v in here.metrics.items()} and there.series.keys() == here.series.keys()


def test_a_folder_without_the_package_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no entk_tutorial; a checkout is expected"):
        run_beside(tmp_path, "toy", 0, {}, code="")


def test_criterion_that_changed_is_never_renewed(toy):
    stale(toy)
    toy.claim(toy.claims_file.read_text().replace("value = 10", "value = 9"))
    with pytest.raises(ValueError, match=r"criteria of X\.1 are not those of the run\. Cure: entk run toy --fresh"):
        renew("toy", toy.folder)
    assert toy.calls == [0, 1, 2]


def test_config_edited_by_hand_is_never_renewed(toy):
    stale(toy)
    toy.edit(lambda document: document["config"].update(n=4))
    with pytest.raises(ValueError, match="the stored config was edited"):
        renew("toy", toy.folder)


def test_weights_are_compared_too(toy, monkeypatch):
    plain, offset = toy.experiment.run_seed, [0.0]

    def run_seed(config, seed, progress):
        return replace(plain(config, seed, progress), checkpoint={"w": torch.full((3,), 1.0 + seed + offset[0])})

    run_seed.__module__ = plain.__module__
    monkeypatch.setattr("tests.experiments.toy.EXPERIMENT", replace(toy.experiment, run_seed=run_seed))
    stale(toy)
    offset[0] = 0.1
    assert [row.entry for row in renew("toy", toy.folder).different] == ["checkpoint"]
    offset[0] = 0.0
    assert renew("toy", toy.folder).different == []


def test_seconds_need_not_come_out_again_but_must_be_there():
    def rows(**series: list[float]) -> list[Comparison]:
        old = SeedRecord({}, series={"cpu_seconds": [35.0], "epoch": [0.0]})
        return renewal._rows(experiments.get("modular_mlp"), 0, old, replace(old, series=series))

    assert [row.entry for row in rows(cpu_seconds=[44.0], epoch=[0.0])] == ["series epoch"]
    missing = [row for row in rows(epoch=[0.0]) if not row.agrees]
    assert [row.entry for row in missing] == ["series cpu_seconds"]
    assert len([row for row in rows(cpu_seconds=[35.0, 1.0], epoch=[0.0]) if not row.agrees]) == 1


def test_distance_of_curves_of_other_shape_is_infinite():
    assert renewal._distance([1.0], [1.0, 2.0]) == math.inf
    assert renewal._distance([[1.0, 2.0]], [[1.0, 2.5]]) == 0.25


@pytest.mark.parametrize(
    ("stored", "again", "same"),
    [(6e-5, 6e-5 + 9e-8, True), (6e-5, 6e-5 + 2e-7, False), (0.5, 0.500004, True), (0.5, 0.50001, False)],
)
def test_small_shares_are_measured_by_what_they_are_a_share_of(stored, again, same):
    assert renewal._strict(Comparison("toy", 0, "share", stored, again, 0.1)).agrees is same
