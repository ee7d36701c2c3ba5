"""Reading ``claims.toml``: what is claimed, and by which numbers it stands or falls."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from entk_tutorial.experiments.provenance import ROOT, canonical_json, sha256

__all__ = ["OPERATORS", "Claim", "Criterion", "OnlyIf", "criteria_hash", "criteria_of", "find_claims", "load_claims"]

OPERATORS = (">=", "<=", ">", "<", "within")


@dataclass(frozen=True)
class Criterion:
    """One comparison of a measured number: ``metric op value``, or ``metric op factor * value_metric``.

    Attributes:
        metric: name of the measured metric.
        op: one of >=, <=, >, <, or "within": ``|metric - right side| <= tolerance``.
        control: the control that the metric is taken from; "" for the experiment itself.
        value: the right side, a number.
        value_metric: or: the right side, another metric of the same seed.
        value_control: the control that ``value_metric`` is taken from; "" for the experiment itself.
        factor: multiplies ``value_metric``.
        tolerance: of "within".
        over: "each" seed must meet it, or the "mean" over seeds.
    """

    metric: str
    op: str
    control: str = ""
    value: float | None = None
    value_metric: str = ""
    value_control: str = ""
    factor: float = 1.0
    tolerance: float | None = None
    over: str = "each"

    def __str__(self) -> str:
        """As a formula, e.g. ``untrained window2_sum <= 3``."""
        left = f"{self.control} {self.metric}".strip()
        right = f"{self.value:g}" if self.value is not None else f"{self.value_control} {self.value_metric}".strip()
        if self.factor != 1.0:
            right = f"{self.factor:g} * {right}"
        formula = f"|{left} - {right}| <= {self.tolerance:g}" if self.op == "within" else f"{left} {self.op} {right}"
        return formula + (" on average" if self.over == "mean" else "")


@dataclass(frozen=True)
class OnlyIf:
    """A condition under which a claim holds that does not hold in general: its text, and the criteria that show it."""

    text: str
    criterion: tuple[Criterion, ...]


@dataclass(frozen=True)
class Claim:
    """One row of the ledger, as written in ``claims.toml``.

    Attributes:
        id: e.g. "P2.5".
        paper: citation key; "ours" for our own.
        where: place in the paper.
        statement: the claim in our words.
        experiment: name of the experiment; "" if there is none yet.
        criterion: what must hold for "reproduced"; all of them.
        undercut: what, if all of it holds too, shows that the claim is not what it seems.
        only_if: a condition under which it holds, if it does not in general.
        published: the published value, as text.
        chance: metric whose chance level is shown; "" shows those of all metrics in the criteria.
        page: chapter, e.g. "microscope/modular-mlp"; "" if there is none yet.
        line: where in the file the claim begins.
    """

    id: str
    paper: str
    where: str
    statement: str
    experiment: str
    criterion: tuple[Criterion, ...] = ()
    undercut: tuple[Criterion, ...] = ()
    only_if: OnlyIf | None = None
    published: str = ""
    chance: str = ""
    page: str = ""
    line: int = field(default=0, compare=False)


def criteria_hash(claim: Claim) -> str:
    """Hash of what a claim is judged by: experiment, criterion, undercut, only_if. Words may be edited freely."""
    judged = asdict(claim)
    return sha256(canonical_json({key: judged[key] for key in ("experiment", "criterion", "undercut", "only_if")}))


def criteria_of(experiment: str, claims: list[Claim] | None = None) -> dict[str, str]:
    """:func:`criteria_hash` by id of all claims that rest on an experiment; None means all claims of this package."""
    return {c.id: criteria_hash(c) for c in (load_claims() if claims is None else claims) if c.experiment == experiment}


def find_claims() -> Path:
    """The ``claims.toml`` of this package: beside it in a checkout, inside it when installed.

    Raises:
        ValueError: if it is in neither place.
    """
    places = (ROOT / "claims.toml", ROOT.parent / "claims.toml")
    found = next((path for path in places if path.is_file()), None)
    if found is None:
        raise ValueError(f"claims.toml is missing: looked for {places[0]} and {places[1]}. Install the package again.")
    return found


def load_claims(path: Path | str | None = None) -> list[Claim]:
    """Read and check the claims, in the order of the file.

    Args:
        path: None means the ones of this package.

    Raises:
        ValueError: with file and line, for broken TOML, unknown or missing keys, unknown operators, criteria without
            a right side, doubled ids, and a claim that has an experiment but no criterion.

    Example:
        >>> claims = load_claims()
        >>> len({claim.id for claim in claims}) == len(claims)
        True
    """
    path = find_claims() if path is None else Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        document = tomllib.loads(text)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}).") from error
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from error
    if set(document) - {"claim"} or not isinstance(document.get("claim", []), list):
        raise ValueError(f"{path}: only [[claim]] tables are expected, found {sorted(document)}.")
    starts = [i for i, line in enumerate(text.splitlines(), start=1) if re.match(r"\s*\[\[\s*claim\s*\]\]", line)]
    claims: list[Claim] = []
    for start, table in zip(starts, document.get("claim", []), strict=True):
        where = _Where(path, start, text.splitlines())
        claim = _claim(table, where)
        earlier = next((c for c in claims if c.id == claim.id), None)
        if earlier is not None:
            raise where.error("id", f"the id {claim.id!r} is already used in line {earlier.line}. Ids are unique.")
        claims.append(claim)
    return claims


@dataclass(frozen=True)
class _Where:
    """A place in the file: the claim that begins at a line, and its keys."""

    path: Path
    start: int
    lines: list[str]

    def error(self, key: str, message: str) -> ValueError:
        line = self.start
        for i in range(self.start, len(self.lines)):
            if self.lines[i].lstrip().startswith("[["):
                break
            if re.match(rf"\s*{re.escape(key)}\s*[=.]", self.lines[i]):
                line = i + 1
                break
        return ValueError(f"{self.path}, line {line}: {message}")


_REQUIRED = ("id", "paper", "where", "statement", "experiment")


def _claim(table: Mapping[str, Any], where: _Where) -> Claim:
    known = [f.name for f in fields(Claim) if f.name != "line"]
    for key in table:
        if key not in known:
            raise where.error(key, f"unknown key {key!r}. A claim has {', '.join(known)}.")
    for key in _REQUIRED:
        if key not in table:
            raise where.error("", f"this claim has no {key}. It needs {', '.join(_REQUIRED)}.")
    for key, value in table.items():
        if key not in ("criterion", "undercut", "only_if") and not isinstance(value, str):
            raise where.error(key, f"{key} should be a text, found {value!r}.")
    if not table["id"]:
        raise where.error("id", "the id is empty.")
    values = dict(table)
    for key in ("criterion", "undercut"):
        values[key] = _criteria(table.get(key, []), key, where)
    if "only_if" in table:
        condition = table["only_if"]
        if not isinstance(condition, dict) or set(condition) != {"text", "criterion"} or not condition["criterion"]:
            raise where.error(
                "only_if", 'only_if should be { text = "...", criterion = [...] }, with at least one criterion.'
            )
        values["only_if"] = OnlyIf(str(condition["text"]), _criteria(condition["criterion"], "only_if", where))
    if bool(table["experiment"]) != bool(values["criterion"]):
        if table["experiment"]:
            raise where.error(
                "experiment",
                f"claim {table['id']} has an experiment but no criterion: write what it stands or falls by.",
            )
        raise where.error("criterion", f"claim {table['id']} has a criterion but no experiment that could meet it.")
    return Claim(**values, line=where.start)


def _criteria(tables: Any, key: str, where: _Where) -> tuple[Criterion, ...]:
    if not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise where.error(key, f'{key} should be a list of tables such as {{ metric = "...", op = ">=", value = 1 }}.')
    return tuple(_criterion(t, key, where) for t in tables)


def _criterion(table: Mapping[str, Any], key: str, where: _Where) -> Criterion:
    known = {f.name: str(f.type) for f in fields(Criterion)}
    for name, value in table.items():
        if name not in known:
            raise where.error(key, f"unknown key {name!r} in {key}. A criterion has {', '.join(known)}.")
        wanted: tuple[type, ...] = (int, float) if "float" in known[name] else (str,)
        if isinstance(value, bool) or not isinstance(value, wanted):
            raise where.error(
                key, f"{name} in {key} should be a {'number' if 'float' in known[name] else 'text'}, found {value!r}."
            )
    if not table.get("metric") or table.get("op") not in OPERATORS:
        raise where.error(key, f"{key} needs a metric and an op, one of {' '.join(OPERATORS)}; found {dict(table)}.")
    if table.get("over", "each") not in ("each", "mean"):
        raise where.error(key, f'over in {key} should be "each" or "mean", found {table["over"]!r}.')
    if ("value" in table) == bool(table.get("value_metric")):
        raise where.error(key, f"{key} needs a right side, value or value_metric, not both; found {dict(table)}.")
    if "value" in table and ("factor" in table or "value_control" in table):
        raise where.error(key, f"factor and value_control in {key} go with value_metric; found {dict(table)}.")
    if (table["op"] == "within") != ("tolerance" in table):
        raise where.error(key, f'tolerance in {key} goes with op = "within", and with it only; found {dict(table)}.')
    values: dict[str, Any] = {n: float(v) if "float" in known[n] else v for n, v in table.items()}
    return Criterion(**values)
