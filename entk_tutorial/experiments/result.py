"""What one seed yields, and the result that stacks the seeds; how both are checked, rounded and written as JSON."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

__all__ = ["Finished", "Result", "SeedRecord", "checked_record", "encode"]

DIGITS = (
    10  # significant digits kept of every number: far below any tolerance, and diffs of stored results stay readable
)


@dataclass(frozen=True)
class SeedRecord:
    """What one seed yields.

    Attributes:
        metrics: one number a name.
        controls: control name -> the metrics of that control for the same seed, e.g. "untrained".
        series: curves by name: lists (of lists) of numbers.
        arrays: tensors that figures need; kept in memory for the first seed only, never stored.
        checkpoint: weights worth keeping; stored beside the result as safetensors, one file a seed.
    """

    metrics: dict[str, float]
    controls: dict[str, dict[str, float]] = field(default_factory=dict)
    series: dict[str, list[Any]] = field(default_factory=dict)
    arrays: dict[str, torch.Tensor] = field(default_factory=dict)
    checkpoint: dict[str, torch.Tensor] | None = None


@dataclass(frozen=True)
class Finished:
    """A seed that is done: its record, the seconds it took, and the SHA-256 of its stored weights, if it has any."""

    record: SeedRecord
    seconds: float
    checkpoint: str | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """An experiment's numbers over seeds, as stored in ``<experiment>.json``.

    Attributes:
        experiment: name of the experiment.
        config: its settings, as a plain dict.
        seeds: which seeds, in the order of all arrays below.
        metrics: name -> (S,) array, one value a seed.
        chance: metric name -> chance level.
        controls: control name -> metric name -> (S,) array.
        series: name -> one curve a seed.
        arrays: tensors of the first seed, for figures; empty for a loaded or resumed result.
        checkpoints: SHA-256 of the stored weights, by seed (as text); empty if the experiment keeps none.
        provenance: commit, versions, hardware, threads, device, seconds, date.
        hashes: "config", "code", and "criteria" by claim id.
        verdicts: verdict by claim id, as computed when the result was made.

    Chapter: book/reference/reproducibility
    """

    experiment: str
    config: dict[str, Any]
    seeds: list[int]
    metrics: dict[str, np.ndarray]
    chance: dict[str, float]
    controls: dict[str, dict[str, np.ndarray]]
    series: dict[str, list[Any]]
    provenance: dict[str, Any]
    hashes: dict[str, Any]
    verdicts: dict[str, str] = field(default_factory=dict)
    arrays: dict[str, torch.Tensor] = field(default_factory=dict)
    checkpoints: dict[str, str] = field(default_factory=dict)

    @classmethod
    def stack(
        cls, experiment: str, config: dict[str, Any], done: Mapping[int, Finished], *, chance: Mapping[str, float],
        hashes: Mapping[str, Any], provenance: dict[str, Any],
    ) -> Result:  # fmt: skip
        """Stack one finished seed each; ``arrays`` are the first one's."""
        records = {seed: finished.record for seed, finished in done.items()}
        first, rows = next(iter(records.values())), list(records.values())
        return cls(
            experiment=experiment,
            config=json.loads(json.dumps(config)),  # as it will be read back: tuples become lists
            seeds=list(records),
            metrics={name: np.array([r.metrics[name] for r in rows]) for name in first.metrics},
            chance={name: _rounded(float(value)) for name, value in chance.items()},
            controls={
                control: {name: np.array([r.controls[control][name] for r in rows]) for name in values}
                for control, values in first.controls.items()
            },
            series={name: [r.series[name] for r in rows] for name in first.series},
            provenance=provenance,
            hashes=dict(hashes),
            arrays=dict(first.arrays),
            checkpoints={str(seed): f.checkpoint for seed, f in done.items() if f.checkpoint is not None},
        )

    def values(self, name: str, control: str | None = None) -> np.ndarray:
        """One value a seed of a metric, or of a control's metric.

        Raises:
            ValueError: if there is no such metric or control; the message lists those there are.
        """
        table: Mapping[str, np.ndarray] = self.metrics
        if control is not None:
            if control not in self.controls:
                raise ValueError(
                    f"{self.experiment} has no control {control!r}; it has {sorted(self.controls) or 'none'}."
                )
            table = self.controls[control]
        if name not in table:
            where = f"{self.experiment}" + (f", control {control!r}," if control else "")
            raise ValueError(f"{where} has no metric {name!r}; it has {sorted(table)}.")
        return table[name]

    def mean(self, name: str, control: str | None = None) -> float:
        """Mean over seeds."""
        return statistics.fmean(self.values(name, control))

    def spread(self, name: str, control: str | None = None) -> float:
        """Sample standard deviation over seeds (divisor S - 1); NaN for a single seed, which has no spread."""
        values = self.values(name, control)
        return statistics.stdev(map(float, values)) if len(values) > 1 else math.nan

    def record(self, seed: int) -> SeedRecord:
        """What one seed yielded, without arrays.

        Raises:
            ValueError: if the result does not hold that seed.
        """
        if seed not in self.seeds:
            raise ValueError(f"{self.experiment} holds seeds {self.seeds}, not {seed}.")
        i = self.seeds.index(seed)
        return SeedRecord(
            metrics={name: float(values[i]) for name, values in self.metrics.items()},
            controls={
                c: {name: float(values[i]) for name, values in table.items()} for c, table in self.controls.items()
            },
            series={name: curves[i] for name, curves in self.series.items()},
        )

    def with_verdicts(self, verdicts: dict[str, str]) -> Result:
        """The same numbers, with the verdict on each claim by id."""
        return replace(self, verdicts=verdicts)

    def to_json(self) -> str:
        """The text that is stored: sorted keys, one line a list of numbers; without ``arrays``."""
        document = {name: getattr(self, name) for name in KEYS}
        document["metrics"] = {name: values.tolist() for name, values in self.metrics.items()}
        document["controls"] = {c: {n: v.tolist() for n, v in table.items()} for c, table in self.controls.items()}
        if self.checkpoints:
            document["checkpoints"] = self.checkpoints
        return encode(document) + "\n"

    def save(self, path: Path | str) -> None:
        """Write :meth:`to_json` to a file, atomically: a reader sees the old text or the new one, never half of it."""
        from entk_tutorial.experiments.storage import write_atomically

        write_atomically(Path(path), self.to_json())

    @classmethod
    def load(cls, path: Path | str) -> Result:
        """Read a stored result and check its form.

        Raises:
            ValueError: if the file is missing, is not JSON (truncated, say), lacks a part, or holds lists of the
                wrong length or numbers that are not finite. The message names file, finding and cure.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(
                f"{path} cannot be read ({error.strerror}): run the experiment, or name another folder."
            ) from error
        return cls.from_json(text, str(path))

    @classmethod
    def from_json(cls, text: str, where: str = "result") -> Result:
        """The inverse of :meth:`to_json`, with the checks of :meth:`load`; ``where`` is named in errors."""
        cure = "Restore the file from git, or remove it and run the experiment again."
        try:
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{where} is not a whole JSON file ({error}). {cure}") from error
        problems = _problems(document)
        if problems:
            raise ValueError(f"{where} is not a valid result: {'; '.join(problems)}. {cure}")
        document["metrics"] = {name: np.array(values, dtype=float) for name, values in document["metrics"].items()}
        document["controls"] = {
            c: {name: np.array(values, dtype=float) for name, values in table.items()}
            for c, table in document["controls"].items()
        }
        return cls(**document)


KEYS = ("experiment", "config", "seeds", "metrics", "chance", "controls", "series", "provenance", "hashes", "verdicts")
_PROVENANCE = {"commit", "versions", "hardware", "threads", "device", "seconds", "date"}


def _problems(document: Any) -> list[str]:
    """All that is wrong with the form of a stored result."""
    if not isinstance(document, dict) or set(document) - {"checkpoints"} != set(KEYS):
        found = sorted(document) if isinstance(document, dict) else type(document).__name__
        return [f"expected an object with the keys {sorted(KEYS)}, found {found}"]
    not_objects = [k for k in KEYS if k not in ("experiment", "seeds") and not isinstance(document[k], dict)]
    if not_objects:
        return [f"{', '.join(not_objects)} should be objects"]
    problems = []
    seeds = document["seeds"]
    if (
        not isinstance(seeds, list)
        or not seeds
        or any(type(s) is not int or s < 0 for s in seeds)
        or len(set(seeds)) < len(seeds)
    ):
        return [f"seeds should be distinct integers >= 0, at least one; found {seeds}"]
    tables: dict[str, Any] = {
        "metrics": document["metrics"],
        **{f"control {c}": t for c, t in document["controls"].items()},
    }
    for label, table in tables.items():
        if not isinstance(table, dict):
            problems.append(f"{label} should be an object")
            continue
        for name, values in table.items():
            if not isinstance(values, list) or len(values) != len(seeds):
                problems.append(f"{label}: {name} should hold {len(seeds)} values, one a seed; found {_size(values)}")
            elif not all(_is_finite(v) for v in values):
                problems.append(f"{label}: {name} holds a value that is not a finite number: {values}")
    for name, curves in document["series"].items():
        if not isinstance(curves, list) or len(curves) != len(seeds):
            problems.append(f"series {name} should hold {len(seeds)} curves, one a seed; found {_size(curves)}")
        elif not _all_finite(curves):
            problems.append(f"series {name} holds something that is not a finite number")
    problems += [
        f"chance of {name} is {v!r}, not a finite number" for name, v in document["chance"].items() if not _is_finite(v)
    ]
    kept = document.get("checkpoints", {})
    if not isinstance(kept, dict) or not set(kept) <= set(map(str, seeds)):
        problems.append(f"checkpoints should hold one SHA-256 a seed, by seed; found {kept!r}")
    if not _PROVENANCE <= set(document["provenance"]):
        problems.append(f"provenance lacks {sorted(_PROVENANCE - set(document['provenance']))}")
    if set(document["hashes"]) != {"config", "code", "criteria"} or not isinstance(
        document["hashes"]["criteria"], dict
    ):
        problems.append("hashes should hold config, code and criteria")
    elif set(document["hashes"]["criteria"]) != set(document["verdicts"]):
        problems.append("hashes.criteria and verdicts should name the same claims")
    return problems


def checked_record(record: Any, where: str, earlier: Iterable[Finished] = ()) -> SeedRecord:
    """A seed's record with plain, finite, rounded numbers and the same names as the other seeds.

    What is returned is what will be stored, digit for digit, so that a resumed run equals one that was never stopped.

    Raises:
        ValueError: naming the seed and the entry that is not a finite number, or the names that differ.
    """
    if not isinstance(record, SeedRecord):
        raise ValueError(f"{where}: run_seed should return a SeedRecord, got {type(record).__name__}.")
    checked = SeedRecord(
        metrics={name: _number(value, f"{where}: metric {name!r}") for name, value in record.metrics.items()},
        controls={
            c: {name: _number(value, f"{where}: control {c!r}, metric {name!r}") for name, value in table.items()}
            for c, table in record.controls.items()
        },
        series={name: _curve(curve, f"{where}: series {name!r}") for name, curve in record.series.items()},
        arrays=dict(record.arrays),
        checkpoint=_weights(record.checkpoint, where),
    )
    for other in earlier:
        if _names(other.record) != _names(checked):
            raise ValueError(
                f"{where}: its entries differ from another seed's: {sorted(_names(other.record) ^ _names(checked))}. "
                "Every seed must yield the same metrics, controls and series."
            )
        break
    return checked


def _names(record: SeedRecord) -> set[str]:
    controls = {f"{c}.{name}" for c, table in record.controls.items() for name in table}
    return set(record.metrics) | controls | {f"series {name}" for name in record.series}


def _weights(state: Any, where: str) -> dict[str, torch.Tensor] | None:
    for name, value in ({} if state is None else state).items():
        if not hasattr(value, "isfinite") or not bool(value.isfinite().all()):
            raise ValueError(
                f"{where}: checkpoint entry {name!r} is no tensor of finite numbers; use copy_state(model)."
            )
    return None if state is None else dict(state)


def _number(value: Any, where: str) -> float:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        raise ValueError(
            f"{where} is {value!r}, a {type(value).__name__}: make it a number with float(...) or .item()."
        )
    if not math.isfinite(value):
        raise ValueError(
            f"{where} is {value}, which is no result: training has diverged, or a ratio has divided by zero."
        )
    return _rounded(float(value))


def _curve(value: Any, where: str) -> Any:
    if isinstance(value, (list, tuple, range)):
        return [_curve(item, where) for item in value]
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        return int(value)
    if not isinstance(value, Real):
        raise ValueError(f"{where} holds {type(value).__name__}: make it a list of numbers with .tolist().")
    return _number(value, where)


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _all_finite(value: Any) -> bool:
    return all(map(_all_finite, value)) if isinstance(value, list) else _is_finite(value)


def _size(value: Any) -> str:
    return f"{len(value)}" if isinstance(value, list) else type(value).__name__


def encode(value: Any, indent: int = 0) -> str:
    """JSON with sorted keys, an entry a line, but a list of plain values on one line, so that diffs are short.

    Example:
        >>> print(encode({"b": [1, 2.5], "a": {"x": None}}))
        {
         "a": {
          "x": null
         },
         "b": [1, 2.5]
        }
    """
    inner = " " * (indent + 1)
    if isinstance(value, dict) and value:
        items = [f"{inner}{json.dumps(str(k))}: {encode(v, indent + 1)}" for k, v in sorted(value.items())]
        return "{\n" + ",\n".join(items) + "\n" + " " * indent + "}"
    if isinstance(value, list) and any(isinstance(item, (list, dict)) for item in value):
        return "[\n" + ",\n".join(inner + encode(item, indent + 1) for item in value) + "\n" + " " * indent + "]"
    return json.dumps(value, allow_nan=False)
