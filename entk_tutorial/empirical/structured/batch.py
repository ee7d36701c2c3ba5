"""Which axis of a tensor counts the examples: seen by running the model on two examples, then on three.

Models move the batch axis about: attention of ``torch.nn`` works with time first, a video model folds frames into the
batch, ``addmm`` wants a matrix. The axis whose length follows the number of examples is the batch, whatever its
position and whatever other axes happen to have the same length.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


class UnclearBatchError(ValueError):
    """No single axis follows the number of examples."""


class UnseenError(ValueError):
    """The operation gave no tensor with fewer examples: a size, a flag, an assignment."""


def tensors_in(value: Any) -> Iterable[Tensor]:
    """Tensors anywhere in nested tuples, lists and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(tuple(value.values()))


@dataclass(frozen=True)
class BatchAxis:
    """An axis of length N * times.

    Attributes:
        axis: its position.
        times: how many entries an example has there; more than one where another axis was folded in.
        minor: whether the examples change fastest along it.
    """

    axis: int
    times: int = 1
    minor: bool = False

    def __str__(self) -> str:
        """Words for the description of a rule; empty for the ordinary case."""
        if self == BatchAxis(0):
            return ""
        folded = "" if self.times == 1 else ", folded and fastest" if self.minor else ", folded"
        return f", batch on axis {self.axis}{folded}"

    def front(self, tensor: Tensor, n: int) -> Tensor:
        """(N, times, other axes in their order)."""
        sizes = (self.times, n) if self.minor else (n, self.times)
        apart = tensor.unflatten(self.axis, sizes)
        return apart.movedim((self.axis + self.minor, self.axis + 1 - self.minor), (0, 1))


def batch_axis(two: Tensor, three: Tensor) -> BatchAxis | None:
    """The batch axis of one tensor in runs of two and of three examples; None if it has none.

    Raises:
        UnclearBatchError: if several axes follow the batch, or one does so in another way.

    Example:
        >>> batch_axis(torch.zeros(5, 2), torch.zeros(5, 3))
        BatchAxis(axis=1, times=1, minor=False)
    """
    if two.shape == three.shape:
        return None
    changed = _changed(two.shape, three.shape)
    times, rest = divmod(two.shape[changed], 2)
    if rest or times * 3 != three.shape[changed]:
        raise UnclearBatchError(f"an axis has length {two.shape[changed]} for 2 examples, {three.shape[changed]} for 3")
    major, minor = BatchAxis(changed, times), BatchAxis(changed, times, True)
    if times == 1 or _same(major, two, three) or not _same(minor, two, three):
        return major
    return minor


def _changed(two: Sequence[int], three: Sequence[int]) -> int:
    axes = [i for i, (a, b) in enumerate(zip(two, three, strict=False)) if a != b]
    if len(two) != len(three) or len(axes) != 1:
        raise UnclearBatchError(f"shapes {tuple(two)} for 2 examples and {tuple(three)} for 3")
    return axes[0]


def _same(where: BatchAxis, two: Tensor, three: Tensor) -> bool:
    """Whether the first two examples have the same entries in both runs, if the axis is read like this."""
    a, b = where.front(two, 2), where.front(three, 3)[:2]
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    return bool(torch.allclose(a, b, rtol=1e-3, atol=1e-6, equal_nan=True))
