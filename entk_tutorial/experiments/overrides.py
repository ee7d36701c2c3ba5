"""What a user types, ``0-4`` or ``epochs=50``, as seeds and settings."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
import types
from collections.abc import Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

__all__ = ["override", "parse_seeds", "sweep_configs"]


def parse_seeds(text: str) -> list[int]:
    """Seeds written as numbers and ranges, both ends included.

    Raises:
        ValueError: if a part is neither, or a range runs backwards.

    Example:
        >>> parse_seeds("0-2,7")
        [0, 1, 2, 7]
    """
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if match is None:
            raise ValueError(
                f"seeds {text!r}: {part!r} is neither a number nor a range. Write 0-4, or 0,2,5, or 0-2,7."
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise ValueError(f"seeds {text!r}: the range {part!r} runs backwards. Write {last}-{first}.")
        seeds.extend(range(first, last + 1))
    return seeds


def override(config: Any, items: Sequence[str]) -> Any:
    """A copy of a config with some fields set from ``key=value`` texts, each read by the type of its field.

    Raises:
        ValueError: for an item without "=", an unknown key (the nearest names are listed), a key given twice, a
            value that does not fit the field's type, or one that the config itself refuses.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     p: int = 29
        ...     rates: tuple[float, ...] = (0.1,)
        >>> override(Config(), ["p=7", "rates=0.5,1"])
        Config(p=7, rates=(0.5, 1.0))
    """
    hints = get_type_hints(type(config))
    fields = {f.name: hints[f.name] for f in dataclasses.fields(config) if f.init}
    values: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        key = key.strip().replace("-", "_")
        if not equals:
            raise ValueError(f"{item!r} is not key=value, e.g. {next(iter(fields), 'key')}=1.")
        if key not in fields:
            near = difflib.get_close_matches(key, fields, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(fields)}."
            raise ValueError(f"this experiment has no setting {key!r}: {hint}")
        if key in values:
            raise ValueError(f"setting {key!r} is given twice.")
        values[key] = _parse(text.strip(), fields[key], key)
    return dataclasses.replace(config, **values)


def sweep_configs(config: Any, items: Sequence[str]) -> dict[str, Any]:
    """All combinations of several values of some settings: label -> config; the config alone, unlabelled, for none.

    Args:
        config: where the other settings come from.
        items: texts ``key=a;b;c``. Values are parted by semicolons, since a tuple has commas.

    Raises:
        ValueError: as :func:`override`; an item without values, a value given twice.

    Example:
        >>> @dataclasses.dataclass(frozen=True)
        ... class Config:
        ...     p: int = 29
        ...     rates: tuple[float, ...] = (0.1,)
        >>> list(sweep_configs(Config(), ["p=5;7", "rates=0.5,1;2"]))
        ['p=5,rates=0.5-1', 'p=5,rates=2', 'p=7,rates=0.5-1', 'p=7,rates=2']
    """
    choices: list[list[str]] = []
    for item in items:
        key, equals, text = item.partition("=")
        values = [value.strip() for value in text.split(";")]
        if not equals or not all(values) or len(set(values)) < len(values):
            raise ValueError(f"--sweep {item!r}: write key=a;b;c with distinct values, in quotes for the shell.")
        choices.append([f"{key.strip()}={value}" for value in values])
    found = {
        ",".join(part.replace(",", "-").replace("/", "-") for part in chosen): override(config, chosen)
        for chosen in itertools.product(*choices)
    }
    if len(found) < len(list(itertools.product(*choices))):
        raise ValueError("--sweep: two combinations of values have the same label; run them one by one with --set.")
    return found


_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def _parse(text: str, kind: Any, key: str) -> Any:
    """Read a text as a value of an annotated type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if type(None) in arguments and text.lower() in ("none", ""):
            return None
        return _first_that_fits(text, [a for a in arguments if a is not type(None)], kind, key)
    if origin is Literal:
        matches = [choice for choice in arguments if str(choice) == text]
        if not matches:
            raise ValueError(f"{key}={text}: choose one of {', '.join(map(str, arguments))}.")
        return matches[0]
    if origin in (tuple, list):
        inner = arguments[0] if arguments else str
        parts = [part.strip() for part in text.strip("()[]").split(",") if part.strip()]
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(parts) != len(arguments):
                raise ValueError(
                    f"{key}={text}: {len(arguments)} values are needed, with commas between; found {len(parts)}."
                )
            return tuple(_parse(part, each, key) for part, each in zip(parts, arguments, strict=True))
        return origin(_parse(part, inner, key) for part in parts)
    if kind is bool:
        if text.lower() not in _BOOLEANS:
            raise ValueError(f"{key}={text}: write true or false.")
        return _BOOLEANS[text.lower()]
    if kind in (int, float, str):
        try:
            return kind(text)
        except ValueError as error:
            raise ValueError(f"{key}={text}: a value of type {kind.__name__} is needed.") from error
    raise ValueError(f"{key} has type {kind}, which cannot be set from a text: set it in Python.")


def _first_that_fits(text: str, kinds: Sequence[Any], whole: Any, key: str) -> Any:
    for kind in kinds:
        try:
            return _parse(text, kind, key)
        except ValueError:
            continue
    raise ValueError(f"{key}={text}: a value of type {whole} is needed.")
