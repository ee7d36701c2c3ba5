"""The engine's table: peers compute the same kernels, rows follow from runs, and a busy machine is told."""

import json

import pytest
import torch

from benchmarks import _common as common
from benchmarks import _engine_work as worker
from benchmarks import empirical_kernel_peer as peer
from benchmarks import engine as bench
from entk_tutorial import empirical_ntk


def test_peers_compute_the_kernels_that_they_are_compared_with():
    model, x = worker.modular(7, 16, 30)
    ours = empirical_ntk(model, x, by="parameter")
    for name, k in worker.jacobian_contraction(model, x).items():
        assert torch.allclose(k, ours[name], rtol=1e-4, atol=1e-5 * float(k.max()))
    model, x = worker.transformer(9)
    both = worker.tile_by_tile(model, x)
    for i, reduce in enumerate(("mean_logit", "trace")):
        ours = empirical_ntk(model, x, reduce=reduce, by="parameter")
        for name, k in both.items():
            assert float((k[i] - ours[name]).abs().max()) < 1e-4 * float(k[i].abs().max())


def test_both_sides_take_the_same_pairs():
    _, x = worker.modular(peer.P, 16, 60)
    assert torch.equal(x, torch.from_numpy(peer.inputs(60)))


@pytest.mark.parametrize(
    "job", ["mlp", "superposition dense", "transformer mean_logit", "large trace 512", "growth neurons"]
)
def test_a_worker_reports_times_memory_and_what_it_found(job):
    found = worker.work(job, 24)
    assert len(found["wall"]) == len(found["seconds"]) == worker.jobs(job, 24)[1]
    assert min(found["wall"]) > 0 and found["peak_bytes"] >= 0 and found["norm"] > 0
    json.dumps(found)


def test_the_factor_is_really_left_out_and_put_back():
    with_factor, without = (worker.work(job, 60) for job in ("large trace 512", "large without factor 512"))
    assert without["operations"] > 20 * with_factor["operations"]
    assert without["norm"] == pytest.approx(with_factor["norm"], rel=1e-5)
    assert worker.jobs("large trace 512", 60)[2]["operations"] == with_factor["operations"]


def fake(job, n, wall, **more):
    return bench.Run(job, n, [wall], [wall], int(1e6 * n), 0.1, 0.0, {"norm": 1.0, **more})


@pytest.fixture
def runs():
    large = {"eigen_wall": 3.0, "eigen_method": "krylov", "residual": 1e-7, "eigen_peak_bytes": 10**9}
    out = []
    for job, n in bench.schedule(quick=False, peer="python"):
        if job == "sgemm":
            out.append(fake(job, n, 1.0, operations_a_second=1e11))
        elif job.startswith("large"):
            out.append(fake(job, n, 1e-7 * n**2, operations=1e4 * n**2, **large))
        else:
            out.append(fake(job, n, 1e-6 * n**2, operations=1e3 * n))
    return out


def test_exponents_are_measured_and_counted_apart(runs):
    rows = [row for row in bench.table(runs) if row.figure.startswith("exponent of") and "hidden layer" in row.work]
    assert [row.figure.removeprefix("exponent of ") for row in rows] == list(bench.GROWTH) == list(worker.GROWTH)
    assert all(row.ours == pytest.approx(2.0) and row.note == "products counted 1.00" for row in rows)


def test_rows_follow_from_runs(runs):
    rows = {(row.work, row.figure): row for row in bench.table(runs)}
    (share,) = [row for (_, figure), row in rows.items() if figure == "share of peak product"]
    assert share.ours == pytest.approx(100 * (2 * 1e4 / 1e-7) / 2e11) and share.met
    exponents = [row for (_, figure), row in rows.items() if figure == "exponent of N, off 2 by"]
    assert [row.ours for row in exponents] == pytest.approx([0.0, 0.0], abs=1e-9)
    assert "extrapolated from N = 420 with exponent 2.00" in bench.printed(list(rows.values()))


