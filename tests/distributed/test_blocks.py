"""Kernels in blocks on two local processes: the same numbers as here, also if one dies or its memory is full."""

import os
import signal
import subprocess
import sys

import pytest
import torch
from torch import nn

from entk_tutorial import empirical_ntk, functional, top_eigenpairs
from entk_tutorial.distributed import BackendError, blocks, connect, kernel_blocks
from entk_tutorial.empirical.errors import InputError, MemoryPlanError, ModelError


@pytest.fixture(scope="module")
def client():
    with connect(2) as client:
        yield client


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.GELU(), nn.Linear(16, 3)).double()


def inputs(n, seed=0):
    return torch.randn(n, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("reduce", ["trace", "mean_logit", "flat", (1, 1), (0, 2)])
@pytest.mark.parametrize("second", [None, 7])
def test_blocks_are_the_kernel(client, reduce, second):
    model, x1 = network(), inputs(13)
    x2 = None if second is None else inputs(second, seed=1)
    kernel = kernel_blocks(model, x1, x2, client=client, reduce=reduce, block=5)
    expected = empirical_ntk(model, x1, x2, reduce=reduce)
    torch.testing.assert_close(kernel.to_dense(), expected, rtol=1e-12, atol=1e-12)
    q = inputs(expected.shape[1], seed=2)
    torch.testing.assert_close(kernel @ q, expected @ q, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(kernel @ q[:, 0], expected @ q[:, 0], rtol=1e-10, atol=1e-10)


def test_symmetric_kernel_has_the_upper_blocks_only(client):
    kernel = kernel_blocks(network(), inputs(13), client=client, block=5)
    assert sorted(kernel.blocks) == [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    assert len(kernel_blocks(network(), inputs(13), client=client, block=5, reduce=(0, 1)).blocks) == 9


def test_eigenpairs_from_blocks(client):
    model, x = network(), inputs(60)
    found = top_eigenpairs(kernel_blocks(model, x, client=client, block=25), 6, block=8)
    expected = top_eigenpairs(empirical_ntk(model, x), 6)
    torch.testing.assert_close(found.values, expected.values, rtol=1e-9, atol=0)
    projectors = [pairs.vectors @ pairs.vectors.T for pairs in (found, expected)]
    torch.testing.assert_close(*projectors, rtol=0, atol=1e-7)
    assert float(found.residuals.max()) < 1e-8 * float(found.values[0]) and found.method == "krylov"
    with pytest.raises(ValueError, match="not symmetric"):
        top_eigenpairs(kernel_blocks(model, x, client=client, block=25, reduce=(0, 1)), 2)
    with pytest.raises(ValueError, match="k must be named"):
        top_eigenpairs(kernel_blocks(model, x, client=client, block=25))
    with pytest.raises(ValueError, match=r"'dense' is unknown; expected one of 'auto', 'krylov', 'sketch'"):
        top_eigenpairs(kernel_blocks(model, x, client=client, block=25), 2, method="dense")


def test_groups_add_up(client):
    model, x = network(), inputs(11)
    for by in ("layer", "parameter"):
        kernels = kernel_blocks(model, x, client=client, block=4, by=by)
        expected = empirical_ntk(model, x, by=by)
        assert set(kernels) == set(expected)
        for group, kernel in kernels.items():
            torch.testing.assert_close(kernel.to_dense(), expected[group], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduce", ["trace", "full"])
def test_backend_of_empirical_ntk(client, reduce):
    model, x = network(), inputs(9)
    torch.testing.assert_close(
        empirical_ntk(model, x, reduce=reduce, backend=client),
        empirical_ntk(model, x, reduce=reduce),
        rtol=1e-12,
        atol=0,
    )
    layers = empirical_ntk(model, x, inputs(4, 1), reduce=reduce, by="layer", backend=client)
    for group, kernel in empirical_ntk(model, x, inputs(4, 1), reduce=reduce, by="layer").items():
        torch.testing.assert_close(layers[group], kernel, rtol=1e-12, atol=1e-13)


def test_dict_inputs_functions_and_tied_embeddings_travel(client):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(6, 4)
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens, mask):
            return self.head((self.embedding(tokens) * mask[..., None]).sum(1))

    torch.manual_seed(1)
    model = Tied().double()
    x = {"tokens": torch.arange(18).reshape(9, 2) % 6, "mask": torch.ones(9, 2, dtype=torch.float64)}
    found = kernel_blocks(model, x, client=client, block=4).to_dense()
    torch.testing.assert_close(found, empirical_ntk(model, x, method="jacobian"), rtol=1e-12, atol=1e-12)
    f = functional(lambda p, x: x @ p["w"], {"w": torch.ones(5, 1, dtype=torch.float64)})
    torch.testing.assert_close(kernel_blocks(f, inputs(6), client=client, block=4).to_dense(), inputs(6) @ inputs(6).T)


def test_errors_are_told_before_anything_is_sent(client, monkeypatch):
    monkeypatch.setattr(client, "submit", None)  # would fail
    with pytest.raises(ModelError, match="drops units"):
        kernel_blocks(nn.Sequential(nn.Linear(5, 2), nn.Dropout(0.5)), inputs(3).float(), client=client)
    with pytest.raises(InputError, match="N = 0"):
        kernel_blocks(network(), inputs(0), client=client)
    with pytest.raises(ValueError, match="take reduce='flat'"):
        kernel_blocks(network(), inputs(3), client=client, reduce="full")
    with pytest.raises(ValueError, match="at least one example a block"):
        kernel_blocks(network(), inputs(3), client=client, block=0)


def test_errors_on_a_worker_come_as_they_are(client):
    kernel = kernel_blocks(network(), inputs(40), client=client, block=40, max_bytes=10_000)
    with pytest.raises(MemoryPlanError, match="are allowed"):
        kernel.to_dense()


def test_what_does_not_fit_here_stays_in_blocks(client):
    kernel = kernel_blocks(network(), inputs(13), client=client, block=5)
    with pytest.raises(MemoryPlanError, match="Leave it in blocks"):
        kernel.to_dense(max_bytes=1000)
    with pytest.raises(ValueError, match=r"\(13, k\) is expected"):
        kernel @ torch.ones(12, 1)


@pytest.mark.slow
def test_a_lost_worker_costs_time_and_no_number():
    model, x = network(), inputs(60)
    with connect(2) as client:
        kernel = kernel_blocks(model, x, client=client, block=10)
        kernel @ torch.ones(60, dtype=torch.float64)  # all blocks are there
        holders = client.who_has(list(kernel.blocks.values()))
        victim = next(iter(client.scheduler_info(n_workers=-1)["workers"]))
        assert any(victim in workers for workers in holders.values()), "the lost worker must have held a block"
        pid = client.run(os.getpid, workers=[victim])[victim]
        os.kill(pid, signal.SIGKILL)
        found = kernel.to_dense()
        again = kernel @ torch.ones(60, dtype=torch.float64)
    expected = empirical_ntk(model, x)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(again, expected.sum(1), rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_blocks_that_do_not_fit_into_memory_go_to_disk():
    from distributed import Client, LocalCluster

    model, x = nn.Linear(1, 1).double(), torch.linspace(-1, 1, 2000, dtype=torch.float64)[:, None]
    # In this process: a thread starts faster, and moves blocks to disk by the same rule.
    cluster = LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address=":0")
    with cluster, Client(cluster) as client:
        client.run(_shrink, 4 * 2**20)  # bytes kept in memory; the kernel's blocks take 18 MB
        kernel = kernel_blocks(model, x, client=client, block=250)
        found = kernel @ torch.ones(2000, dtype=torch.float64)
        assert sum(client.run(_blocks_on_disk).values()) > 10
    torch.testing.assert_close(found, empirical_ntk(model, x).sum(1))


def _shrink(n_bytes, dask_worker):
    dask_worker.data.fast.n = n_bytes


def _blocks_on_disk(dask_worker):
    return len(dask_worker.data.disk)


_BLOCKER = """
import sys
for name in [m for m in sys.modules if m.split(".")[0] == "entk_tutorial"]:
    del sys.modules[name]
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "entk_tutorial":
            raise ModuleNotFoundError(name)
import importlib.util
importlib.util.find_spec = lambda name, package=None: None
"""


@pytest.mark.slow
def test_worker_without_the_package_and_other_versions():
    from distributed import Client, LocalCluster

    cluster = LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0")
    with cluster, Client(cluster) as client:
        client.run(exec, "import entk_tutorial as e; e.__version__ = '0.0.1'")
        with pytest.raises(BackendError, match=r"has 0\.0\.1\. Install the same version"), connect(client):
            pass
        client.run(exec, _BLOCKER)
        with pytest.raises(BackendError, match="1 of 1 workers have no entk_tutorial"), connect(client):
            pass


def test_scheduler_that_does_not_answer():
    with pytest.raises(BackendError, match=r"no scheduler answered at tcp://127\.0\.0\.1:9 within 1 s"):
        with connect("tcp://127.0.0.1:9", timeout=1):
            pass


@pytest.mark.slow
def test_scheduler_without_workers():
    from distributed import LocalCluster

    with LocalCluster(n_workers=0, dashboard_address=":0") as cluster:
        with pytest.raises(BackendError, match=r"no worker joined it within 1 s\. Start some: dask worker"):
            with connect(cluster.scheduler_address, timeout=1):
                pass


@pytest.mark.parametrize("backend", [0, True, "", 1.5, None])
def test_backends_that_are_none(backend):
    with pytest.raises(ValueError, match=r"expected a distributed\.Client"):
        with connect(backend):
            pass


def test_without_distributed_the_extra_is_named():
    code = (
        "import sys; sys.modules['distributed'] = None\n"
        "from entk_tutorial.distributed import connect, BackendError\n"
        "try:\n    connect(1).__enter__()\nexcept BackendError as e:\n    print(e)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "entk-tutorial[distributed]" in out


def test_default_blocks_share_the_work(client):
    kernel = kernel_blocks(network(), inputs(40), client=client)
    assert kernel.rows == (0, 10, 20, 30, 40)  # two runs a worker
    assert blocks._workers(client)[0] == 2
