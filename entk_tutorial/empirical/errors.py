"""Errors a user of the empirical kernel can meet, each with its cause and its cure in the message."""

from __future__ import annotations

import sys
from pathlib import Path


class ModelError(ValueError):
    """The model cannot have a well-defined per-example tangent kernel as it stands."""


class InputError(ValueError):
    """The inputs do not fit: empty, ragged, on another device, or not finite."""


class MemoryPlanError(MemoryError):
    """The kernel does not fit into the memory allowed, whatever the tiles.

    Raised before anything large is allocated. The message names the need, the limit and the cure.
    """


class FallbackWarning(UserWarning):
    """A slower, equally exact way was taken; the message says why."""


class RankWarning(UserWarning):
    """More eigenpairs were asked for than the kernel has; the last ones span its null space, in no order."""


class ResidualWarning(UserWarning):
    """Eigenpairs are further from being some than was asked for; the message says how many and how far."""


def users_line() -> int:
    """``stacklevel`` for a warning raised where this is called: the first frame outside of the package."""
    package = str(Path(__file__).resolve().parents[1])
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_code.co_filename.startswith(package):
        frame, level = frame.f_back, level + 1
    return level
