r"""The kernel in blocks, each computed on a worker and kept there.

Inputs are cut into runs of ``block`` examples; the kernel between two runs is one task, a call of
:func:`entk_tutorial.empirical_ntk`. A symmetric kernel has only the tasks on and above the diagonal. Blocks stay with
the workers, which move them to disk when their memory fills; what a lost worker held is computed again elsewhere,
since the scheduler keeps the model and the inputs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from entk_tutorial.distributed.cluster import Backend, BackendError, connect
from entk_tutorial.empirical.errors import MemoryPlanError
from entk_tutorial.empirical.functional import Inputs, ModelFunction, RawInputs
from entk_tutorial.empirical.kernel import _prepare, empirical_ntk
from entk_tutorial.empirical.planning import memory_limit, readable
from entk_tutorial.empirical.reductions import Reduce

if TYPE_CHECKING:
    from distributed import Client, Future

_BLOCK_BYTES = 64 * 2**20
"""A block is no larger: small enough to move and to spill, large enough that moving it is not the work."""
_SHARE = 0.5
"""Of a worker's memory that one block's computation may take, a thread."""

Key = tuple[int, int]


@dataclass(frozen=True)
class BlockKernel:
    """A kernel (R1, R2) whose blocks live on the workers of a cluster.

    Behaves as a matrix in ``kernel @ q``. Close the client, and the blocks are gone.

    Attributes:
        blocks: (i, j) -> future of the block between run i of the first inputs and run j of the second.
        rows: where the runs of rows begin, and R1.
        columns: the same for columns.
        symmetric: whether only blocks with i <= j are there, standing for their mirror images too.
        dtype: of the blocks.
        client: the Dask client.
    """

    blocks: dict[Key, Future]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    symmetric: bool
    dtype: torch.dtype
    client: Client

    @property
    def shape(self) -> tuple[int, int]:
        """(R1, R2)."""
        return self.rows[-1], self.columns[-1]

    @property
    def device(self) -> torch.device:
        """The CPU of this process, where products come out."""
        return torch.device("cpu")

    def __matmul__(self, q: Tensor) -> Tensor:
        """Kernel times (R2,) or (R2, k), in float64; one task a block, beside the block.

        Raises:
            ValueError: for a matrix that does not fit.
            BackendError: if workers keep dying.
        """
        if q.ndim not in (1, 2) or q.shape[0] != self.shape[1]:
            raise ValueError(f"kernel {self.shape} times {tuple(q.shape)}: ({self.shape[1]}, k) is expected.")
        dense = q.detach().double().cpu().numpy()
        out = np.zeros((self.shape[0], *dense.shape[1:]))
        with _large_graphs_allowed():
            parts = [self.client.submit(_hold, dense[a:b], pure=False) for a, b in _spans(self.columns)]
            tasks: dict[Any, int] = {}
            for (i, j), block in self.blocks.items():
                tasks[self.client.submit(_times, block, parts[j], False, pure=False)] = i
                if self.symmetric and i != j:
                    tasks[self.client.submit(_times, block, parts[i], True, pure=False)] = j
        for future, part in finished(tasks):
            i = tasks[future]
            out[self.rows[i] : self.rows[i + 1]] += part
        return torch.from_numpy(out)

    def to_dense(self, *, progress: bool = False, max_bytes: int | None = None) -> Tensor:
        """(R1, R2) tensor in this process, block by block.

        Raises:
            MemoryPlanError: before anything moves, if it does not fit; products with the blocks still do.
        """
        need = math.prod(self.shape) * torch.finfo(self.dtype).bits // 8
        limit = memory_limit(max_bytes, self.device)
        if need > limit:
            raise MemoryPlanError(
                f"the kernel takes {readable(need)} in this process, and {readable(limit)} are allowed. Leave it in "
                "blocks (kernel_blocks), whose products and eigenpairs need no copy here, or raise max_bytes."
            )
        out = torch.empty(self.shape, dtype=self.dtype)
        where = {future: key for key, future in self.blocks.items()}
        for future, block in finished(where, progress=progress):
            i, j = where[future]
            part = torch.from_numpy(np.array(block))
            out[self.rows[i] : self.rows[i + 1], self.columns[j] : self.columns[j + 1]] = part
            if self.symmetric and i != j:
                out[self.rows[j] : self.rows[j + 1], self.columns[i] : self.columns[i + 1]] = part.T
        return out


def kernel_blocks(
    model: nn.Module | ModelFunction,
    x1: RawInputs,
    x2: RawInputs | None = None,
    *,
    client: Client,
    reduce: Reduce = "trace",
    by: str | None = None,
    method: str = "auto",
    max_bytes: int | None = None,
    accumulate: str = "native",
    block: int | None = None,
) -> BlockKernel | dict[str, BlockKernel]:
    """Start the kernel of :func:`empirical_ntk` on a cluster, in blocks that stay there.

    Args:
        model: as in :func:`empirical_ntk`; it travels to the workers by cloudpickle, once.
        x1: N1 examples.
        x2: N2 examples, or None for ``x1`` again.
        client: from :func:`connect`.
        reduce: as there, but for ``"full"``, which is no matrix: take ``"flat"``.
        by: as there; the blocks of all groups are computed together.
        method: as there.
        max_bytes: peak extra memory of one block's computation; by default half of what Dask grants a worker, a thread.
        accumulate: as there.
        block: examples a side of a block; by default four blocks a worker at least, and no more than 64 MB each.

    Returns:
        BlockKernel, or a dict of them by group, at once: the blocks follow in the background.

    Raises:
        The errors of :func:`empirical_ntk`, the ones about model and inputs before anything is sent;
        ValueError: ``reduce="full"``, or a block below 1.

    Example:
        >>> from entk_tutorial.distributed import connect
        >>> layer, x = torch.nn.Linear(2, 3, bias=False), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        >>> with connect(1) as client:
        ...     kernel_blocks(layer, x, client=client, block=1).to_dense()      # 3 x.x'
        tensor([[15., 33.],
                [33., 75.]])

    Chapter: book/beyond/scaling-up.
    """
    import cloudpickle  # comes with distributed

    if reduce == "full":
        raise ValueError("reduce='full' has four axes and no blocks; take reduce='flat', the same numbers as a matrix.")
    fn, a, b, reduction = _prepare(model, x1, x2, reduce)
    outputs = len(reduction.left) if reduce == "flat" else 1
    symmetric = b is None and reduction.symmetric
    second = a if b is None else b
    number, share = _workers(client)
    size = torch.finfo(fn.dtype).bits // 8
    if block is None:
        most = max(1, int((_BLOCK_BYTES / size) ** 0.5) // outputs)
        block = min(most, max(1, math.ceil(max(a.n, second.n) / (2 * number))))
    if block < 1:
        raise ValueError(f"block={block}; at least one example a block is needed.")
    options = {"reduce": reduce, "by": by, "method": method, "accumulate": accumulate, "max_bytes": max_bytes or share}
    starts = [_starts(n, block) for n in (a.n, second.n)]
    with _large_graphs_allowed():
        held = client.submit(_hold, cloudpickle.dumps(model), pure=False)
        runs = [
            [client.submit(_hold, cloudpickle.dumps(x.rows(slice(i, j)).copy()), pure=False) for i, j in _spans(cuts)]
            for x, cuts in zip((a, second), starts, strict=True)
        ]
        tables = {
            (i, j): client.submit(_block, held, first, None if b is None and i == j else other, options, pure=False)
            for i, first in enumerate(runs[0])
            for j, other in enumerate(runs[0] if b is None else runs[1])
            if not symmetric or i <= j
        }
    cuts = [tuple(outputs * c for c in row) for row in starts]

    def one(blocks: dict[Key, Future]) -> BlockKernel:
        return BlockKernel(blocks, cuts[0], cuts[1], symmetric, fn.dtype, client)

    if by is None:
        return one(tables)
    groups = sorted({fn.layer_of(name) if by == "layer" else name for name in fn.params})
    return {g: one({k: client.submit(dict.get, table, g, pure=False) for k, table in tables.items()}) for g in groups}


def finished(tasks: Any, *, progress: bool = False) -> Iterator[tuple[Future, Any]]:
    """Futures with their results as they come.

    Raises:
        BackendError: a task whose workers died again and again, or that was cancelled with its cluster. Errors of the
            task itself come as they are.
    """
    from distributed import as_completed
    from distributed.client import FutureCancelledError
    from distributed.scheduler import KilledWorker

    futures = list(tasks)
    try:
        for future in tqdm(as_completed(futures), total=len(futures), desc="blocks", disable=not progress, leave=False):
            yield future, future.result()
    except KilledWorker as error:
        raise BackendError(
            f"a block was given up after its workers died several times: {error}. Memory is the usual cause: take a "
            "smaller block=, a smaller max_bytes=, or workers with more memory."
        ) from error
    except FutureCancelledError as error:
        raise BackendError(
            f"the cluster dropped a block ({error}): was the client closed, or the scheduler restarted? Start again."
        ) from error


def _hold(value: Any) -> Any:
    """Keeps a value as the result of a task: unlike scattered data it comes back when its worker is lost."""
    return value


@lru_cache(maxsize=8)
def _loaded(payload: bytes) -> Any:
    """A model or inputs, from the bytes they came as.

    Dask would take a module apart by a way of its own and lose what torch's hooks need; so it gets bytes.
    """
    import cloudpickle  # comes with distributed

    return cloudpickle.loads(payload)


def _block(model: bytes, x1: bytes, x2: bytes | None, options: dict[str, Any]) -> Any:
    torch.set_num_threads(1)  # a worker is one of several on its machine
    kernel = empirical_ntk(_loaded(model), _loaded(x1), None if x2 is None else _loaded(x2), **options)
    if isinstance(kernel, dict):
        return {name: part.cpu().numpy() for name, part in kernel.items()}
    return kernel.cpu().numpy()


def _times(block: np.ndarray, q: np.ndarray, transposed: bool) -> np.ndarray:
    out: np.ndarray = (block.T if transposed else block).astype(np.float64, copy=False) @ q
    return out


def _workers(client: Client) -> tuple[int, int]:
    """How many threads work, and the bytes that each may take."""
    workers = client.scheduler_info(n_workers=-1)["workers"].values()
    shares = [_SHARE * w["memory_limit"] / w["nthreads"] for w in workers if w["memory_limit"]]
    return max(1, sum(w["nthreads"] for w in workers)), int(
        min(shares, default=memory_limit(None, torch.device("cpu")))
    )


def _starts(n: int, block: int) -> list[int]:
    return [*range(0, n, block), n]


def _spans(cuts: Any) -> list[tuple[int, int]]:
    return list(pairwise(cuts))


@contextmanager
def _large_graphs_allowed() -> Iterator[None]:
    """Dask advises to scatter what is large. Scattered data is lost with its worker; the scheduler's copy is not."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
        yield


def gathered_ntk(
    model: nn.Module | ModelFunction,
    x1: RawInputs,
    x2: RawInputs | None,
    backend: Backend,
    *,
    progress: bool,
    **options: Any,
) -> Tensor | dict[str, Tensor]:
    """What ``empirical_ntk(..., backend=...)`` returns: the blocks, brought here. Options as there."""
    full = options["reduce"] == "full"
    with connect(backend) as client:
        kernels = kernel_blocks(model, x1, x2, client=client, **(options | {"reduce": "flat"} if full else options))
        tables = kernels if isinstance(kernels, dict) else {"": kernels}
        device = _prepare(model, x1, x2, "trace")[0].device
        found = {g: k.to_dense(progress=progress).to(device) for g, k in tables.items()}
    if full:
        n1, n2 = Inputs(x1, "x1").n, Inputs(x1 if x2 is None else x2, "x2").n
        found = {g: k.reshape(n1, len(k) // n1, n2, -1).permute(0, 2, 1, 3).contiguous() for g, k in found.items()}
    return found if isinstance(kernels, dict) else found[""]
