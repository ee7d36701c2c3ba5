"""The experiment on a tiny modulus, and on one network that was put together by hand."""

from dataclasses import replace

import pytest
import torch

from entk_tutorial.experiments import grokking, modular_mlp
from entk_tutorial.experiments.grokking import levels
from entk_tutorial.experiments.grokking_curves import (
    CONTROLS,
    MEASURES,
    Config,
    family_shares,
    make_task,
    measure_run,
    trace_kernel,
)
from entk_tutorial.features import fourier_features
from entk_tutorial.models.modular import QuadraticMLP

TINY = Config(
    p=7, hidden=48, epochs=60, dense_every=10, dense_until=20, sparse_every=20, calibration_seeds=1, device="cpu"
)


@pytest.fixture(scope="module")
def result():
    return grokking.run(TINY, seeds=[0, 1])


def test_every_measure_has_a_lead_and_a_false_alarm_in_every_control(result):
    assert set(result.controls) == set(CONTROLS)
    for name in MEASURES:
        assert {f"lead_{name}", f"alarmed_{name}", f"clock_lead_{name}"} <= set(result.metrics)
        assert all(f"alarm_{name}" in table for table in result.controls.values())
    assert "other_alarm_overlap_all" not in result.controls["near_miss"]  # levels are never taken from near misses


def test_curves_are_on_the_records(result):
    assert result.series["record"][0] == TINY.records() == [0, 10, 20, 40, 60]
    for kind in ("task", *CONTROLS):
        for name in (*MEASURES, "train_accuracy"):
            assert len(result.series[f"{kind}.{name}"][1]) == 5


def test_lead_and_alarm_follow_from_the_stored_curves_and_levels(result):
    for i in range(2):
        for name in MEASURES:
            low, high = result.series[f"level.{name}"][i]
            curve = result.series[f"task.{name}"][i]
            out = [all(v > high for v in curve[t : t + 3]) or all(v < low for v in curve[t : t + 3]) for t in range(3)]
            at = TINY.records()[out.index(True)] if any(out) else TINY.epochs
            lead = result.metrics["accuracy_crossing"][i] - at
            assert result.metrics[f"lead_{name}"][i] == pytest.approx(lead), name
            assert result.metrics[f"alarmed_{name}"][i] == any(out)


def test_levels_do_not_depend_on_the_seed_that_is_judged(result):
    assert result.series["level.overlap_all"][0] == result.series["level.overlap_all"][1]
    low = levels(TINY)["both"]["overlap_all"].low
    assert (low <= levels(TINY)["low_data"]["overlap_all"].low).all()
    with pytest.raises(ValueError, match="seed 1000 calibrates"):
        grokking.run(TINY, seeds=[1000])


def test_same_seed_same_numbers(result):
    again = grokking.run(TINY, seeds=[1])
    for name, values in again.metrics.items():
        assert values[0] == pytest.approx(result.metrics[name][1], rel=1e-6), name


def test_the_film_is_kept_for_the_first_seeds_only():
    record = grokking.run_seed(TINY, 0, lambda fraction, message="": None)
    film = record.checkpoint
    assert film["task.spectrum"].shape == (5, 32) and film["low_data.shares_held_out"].shape == (5, 4, 32)
    assert film["task.shares_all"].dtype == torch.uint8
    assert grokking.run_seed(TINY, 1, lambda fraction, message="": None).checkpoint is None


def test_the_first_run_is_that_of_the_chapter_on_the_network():
    config = TINY.network()
    task = make_task(TINY, "task", 3)
    _, history = modular_mlp.fit(config, task, 3)
    run = measure_run(TINY, "task", 3)
    assert run.curves["held_out_accuracy"][-1] == history.metrics["test_accuracy"][-1]
    assert len(make_task(TINY, "low_data", 0).train) == 14 and len(make_task(TINY, "near_miss", 0).train) == 22
    assert not torch.equal(make_task(TINY, "random_labels", 0).labels, task.labels)


def test_closed_form_kernel_is_the_general_one():
    net = QuadraticMLP(7, 40, seed=2)
    general = modular_mlp.layer_kernels(modular_mlp.Config(p=7, hidden=40), net)["total"]
    assert torch.allclose(trace_kernel(net), general, rtol=1e-5)


def test_shares_of_a_pure_family_and_of_the_constant():
    p, rows = 5, torch.arange(25)
    f = fourier_features(p)["sum"]
    assert torch.allclose(family_shares(f, p, rows), torch.tensor([0, 0, 1.0, 0]).double()[:, None].expand(4, 4))
    assert float(family_shares(torch.ones(25, 1), p, rows).max()) == 0
    some = torch.randperm(25, generator=torch.Generator().manual_seed(0))[:15]
    assert bool((family_shares(f, p, some)[2] > 0.999).all())


@pytest.mark.parametrize(
    "change",
    [{"dense_every": 7}, {"dense_every": 4, "dense_until": 20, "sparse_every": 20, "epochs": 61}, {"hold": 0},
     {"ridge": 0.0}, {"near_miss_fraction": 1.0}, {"p": 8}, {"calibration_seeds": 0}, {"epochs": 0},
     {"film_seeds": -1}, {"low_data_fraction": 0.0}],
)  # fmt: skip
def test_settings_that_cannot_run_are_refused(change):
    with pytest.raises(ValueError, match=r"=|must"):
        replace(TINY, **change)
