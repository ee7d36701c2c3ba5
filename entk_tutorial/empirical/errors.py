"""Errors a user of the empirical kernel can meet, each with its cause and its cure in the message."""

from __future__ import annotations


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
