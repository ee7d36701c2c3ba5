import math
from dataclasses import replace

import pytest
import torch

from entk_tutorial import renewal
from entk_tutorial.experiments.provenance import code_hash
from entk_tutorial.renewal import renew
from entk_tutorial.results import load_result
from entk_tutorial.verify import spot_seed


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
        (lambda d, i: d["metrics"]["score"].__setitem__(i, d["metrics"]["score"][i] * (1 + 1e-5)), "score"),
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


@pytest.mark.parametrize(("by", "renewed"), [(0.05, True), (0.2, False)])
def test_on_another_processor_the_experiments_tolerances_hold_if_asked_for(toy, by, renewed):
    stale(toy)
    seed = spot_seed("toy", [0, 1, 2], "abc")
    toy.edit(lambda d: d["metrics"]["error"].__setitem__(seed, d["metrics"]["error"][seed] + by))  # its tolerance: 0.1
    found = renew("toy", toy.folder, commit_hash=lambda: "abc", within_tolerance=True)
    assert [row.entry for row in found.different] == ([] if renewed else ["error"])
    history = load_result("toy", toy.folder).provenance.get("renewed", [])
    assert [note["agreement"] for note in history] == (["tolerances (1 of 6 in other digits)"] if renewed else [])


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


def test_distance_of_curves_of_other_shape_is_infinite():
    assert renewal._distance([1.0], [1.0, 2.0]) == math.inf
    assert renewal._distance([[1.0, 2.0]], [[1.0, 2.5]]) == 0.25
