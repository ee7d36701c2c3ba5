r"""Store a number in a notebook so that the text around it can quote it.

A number typed into prose goes stale the day the code changes. A chapter therefore stores the number where it is
computed, ``glue("sum-overlap", overlap.mean(), fmt=".1f")``, and its text quotes it by name with the role
``{glue:text}``. The built book takes the value from the notebook's stored output.
"""

import math

from IPython.display import display

_PREFIX = "application/papermill.record/"  # the mime prefix under which myst-nb looks for quoted values


def glue(name: str, value: object, fmt: str = ".2f") -> None:
    """Store ``value``, formatted, under ``name`` in the output of the current cell. The cell shows nothing.

    Only IPython is needed to run this; the book's builder reads the stored output.

    Args:
        name: what the text calls it, e.g. ``sum-overlap``. Unique in the notebook; letters, digits, ``-`` and ``_``.
        value: a number, a tensor or array with one entry, or a string. A string is stored as it is.
        fmt: a format specification for a number, e.g. ``".2f"``, ``".3g"``, ``"+.1%"``, ``"d"``.

    Raises:
        ValueError: if ``name`` holds other characters, or ``value`` is not one finite number or a string.

    Example:
        >>> glue("sum overlap", 26.4)
        Traceback (most recent call last):
        ValueError: the name 'sum overlap' has characters other than letters, digits, '-' and '_': choose another
    """
    if not name or not all(c.isalnum() or c in "-_" for c in name):
        raise ValueError(f"the name {name!r} has characters other than letters, digits, '-' and '_': choose another")
    # The text is stored with its quotes: without them the builder would read "0.50" as a number and show 0.5.
    display(
        {_PREFIX + "text/plain": repr(formatted(value, fmt))},
        raw=True,
        metadata={"scrapbook": {"name": name, "mime_prefix": _PREFIX}},
    )


def formatted(value: object, fmt: str = ".2f") -> str:
    """``value`` as the text shows it: with a true minus sign, and never a negative zero.

    Args:
        value: a number, a tensor or array with one entry, or a string (returned unchanged).
        fmt: a format specification for a number.

    Raises:
        ValueError: if ``value`` is not one finite number or a string.

    Example:
        >>> formatted(27.566, ".1f"), formatted(-0.25), formatted(-0.001), formatted("yes")
        ('27.6', '−0.25', '0.00', 'yes')
    """
    if isinstance(value, str):
        return value
    item = getattr(value, "item", None)
    if item is not None:
        try:
            value = item()
        except (RuntimeError, ValueError) as error:
            raise ValueError(f"found a {type(value).__name__} that is not one number: reduce it first") from error
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"found a {type(value).__name__}; expected one number or a string")
    if not math.isfinite(value):
        raise ValueError(f"found {value}; a number quoted in the text must be finite: look at what computed it")
    text = format(value, fmt)
    if not text.startswith("-"):
        return text
    is_zero = not any(digit in text for digit in "123456789")
    return text[1:] if is_zero else "\N{MINUS SIGN}" + text[1:]


def mean_spread(values: object, digits: int = 2) -> str:
    """Mean over seeds and, behind ±, their sample standard deviation, as the text quotes them.

    Args:
        values: one number a seed, at least two.
        digits: decimals.

    Raises:
        ValueError: fewer than two values, or one that is not finite.

    Example:
        >>> mean_spread([26.0, 27.0], 1)
        '26.5 ± 0.7'
    """
    numbers = [float(v) for v in values]  # type: ignore[attr-defined]
    if len(numbers) < 2:
        raise ValueError(f"found {len(numbers)} value; a spread needs at least two seeds")
    mean = math.fsum(numbers) / len(numbers)
    spread = math.sqrt(math.fsum((v - mean) ** 2 for v in numbers) / (len(numbers) - 1))
    return f"{formatted(mean, f'.{digits}f')} ± {formatted(spread, f'.{digits}f')}"
