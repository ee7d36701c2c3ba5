r"""Memory before work: how many examples a tile may hold, and whether the kernel fits at all."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from entk_tutorial.empirical.errors import MemoryPlanError

FRACTION = 0.5
"""Share of the free memory that a kernel may take if ``max_bytes`` is not given."""
LARGEST_TILE = 2048
"""More examples in one pass are not faster."""
TWICE = 8 * 2**30
"""So many bytes of working memory count as taking twice the time."""


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
class ParameterPlan:
    """One parameter's share of the work.

    Attributes:
        name: of the parameter.
        way: ``"shared factor"``, ``"tokens"`` (products of token Grams), ``"rows"`` (one output's gradients written
            down) or ``"Jacobian"``.
        by_rule: multiply-adds of the products by rule; None if it has none.
        by_jacobian: multiply-adds of per-example Jacobians, written down from the same cotangents, and their products.
        kept_by_rule: bytes kept for one example and all outputs: inputs and cotangents; None if it has no rule.
        kept_by_jacobian: bytes of one example's Jacobian.
    """

    name: str
    way: str
    by_rule: int | None
    by_jacobian: int
    kept_by_rule: int | None
    kept_by_jacobian: int

    @property
    def operations(self) -> int:
        """Multiply-adds of the way that is taken."""
        return self.by_jacobian if self.by_rule is None else self.by_rule


@dataclass(frozen=True)
class Plan:
    """What will be allocated, decided before it is.

    Attributes:
        structured: parameters that go by rule, name -> kind.
        general: parameters that go by Jacobian.
        tile: examples that are run through the model together.
        classes: projected outputs whose cotangents are held together.
        hold: whether the tiles of all examples are kept while they are needed, or worked out again for each pair.
        result_bytes: the result itself, all groups together.
        tile_bytes: working memory.
        limit: bytes allowed.
        parameters: what each parameter costs, by rule and by Jacobian.
    """

    structured: dict[str, str]
    general: tuple[str, ...]
    tile: int
    classes: int
    hold: bool
    result_bytes: int
    tile_bytes: int
    limit: int
    parameters: tuple[ParameterPlan, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Peak extra memory expected."""
        return self.result_bytes + self.tile_bytes

    @property
    def operations(self) -> int:
        """Multiply-adds of all products, as they will be done."""
        return sum(part.operations for part in self.parameters)

    @property
    def jacobian_operations(self) -> int:
        """Multiply-adds of all products, if all parameters went by Jacobian."""
        return sum(part.by_jacobian for part in self.parameters)

    def __str__(self) -> str:
        """A table of parameters, then one line a fact."""
        width = max([len("parameter"), *(len(part.name) for part in self.parameters)])
        lines = [
            f"{'parameter':{width}}  {'way':13}  {'operations':>10}  {'Jacobian':>10}  {'kept':>9}  {'Jacobian':>9}"
        ]
        for part in self.parameters:
            kept = part.kept_by_jacobian if part.kept_by_rule is None else part.kept_by_rule
            lines.append(
                f"{part.name:{width}}  {part.way:13}  {counted(part.operations):>10}  {counted(part.by_jacobian):>10}  "
                f"{readable(kept):>9}  {readable(part.kept_by_jacobian):>9}"
            )
        lines.append(
            f"{'all':{width}}  {'':13}  {counted(self.operations):>10}  {counted(self.jacobian_operations):>10}"
        )
        again = "tiles are kept" if self.hold else "tiles are worked out again for each pair"
        return "\n".join(
            [
                *lines,
                f"by rule: {', '.join(self.structured) or 'none'}",
                f"by Jacobian: {', '.join(self.general) or 'none'}",
                f"tiles of {self.tile} examples and {self.classes} outputs; {again}",
                f"result {readable(self.result_bytes)}, work {readable(self.tile_bytes)}, limit {readable(self.limit)}",
            ]
        )


