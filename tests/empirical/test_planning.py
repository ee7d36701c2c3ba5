"""Memory: what is planned against what is taken, counted allocation by allocation."""

import re
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from entk_tutorial.empirical import empirical_ntk, kernel, plan
from entk_tutorial.empirical.planning import readable

from .cases import Pooled, Tokens, assert_near, ids, sequences


class PeakBytes(TorchDispatchMode):
    """Bytes of all storages made inside the block and alive at the same time, at most."""

    def __init__(self):
        super().__init__()
        self.alive, self.now, self.peak = {}, 0, 0

    def _free(self, key):
        self.now -= self.alive.pop(key)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in self.alive:
                storage = tensor.untyped_storage()
                self.alive[storage._cdata] = storage.nbytes()
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._free, storage._cdata)
        return out


def pooled():
    return Pooled().double(), sequences(32, 0, 30)


def tokens():
    return Tokens().double(), ids(32, 0, 30)


@pytest.mark.parametrize("reduce", ["trace", "full"])
@pytest.mark.parametrize("shrink", [1, 8])
@pytest.mark.parametrize("make", [pooled, tokens])
def test_a_kernel_takes_no_more_than_its_limit(make, shrink, reduce):
    model, x = make()
    generous = plan(model, x, reduce=reduce, max_bytes=10**9)
    limit = generous.result_bytes * (2 if reduce == "full" else 1) + generous.tile_bytes // shrink
    assert plan(model, x, reduce=reduce, max_bytes=limit).total_bytes <= limit
    with PeakBytes() as memory:
        empirical_ntk(model, x, reduce=reduce, max_bytes=limit)
    probes = 10**5  # the few examples of the checks before, and the inputs' copies
    assert memory.peak <= limit + probes, f"{readable(memory.peak)} taken, {readable(limit)} allowed"


def test_sizes_for_people():
    assert [readable(n) for n in (0, 1023, 1024, 3 * 2**20)] == ["0.0 B", "1023.0 B", "1.0 KiB", "3.0 MiB"]
    assert readable(2**50) == "1024.0 TiB"


MEASURED = """
import sys
import torch
from pathlib import Path
from entk_tutorial.empirical import empirical_ntk, kernel, plan
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.transformer import ModularTransformer, modular_tokens

def highest():
    return 1024 * int(next(l for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l).split()[1])

torch.set_num_threads(1)
what, limit = sys.argv[1], int(sys.argv[2])
if what == "transformer":
    model, x = ModularTransformer(13, d_model=32, d_mlp=64, seed=0), modular_tokens(13)
else:
    model, x = QuadraticMLP(29, 512, seed=0), torch.eye(58)[torch.arange(841) % 58]
if what == "without factor":
    kernel.FEWEST_CLASSES = 10**9
empirical_ntk(model, x[:20], by="parameter")
before, planned = highest(), plan(model, x, by="parameter", max_bytes=limit)
empirical_ntk(model, x, by="parameter", max_bytes=limit)
print(planned.total_bytes, highest() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell a process's peak memory")
@pytest.mark.parametrize(
    "what, limit",
    [("factor", 10**9), ("without factor", 10**9), ("without factor", 25 * 10**6), ("transformer", 10**9)],
)
def test_resident_memory_stays_near_the_plan(what, limit):
    """In a process of its own, since a peak never comes down again; 40 MB are the allocator's and the libraries'."""
    command = [sys.executable, "-c", MEASURED, what, str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    planned, measured = map(int, done.stdout.split())
    assert planned <= limit
    assert measured <= 1.5 * planned + 40 * 10**6, f"{readable(measured)} taken, {readable(planned)} planned"


def test_many_outputs_are_cut_up_too():
    """3,000 outputs: one example's cotangents alone would take 36 MB, the identity as much again."""
    layer = torch.nn.Linear(2, 3000, bias=False)
    x = torch.eye(2)[[0, 1, 1, 0]] + 1.0
    planned = plan(layer, x, max_bytes=2 * 10**6)
    assert planned.classes < 3000 and planned.total_bytes < 2 * 10**6
    with PeakBytes() as memory:
        found = empirical_ntk(layer, x, max_bytes=2 * 10**6)
    assert memory.peak < 4 * 10**6
    assert torch.allclose(found, 3000 * x @ x.T, rtol=1e-5)


@pytest.mark.parametrize("make", [pooled, tokens])
@pytest.mark.parametrize("reduce", ["trace", "flat"])
def test_whatever_the_tiling_the_numbers_are_the_same(make, reduce, monkeypatch):
    model, x = make()
    whole = empirical_ntk(model, x, reduce=reduce, by="layer")
    for tile, classes, hold in [(32, 1, True), (7, 2, False), (5, 1, False), (11, 1, True), (1, 2, True)]:
        fitted = kernel.fit_tiles
        monkeypatch.setattr(kernel, "fit_tiles", lambda *a, **k: (tile, classes, hold, *fitted(*a, **k)[3:]))  # noqa: B023
        for layer, k in empirical_ntk(model, x, reduce=reduce, by="layer").items():
            assert_near(k, whole[layer], 1e-12)
            assert torch.equal(k, k.T)
        monkeypatch.undo()


def test_the_plan_counts_each_parameter_both_ways():
    model = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.Tanh(), torch.nn.Linear(16, 8)).double()
    planned = plan(model, torch.randn(10, 3).double(), by="parameter")
    by_name = {part.name: part for part in planned.parameters}
    pairs = 10 * 11 // 2
    assert by_name["0.weight"].by_jacobian == (pairs + 10) * 8 * 48 and by_name["0.weight"].operations == pairs * (
        3 + 16
    )
    assert by_name["2.weight"].way == "shared factor" and by_name["2.weight"].operations == pairs * (16 + 8)
    assert by_name["0.weight"].kept_by_jacobian == 8 * 8 * 48
    assert planned.operations < planned.jacobian_operations
    assert all(name in str(planned) for name in by_name)


def test_progress_knows_its_end(capsys):
    model, x = pooled()
    limit = plan(model, x, max_bytes=10**9).total_bytes // 2
    empirical_ntk(model, x, max_bytes=limit, progress=True)
    assert re.search(r"kernel tiles: +0%.* 0/[1-9]\d* ", capsys.readouterr().err)
