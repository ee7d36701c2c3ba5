import json

import numpy as np
import pytest
import torch

from benchmarks import infinite_kernels as bench
from benchmarks import neural_tangents_peer as peer
from entk_tutorial.results import load_benchmark


@pytest.mark.parametrize("law", ["uniform", "zipf"])
def test_both_sides_draw_the_same_documents(law):
    ours = bench.documents(law, bench.PEER_DOCS, vocab=bench.PEER_VOCAB)
    assert np.array_equal(ours, peer.documents(law, bench.PEER_DOCS))


@pytest.mark.parametrize("name", ["linear", "mlp relu", "rnn gated, last"])
def test_worker_reports_the_norm_of_the_kernel(name):
    docs = bench.documents("zipf", 20, vocab=bench.PEER_VOCAB)
    found = bench.work(name, "zipf", 20)
    assert found["norm"] == pytest.approx(float(bench.families()[name](docs).ntk.norm()), rel=1e-12)
    assert found["seconds"] >= 0 and found["peak_bytes"] > 1e7


def test_feature_map_is_timed_on_a_product_that_is_the_kernels():
    docs = bench.documents("zipf", 20)
    product, _ = bench.call("features: mlp", "zipf", 20)
    kernel = bench.families()["mlp relu"](docs).ntk
    assert torch.allclose(product(docs), kernel.sum(1), rtol=1e-10)


def test_limit_is_missed_by_time_or_by_memory(monkeypatch, capsys):
    for seconds, gigabytes, missed in ((9.0, 1.9, False), (11.0, 0.1, True), (1.0, 2.1, True)):
        run = {"seconds": seconds, "wall": 0.0, "peak_bytes": gigabytes * 1e9, "load": 1.0}
        monkeypatch.setattr(bench, "measure", lambda name, law, run=run: run)
        assert bench.row("linear", 10.0)["missed"] is missed
    assert "MISSED" in capsys.readouterr().out


def test_stored_table_holds_every_family():
    table = load_benchmark("infinite_kernels")
    assert [line["name"] for line in table["kernels"]] == list(bench.families())
    assert [line["name"] for line in table["features"]] == list(bench.feature_maps())
    assert [line["name"] for line in table["dearer"]] == list(bench.dearer())
    for line in [*table["kernels"], *table["features"]]:
        slowest = max(run["seconds"] for run in line["runs"].values())
        assert line["missed"] == (slowest > line["limit_seconds"] or line["peak_gigabytes"] > bench.GIGABYTES)
    json.dumps(table)