def counted(operations: float) -> str:
    """A number of operations for people.

    Example:
        >>> counted(12_345), counted(6_200_000_000_000)
        ('12.3 k', '6.2 T')
    """
    exponent = max(0, min(5, int(math.log10(max(operations, 1)) // 3)))
    return f"{operations / 1000**exponent:.{1 if exponent else 0}f} {('', 'k', 'M', 'G', 'T', 'P')[exponent]}".strip()


def readable(n_bytes: float) -> str:
    """Bytes for people, in powers of 1024.

    Example:
        >>> readable(3 * 2**30)
        '3.0 GiB'
    """
    exponent = min(4, int(math.log2(max(n_bytes, 1)) // 10))
    return f"{n_bytes / 2 ** (10 * exponent):.1f} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[exponent]}"


@dataclass(frozen=True)
class Demand:
    """What a kernel asks of memory and time, in elements and multiply-adds; sizes are of one example unless said.

    Attributes:
        n1: first inputs.
        n2: second inputs.
        classes: projected outputs.
        paired: whether classes are summed over.
        one_side: whether both sides are the same tiles.
        always: kept whatever the classes: inputs of layers, factors without class axis.
        per_class: kept for each class: cotangents, Jacobians.
        passing: needed while a tile is worked out, whatever the classes.
        passing_per_class: likewise, for each class.
        written: gradients written down by a rule.
        token_pairs: entries of a token Gram for a pair of examples.
        token_gram_limit: entries of a token Gram that are made at once, if one example leaves a choice.
        panel: rows of a product that are made at once.
        pass_operations: multiply-adds of one reverse pass.
        product_operations: multiply-adds of all products.
        repeated: multiply-adds for a pair of examples that each chunk of classes does again.
        size: bytes of an element.
        result_bytes: the result, all groups together.
        copy_bytes: a second result, in another order or dtype, when all else is gone.
    """

    n1: int
    n2: int
    classes: int
    paired: bool
    one_side: bool
    always: int
    per_class: int
    passing: int
    passing_per_class: int
    written: int
    token_pairs: int
    token_gram_limit: int
    panel: int
    pass_operations: int
    product_operations: int
    repeated: int
    size: int
    result_bytes: int
    copy_bytes: int

    def bytes(self, tile: int, classes: int, *, hold: bool) -> int:
        """Working memory with tiles of so many examples and classes."""
        held = self.classes if hold and not self.paired else classes
        kept = self.always + held * self.per_class
        examples = (self.n1 if self.one_side else self.n1 + self.n2) if hold else 2 * min(tile, max(self.n1, self.n2))
        making = tile * (self.passing + classes * self.passing_per_class)
        columns = min(tile, self.n2)
        if self.paired:
            panel = min(self.panel, tile)
            gram = min(panel * columns * self.token_pairs, max(self.token_gram_limit, columns * self.token_pairs))
            products = 2 * panel * columns + 2 * gram + 2 * tile * self.written
        else:
            products = 3 * tile * columns * classes * classes + 2 * tile * classes * self.written
        return max(self.size * (examples * kept + max(making, products)), self.copy_bytes)

    def operations(self, tile: int, classes: int, *, hold: bool) -> float:
        """Multiply-adds of passes and products, and of what chunks of classes repeat; a call counts as 10^7."""
        first, second = -(-self.n1 // tile), -(-self.n2 // tile)
        chunks = -(-self.classes // classes)
        if hold:
            examples, tiles = (self.n1, first) if self.one_side else (self.n1 + self.n2, first + second)
        else:
            pairs = first * (first + 1) // 2 if self.one_side else first * second
            if not self.paired:
                pairs *= chunks
            examples, tiles = self.n1 + pairs * min(tile, self.n2), first + pairs
        passes = examples * (self.classes + chunks) * self.pass_operations + 1e7 * tiles * (self.classes + 3 * chunks)
        products = self.product_operations * (1 + 64 / tile)  # small products run slower
        return passes + products + (chunks - 1) * self.repeated * self.n1 * self.n2

    def halvings(self) -> Iterator[tuple[int, int, bool]]:
        """Tiles, chunks of classes, and whether tiles are kept: what there is to choose from."""
        n = max(self.n1, self.n2)
        tiles = _halved(n) if n <= LARGEST_TILE else _halved(-(-n // -(-n // LARGEST_TILE)))
        for hold in (True, False):
            for classes in _halved(self.classes):
                for tile in tiles:
                    yield tile, classes, hold


def _halved(n: int) -> list[int]:
    """n, half of it, and so on to 1, rounded up."""
    found = [n]
    while found[-1] > 1:
        found.append((found[-1] + 1) // 2)
    return found


def fit_tiles(demand: Demand, *, max_bytes: int | None, device: torch.device) -> tuple[int, int, bool, int, int]:
    """Tile, chunk of classes, whether tiles are kept, working memory, and the limit.

    Of all that stay below the limit, the fastest is chosen; working memory counts as time. Nothing else depends on the
    limit: other tiles add up in another order, and what is free differs from run to run.

    Raises:
        MemoryPlanError: if the result alone, or a tile of one example and one class, exceeds the limit.
    """
    limit = memory_limit(max_bytes, device)
    least = demand.result_bytes + demand.bytes(1, 1, hold=False)
    if least > limit:
        raise MemoryPlanError(
            f"this kernel needs at least {readable(least)} (result {readable(demand.result_bytes)}), and "
            f"{readable(limit)} are allowed. Take fewer examples, a smaller reduction (reduce='trace' instead of "
            "'full'), by=None, or raise max_bytes."
        )
    fitting = [
        (demand.operations(tile, classes, hold=hold), needed, tile, classes, hold)
        for tile, classes, hold in demand.halvings()
        if demand.result_bytes + (needed := demand.bytes(tile, classes, hold=hold)) <= limit
    ]
    _, needed, tile, classes, hold = min(fitting, key=lambda choice: choice[0] * (1 + choice[1] / TWICE))
    return tile, classes, hold, needed, limit
