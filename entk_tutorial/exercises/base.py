"""What a check returns."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

WIDTH = 80
"""Columns at which a message wraps, so that it fits the page."""


@dataclass(frozen=True)
class Answer:
    """The verdict on a reader's answer.

    Attributes:
        right: whether it is right.
        message: if wrong, the likely mistake; if right, what it means.

    Example:
        >>> Answer(True, "The trace sums over classes.")
        Right. The trace sums over classes.
        >>> bool(Answer(False, "You divided by C."))
        False
    """

    right: bool
    message: str

    def __bool__(self) -> bool:
        """Whether the answer is right."""
        return self.right

    def __repr__(self) -> str:
        """What the reader sees."""
        return textwrap.fill(f"{'Right.' if self.right else 'Not yet.'} {self.message}", WIDTH)


def close(given: float, expected: float, tolerance: float = 1e-6) -> bool:
    """Whether two numbers agree to ``tolerance``, relative to the larger of 1 and the expected one.

    Example:
        >>> close(0.3333333, 1 / 3), close(0.33, 1 / 3)
        (True, False)
    """
    return abs(given - expected) <= tolerance * max(1.0, abs(expected))
