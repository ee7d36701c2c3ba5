"""Reaching workers: a cluster the user has, or one of local processes; and what can be wrong with it."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from distributed import Client

Backend: TypeAlias = "Client | str | int"
"""A Dask client; ``"local"``; a number of local worker processes; or the address of a scheduler."""

_PACKAGE = "entk_tutorial"
_EXTRA = 'pip install "entk-tutorial[distributed]"'
SECONDS = 10.0
"""How long a scheduler, and the first worker, may take to answer."""


class BackendError(ConnectionError):
    """The cluster cannot do the work: it does not answer, its workers lack the package, or they keep dying."""


@contextmanager
def connect(backend: Backend, *, timeout: float = SECONDS) -> Iterator[Client]:
    """A Dask client whose workers have this package at this version.

    Args:
        backend: a ``distributed.Client``, used as it is and left open; ``"local"``, a process for each processor of
            this machine; a number of local processes; or an address such as ``"tcp://10.0.0.5:8786"``. What is
            started here is shut down at the end.
        timeout: seconds to wait for the scheduler, and for a first worker.

    Yields:
        distributed.Client: with at least one worker.

    Raises:
        BackendError: ``distributed`` is not installed; the scheduler does not answer, or no worker joins it within
            ``timeout``; a worker has no ``entk_tutorial``, or another version of it.
        ValueError: a backend that is none of the above.

    Local processes are started anew, not forked: a script that does so needs ``if __name__ == "__main__":`` around its
    calls, as with Python's own multiprocessing. Workers exchange Python objects by pickle, Dask's way: connect to
    schedulers you trust only.

    Example:
        >>> with connect(1) as client:
        ...     client.submit(sum, [1, 2, 3]).result()
        6

    Chapter: book/beyond/scaling-up.
    """
    distributed = _distributed()
    if isinstance(backend, distributed.Client):
        _check_workers(backend, timeout)
        yield backend
        return
    if isinstance(backend, bool) or not isinstance(backend, str | int) or backend in ("", 0):
        raise ValueError(
            f"backend={backend!r}; expected a distributed.Client, 'local', a number of processes from 1 on, or the "
            "address of a scheduler such as 'tcp://10.0.0.5:8786'."
        )
    if backend == "local" or isinstance(backend, int):
        number = (os.cpu_count() or 1) if backend == "local" else int(backend)
        if number < 1:
            raise ValueError(f"{number} local processes; at least 1 is needed.")
        cluster = distributed.LocalCluster(
            n_workers=number,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,  # a task's error comes back as an exception; once is enough
        )
        with cluster, distributed.Client(cluster) as client:
            _check_workers(client, max(timeout, 6 * SECONDS))  # processes that import torch need a while
            yield client
        return
    with _dial(distributed, str(backend), timeout) as client:
        _check_workers(client, timeout)
        yield client


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise BackendError(f"work on several processes needs Dask's 'distributed': {_EXTRA}.") from error
    return distributed


def _dial(distributed: Any, address: str, timeout: float) -> Any:
    try:
        return distributed.Client(address, timeout=timeout)
    except (OSError, TimeoutError, ValueError) as error:
        raise BackendError(
            f"no scheduler answered at {address} within {timeout:g} s ({type(error).__name__}: {error}). Check the "
            "address and port, that `dask scheduler` runs there, and that no firewall lies between."
        ) from error


def _check_workers(client: Client, timeout: float) -> None:
    """At least one worker, each with this package at this version."""
    try:
        client.wait_for_workers(1, timeout=timeout)
    except TimeoutError as error:
        raise BackendError(
            f"the scheduler at {_address(client)} answers, but no worker joined it within {timeout:g} s. Start some: "
            f"dask worker {_address(client)} --nworkers 2 --nthreads 1"
        ) from error
    specs = client.run(importlib.util.find_spec, _PACKAGE)  # of the standard library: ours may be missing there
    lacking = sorted(worker for worker, found in specs.items() if not found)
    if lacking:
        raise BackendError(
            f"{len(lacking)} of {len(specs)} workers have no {_PACKAGE}: {', '.join(lacking[:5])}. Install it there, "
            f"into the environment that the workers run in: {_EXTRA}"
        )
    own = _version()
    other = {worker: version for worker, version in client.run(_version).items() if version != own}
    if other:
        found = ", ".join(f"{worker} has {version}" for worker, version in sorted(other.items())[:5])
        raise BackendError(f"this process has {_PACKAGE} {own}; {found}. Install the same version everywhere.")


def _version() -> str:
    return str(importlib.import_module(_PACKAGE).__version__)


def _address(client: Client) -> str:
    return str(client.scheduler_info()["address"])
