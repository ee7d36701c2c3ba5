"""Memory: what is planned against what is taken, counted allocation by allocation."""

import weakref

import pytest
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from entk_tutorial.empirical import empirical_ntk, plan
from entk_tutorial.empirical.planning import readable

from .cases import Pooled, Tokens, ids, sequences


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
