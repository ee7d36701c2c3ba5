"""What a check returns, and how it reads a number."""

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


def number(given: object) -> float:
    """The number that the reader gave, also as a tensor or array of one entry.

    Raises:
        ValueError: ``given`` is not one number: text, None, a truth value, or several numbers.

    Example:
        >>> number("36")
        Traceback (most recent call last):
        ValueError: give a number, found str
    """
    if isinstance(given, int | float) and not isinstance(given, bool):
        return float(given)
    item = getattr(given, "item", None)
    if item is None:
        raise ValueError(f"give a number, found {type(given).__name__}")
    try:
        value = item()
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"give one number, found {type(given).__name__} of several") from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"give a number, found {type(given).__name__} of {type(value).__name__}")
    return float(value)


def close(given: float, expected: float, tolerance: float = 1e-6) -> bool:
    """Whether two numbers agree to ``tolerance``, relative to the larger of 1 and the expected one.

    Raises:
        ValueError: ``given`` is not a number, see :func:`number`.

    Example:
        >>> close(0.3333333, 1 / 3), close(0.33, 1 / 3)
        (True, False)
    """
    return abs(number(given) - expected) <= tolerance * max(1.0, abs(expected))
