r"""Memory before work: how many examples a tile may hold, and whether the kernel fits at all."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import torch

from entk_tutorial.empirical.errors import MemoryPlanError

FRACTION = 0.5
"""Share of the free memory that a kernel may take if ``max_bytes`` is not given."""


def free_memory(device: torch.device) -> int:
    """Bytes that can be allocated on ``device`` now without swapping."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2)
    except (ValueError, OSError, AttributeError):
        return 4 * 2**30  # a platform that tells nothing: assume a small laptop


def memory_limit(max_bytes: int | None, device: torch.device) -> int:
    """Bytes that may be taken: what the caller allows, or a share of what is free."""
    if max_bytes is not None and (not isinstance(max_bytes, int | float) or max_bytes <= 0):
        raise ValueError(f"max_bytes={max_bytes!r}; a positive number of bytes is expected, or None.")
    return max_bytes if max_bytes is not None else int(FRACTION * free_memory(device))


@dataclass(frozen=True)
class Plan:
    """What will be allocated, decided before it is.

    Attributes:
        structured: parameters that go by rule, name -> kind.
        general: parameters that go by Jacobian.
        tile: examples a side of one tile.
        result_bytes: the result itself, all groups together.
        tile_bytes: working memory of one pair of tiles.
        limit: bytes allowed.
    """

    structured: dict[str, str]
    general: tuple[str, ...]
    tile: int
    result_bytes: int
    tile_bytes: int
    limit: int

    @property
    def total_bytes(self) -> int:
        """Peak extra memory expected."""
        return self.result_bytes + self.tile_bytes

    def __str__(self) -> str:
        """One line a fact."""
        return (
            f"by rule: {', '.join(self.structured) or 'none'}\nby Jacobian: {', '.join(self.general) or 'none'}\n"
            f"tiles of {self.tile} examples; result {readable(self.result_bytes)}, work {readable(self.tile_bytes)}, "
            f"limit {readable(self.limit)}"
        )


def readable(n_bytes: float) -> str:
    """Bytes for people, in powers of 1024.

    Example:
        >>> readable(3 * 2**30)
        '3.0 GiB'
    """
    exponent = min(4, int(math.log2(max(n_bytes, 1)) // 10))
    return f"{n_bytes / 2 ** (10 * exponent):.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[exponent]}"


def fit_tiles(
    *,
    structured: dict[str, str],
    general: tuple[str, ...],
    n: int,
    bytes_per_example: int,
    bytes_per_pair: int,
    result_bytes: int,
    copy_bytes: int = 0,
    max_bytes: int | None,
    bytes_per_token_gram: int = 0,
    token_gram_cap: int = 0,
    device: torch.device,
) -> Plan:
    """Largest tile that stays below the limit.

    ``copy_bytes`` is taken in passing by a result in another order than it was worked out. A token Gram takes
    ``bytes_per_token_gram`` a pair of examples, and is cut into blocks of ``token_gram_cap``.

    Raises:
        MemoryPlanError: if the result alone, or a tile of one example, exceeds the limit.
    """
    limit = memory_limit(max_bytes, device)

    def work(tile: int) -> int:
        gram = min(tile * tile * bytes_per_token_gram, max(token_gram_cap, tile * bytes_per_token_gram))
        return max(2 * tile * bytes_per_example + tile * tile * bytes_per_pair + gram, copy_bytes)

    if result_bytes + work(1) > limit:
        raise MemoryPlanError(
            f"this kernel needs at least {readable(result_bytes + work(1))} (result {readable(result_bytes)}), and "
            f"{readable(limit)} are allowed. Take fewer examples, a smaller reduction (reduce='trace' instead of "
            "'full'), by=None, or raise max_bytes."
        )
    tile = n
    while tile > 1 and result_bytes + work(tile) > limit:
        tile = (tile + 1) // 2
    return Plan(structured, general, tile, result_bytes, work(tile), limit)