def test_every_line_of_the_table_of_targets_is_there(runs):
    text = bench.printed(bench.table(runs))
    for words in ("p = 29", "superposition", "mean logit", "trace, 841", "H = 512", "H = 2048", "without the shared",
                  "neural-tangents", "Jacobian contraction", "dense eigh", "tile by tile", "sgemm"):  # fmt: skip
        assert words in text, words


def test_a_missed_target_says_so(runs):
    slow = [bench.Run(**{**vars(run), "wall": [99.0]}) if run.job == "mlp" else run for run in runs]
    row = next(row for row in bench.table(slow) if row.figure == "time" and "p = 29" in row.work)
    assert row.met is False and "MISSED" in bench.printed([row])


def test_a_busy_machine_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(bench, "cores_of_others", lambda: 1.5)
    monkeypatch.setattr(bench, "measure", lambda *a: pytest.fail("it was measured"))
    assert bench.main([]) == 2
    assert "1.5 cores busy" in capsys.readouterr().err


def test_disturbed_runs_flag_the_whole_table(monkeypatch, tmp_path, runs, capsys):
    by_job = {(run.job, run.n): run for run in runs}
    by_job["mlp", 841] = bench.Run(**{**vars(by_job["mlp", 841]), "others": 0.9})
    monkeypatch.setattr(bench, "cores_of_others", lambda: 0.0)
    monkeypatch.setattr(bench, "measure", lambda job, n, peer: by_job[job, n])
    bench.main(["--store", "--output", str(tmp_path / "e.json")])
    stored = json.loads((tmp_path / "e.json").read_text())
    assert stored["busy"] and "BUSY" in capsys.readouterr().out
    assert stored["peers_absent"] == ["neural-tangents (--peer PYTHON)"] and stored["provenance"]["versions"]


def test_a_worker_that_fails_or_hangs_is_named():
    with pytest.raises(SystemExit, match="some job"):
        common.in_fresh_process(["false"], {}, "some job")
    with pytest.raises(SystemExit, match="no answer after"):
        common.in_fresh_process(["sleep", "20"], {}, "some job", seconds=0.1)


def test_a_peer_that_fails_is_told_as_absent(monkeypatch, runs, capsys):
    def measure(job, n, peer):
        if job == "neural-tangents":
            raise SystemExit("it ended with 1.\nno such module")
        return next(run for run in runs if (run.job, run.n) == (job, n))

    monkeypatch.setattr(bench, "cores_of_others", lambda: 0.0)
    monkeypatch.setattr(bench, "measure", measure)
    bench.main(["--peer", "python"])
    assert "peers absent: neural-tangents (no such module)" in capsys.readouterr().out


def test_stored_table_follows_from_the_stored_runs():
    if not bench.RESULTS.is_file():
        pytest.skip("no table is stored yet: python -m benchmarks --store on a quiet machine makes it")
    stored = json.loads(bench.RESULTS.read_text(encoding="utf-8"))
    again = bench.table([bench.Run(**run) for run in stored["runs"]])
    assert [row["figure"] for row in stored["rows"]] == [row.figure for row in again]
    for row, other in zip(stored["rows"], again, strict=True):
        assert row["ours"] == pytest.approx(other.ours, rel=1e-9) and row["met"] == other.met


def test_short_jobs_are_measured_in_three_rounds_and_their_calls_pooled(runs):
    schedule = bench.schedule(quick=False, peer="python")
    assert all(schedule.count((job, bench.N["mlp"])) == 3 for job in ("mlp", "mlp without factor", "neural-tangents"))
    others = [run for run in runs if run.job != "mlp"]
    rounds = [fake("mlp", bench.N["mlp"], wall) for wall in (0.1, 0.9, 0.2)]
    rows = {row.figure: row for row in bench.table([*others, *rounds]) if row.work.startswith("modular MLP, p = 29")}
    assert rows["time"].ours == 0.2
    assert rows["times faster, peer NT"].ours == pytest.approx(1e-6 * bench.N["mlp"] ** 2 / 0.2)
