"""Kernels and experiments on several processes or machines, through Dask: the extra ``entk-tutorial[distributed]``."""

from entk_tutorial.distributed.blocks import BlockKernel, kernel_blocks
from entk_tutorial.distributed.cluster import Backend, BackendError, connect

__all__ = ["Backend", "BackendError", "BlockKernel", "connect", "kernel_blocks"]
