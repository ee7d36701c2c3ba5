"""From a data loader to one sample of inputs: labels set apart, drawn at random, padded to one length."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from entk_tutorial.empirical.errors import InputError

Key = str | int
T = TypeVar("T")
_LABEL_NAMES = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Sample:
    """Inputs drawn from a loader.

    Attributes:
        inputs: what the model takes: a tensor (n, ...), or a tuple or dict of tensors.
        labels: (n, ...) labels of the same examples; None if there are none.
        rows: (n,) where the examples stood in the loader's order, ascending.
        seen: how many examples the loader gave.
    """

    inputs: Tensor | tuple[Tensor, ...] | dict[str, Tensor]
    labels: Tensor | None
    rows: Tensor
    seen: int

    def pick(self, values: Iterable[T]) -> list[T]:
        """Of one value an example in the loader's order (texts, file names), those of the sample."""
        every = list(values)
        if len(every) != self.seen:
            raise ValueError(f"{len(every)} values for {self.seen} examples; one an example that the loader gave.")
        return [every[i] for i in self.rows.tolist()]


def gather(
    loader: Iterable[Any],
    n: int | None = None,
    *,
    labels: Key | bool | None = True,
    keep: Iterable[str] | None = None,
    pad: float | Mapping[str, float] | None = None,
    at_most: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Sample:
    """A random sample without replacement from a data loader, in one pass and with the memory of the sample.

    Every example has the same chance (reservoir sampling), whatever the batches and the order.

    Args:
        loader: yields batches: tensors (b, ...), or tuples, lists or dicts of them. A ``DataLoader``, or any iterable.
        n: how many examples; None, or more than there are, for all.
        labels: where a batch holds its labels: a position (-1 for the last) or a key; None or False for none. The
            default asks: a batch that may hold labels is refused, since nobody can guess.
        keep: keys of a dict batch to keep as inputs; None for all but the labels.
        pad: fills up the second axis where batches differ in length; one number, or one a key.
        at_most: stop after that many examples, for loaders that never end.
        seed: of the private generator.
        progress: show a bar over the batches on stderr.

    Raises:
        InputError: labels in doubt, entries that are no tensors, batches of different kinds or shapes, no example.
        ValueError: ``n`` or ``at_most`` below 1.

    Example:
        >>> batches = [(torch.arange(4.0)[:, None], torch.zeros(4)), (torch.arange(4.0, 6.0)[:, None], torch.ones(2))]
        >>> drawn = gather(batches, 3, labels=-1)
        >>> drawn.inputs.shape, drawn.labels.shape, drawn.seen
        (torch.Size([3, 1]), torch.Size([3]), 6)

    Chapter: book/beyond/your-own-model
    """
    for name, value in (("n", n), ("at_most", at_most)):
        if value is not None and value < 1:
            raise ValueError(f"{name}={value}; a positive number of examples is expected, or None for all.")
    wanted = None if keep is None else tuple(keep)
    labels = None if labels is False else labels
    generator = torch.Generator().manual_seed(seed)
    kept: list[tuple[int, dict[Key, Tensor]]] = []
    shape: tuple[Any, ...] | None = None
    seen = 0
    for batch in tqdm(loader, desc="batches", disable=not progress, leave=False):
        parts, kind = _parts(batch, labels, wanted)
        if shape is not None and (kind, tuple(parts)) != shape:
            raise InputError(f"a batch holds {kind} {list(parts)}, an earlier one {shape[0]} {list(shape[1])}.")
        shape = (kind, tuple(parts))
        size = _common_size(parts)
        for row in range(size if at_most is None else min(size, at_most - seen)):
            place = len(kept) if n is None or seen < n else int(torch.randint(seen + 1, (1,), generator=generator))
            if n is None or place < n:
                example = (seen, {key: t[row].detach().clone() for key, t in parts.items()})
                if place == len(kept):
                    kept.append(example)
                else:
                    kept[place] = example
            seen += 1
        if at_most is not None and seen >= at_most:
            break
    if not kept or shape is None:
        raise InputError("the loader gave no example; a generator that was read before gives none the second time.")
    kept.sort(key=lambda example: example[0])
    rows = torch.tensor([row for row, _ in kept])
    stacked = {key: _stack([example[key] for _, example in kept], key, pad) for key in shape[1]}
    target = stacked.pop("__labels__", None)
    inputs: Any = dict(stacked) if shape[0] == "dict" else tuple(stacked.values())
    return Sample(inputs[0] if shape[0] != "dict" and len(inputs) == 1 else inputs, target, rows, seen)


def _parts(batch: Any, labels: Key | bool | None, keep: tuple[str, ...] | None) -> tuple[dict[Key, Tensor], str]:
    """Tensors of a batch by key or position, the labels last under ``__labels__``; and what kind of batch it was."""
    if isinstance(batch, Tensor):
        if labels is not True and labels is not None:
            raise InputError(f"labels={labels!r}, but the batch is one tensor: it holds no labels. Pass labels=None.")
        return {0: batch}, "tensor"
    if isinstance(batch, Mapping):
        entries: dict[Key, Any] = dict(batch)
        suspects = [k for k in entries if str(k) in _LABEL_NAMES and (keep is None or k not in keep)]
        kind = "dict"
    elif isinstance(batch, tuple | list):
        entries = dict(enumerate(batch))
        suspects = list(entries) if len(entries) > 1 else []
        kind = "tuple"
    else:
        raise InputError(f"a batch is a {type(batch).__name__}; a tensor, or a tuple or dict of tensors is expected.")
    if labels is True and suspects:
        said = f"keys {list(entries)}" if kind == "dict" else f"{len(entries)} entries"
        example = repr(suspects[0]) if kind == "dict" else "-1"
        raise InputError(
            f"a batch has {said}: which of them are labels? Pass labels={example} (they are set apart and not given to "
            "the model), or labels=None if the model takes everything."
        )
    target: Any = None
    if labels is not True and labels is not None:
        where = labels % len(entries) if isinstance(labels, int) and kind == "tuple" else labels
        if where not in entries:
            raise InputError(f"labels={labels!r} is not in the batch, which has {list(entries)}.")
        target = entries.pop(where)
    if keep is not None:
        missing = [k for k in keep if k not in entries]
        if missing:
            raise InputError(f"keep={list(keep)}: the batch has no {missing}; it has {list(entries)}.")
        entries = {k: entries[k] for k in keep}
    if target is not None:
        entries["__labels__"] = target
    for key, value in entries.items():
        if not isinstance(value, Tensor) or value.ndim == 0:
            found = "a tensor without axes" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise InputError(
                f"entry {key!r} of a batch is {found}; tensors with one row an example are expected: name the entries "
                "to use with keep=(...), or convert it in the loader's collate_fn."
            )
    return entries, kind


def _common_size(parts: Mapping[Key, Tensor]) -> int:
    sizes = {key: len(t) for key, t in parts.items()}
    if len(set(sizes.values())) != 1:
        raise InputError(f"first axes of a batch differ ({sizes}); all must count the same examples.")
    return next(iter(sizes.values()))


def _stack(rows: list[Tensor], key: Key, pad: float | Mapping[str, float] | None) -> Tensor:
    shapes = {tuple(r.shape) for r in rows}
    if len(shapes) == 1:
        return torch.stack(rows)
    fill = pad.get(str(key)) if isinstance(pad, Mapping) else pad
    if fill is None or len({s[1:] for s in shapes}) > 1 or any(not s for s in shapes):
        longest = sorted(shapes)
        raise InputError(
            f"entry {key!r}: examples have shapes {longest[0]} to {longest[-1]}. Pass pad=number, or pad={{key: "
            "number}, to fill up the second axis (with the padding id, and 0 in the mask), or let the tokenizer pad to "
            "one length: padding='max_length'."
        )
    length = max(s[0] for s in shapes)
    out = rows[0].new_full((len(rows), length, *rows[0].shape[1:]), fill)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return out
