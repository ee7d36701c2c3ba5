"""Does every row follow from its numbers, and every number from this code?"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from entk_tutorial import experiments
from entk_tutorial.experiments.provenance import code_hash, config_hash
from entk_tutorial.experiments.result import Result
from entk_tutorial.ledger.claims import Claim, criteria_of, load_claims
from entk_tutorial.ledger.report import evaluate
from entk_tutorial.ledger.verdict import verdict
from entk_tutorial.results import FOLDER, load_result, stored_names

__all__ = ["check", "integrity"]


def check(folder: Path | str | None = None, claims: Iterable[Claim] | None = None) -> list[str]:
    """Everything that is wrong between claims, stored results and code.

    Args:
        folder: of results; None means those that ship with the package.
        claims: None means those of this package.

    Returns:
        One sentence a failure, each with file and cure; empty if all is well. Failures are: broken claims; a missing
        result of a claim that has an experiment; a result that is not valid (form, lengths, finite numbers); config
        or code other than the package's; a criterion changed, added or removed after the run; a stored verdict or
        chance level that contradicts the numbers.
    """
    place = FOLDER if folder is None else Path(folder)
    try:
        known = load_claims() if claims is None else list(claims)
    except ValueError as error:
        return [str(error)]
    rest_on: dict[str, list[Claim]] = {}
    for claim in known:
        if claim.experiment:
            rest_on.setdefault(claim.experiment, []).append(claim)
    failures = []
    for name in dict.fromkeys([*rest_on, *stored_names(place)]):
        mine = rest_on.get(name, [])
        path, ids = place / f"{name}.json", ", ".join(c.id for c in mine)
        lines = ", ".join(str(c.line) for c in mine)
        if not path.is_file():
            failures.append(
                f"{path}: missing, and {ids} rest on it (claims.toml, line {lines}). Cure: {_again(name, place, '')}."
            )
            continue
        found = integrity(name, place)
        failures += found
        try:
            result = load_result(name, place)
        except ValueError:
            continue  # integrity has said so
        failures += _against_claims(result, mine, path, _again(name, place))
    return failures


def integrity(name: str, folder: Path | str | None = None) -> list[str]:
    """What is wrong with one stored result, claims aside: its form, and whether it is of this config and code."""
    place = FOLDER if folder is None else Path(folder)
    path, cure = place / f"{name}.json", f"Cure: {_again(name, place)}."
    try:
        result = load_result(name, place)
    except ValueError as error:
        return [str(error)]
    try:
        experiment = experiments.get(name)
    except ValueError as error:
        return [f"{path}: {error} Cure: remove the file, or register the experiment."]
    failures = []
    if result.hashes["config"] != config_hash(name, result.config):
        failures.append(
            f"{_hash_line(path, 'config')}: the config was edited after the run; its hash does not match. {cure}"
        )
    elif result.hashes["config"] != config_hash(name, asdict(experiment.config_type())):
        failures.append(
            f"{_hash_line(path, 'config')}: stale: the config is not the package's default (a quick run?). {cure}"
        )
    if result.hashes["code"] != code_hash(experiment.run_seed):
        failures.append(f"{_hash_line(path, 'code')}: stale: code changed since the run. {cure}")
    try:
        chance = experiment.chance(experiment.restore(result.config))
    except ValueError as error:
        return [*failures, f"{path}: {error} {cure}"]
    wrong = sorted(
        key for key in set(chance) | set(result.chance) if not _close(chance.get(key), result.chance.get(key))
    )
    if wrong:
        failures.append(f"{path}: the stored chance levels of {', '.join(wrong)} are not the computed ones. {cure}")
    return failures


def _hash_line(path: Path, what: str) -> str:
    """The file, and the line of it on which a hash stands."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if f'"{what}": "' in line:
            return f"{path}, line {number}"
    return str(path)


def _against_claims(result: Result, claims: list[Claim], path: Path, again: str) -> list[str]:
    failures = []
    now, then = criteria_of(result.experiment, claims), result.hashes["criteria"]
    lines = {claim.id: f" (claims.toml, line {claim.line})" for claim in claims}
    for key in dict.fromkeys([*now, *then]):
        if now.get(key) != then.get(key):
            event = "was added" if key not in then else "was removed" if key not in now else "was changed"
            failures.append(
                f"{path}: the criterion of {key}{lines.get(key, '')} {event} after the run. Cure: undo that in "
                f"claims.toml, or {again} "
                "(a criterion is written before the run: better on seeds that nobody has seen)."
            )
    for claim in claims:
        try:
            evaluate(claim, result)
            computed = verdict(claim, result)
        except ValueError as error:
            failures.append(
                f"{path}: {error} Cure: correct the name in claims.toml, line {claim.line}, or let the experiment "
                "measure it."
            )
            continue
        stored = result.verdicts.get(claim.id)
        if now[claim.id] == then.get(claim.id) and stored != computed:
            failures.append(
                f"{path}: says {stored!r} of {claim.id}, but its numbers say {computed!r} "
                f"(claims.toml, line {claim.line}). Cure: {again}."
            )
    return failures


def _close(a: float | None, b: float | None) -> bool:
    return a is not None and b is not None and math.isclose(a, b, rel_tol=1e-8, abs_tol=1e-12)


def _again(name: str, place: Path, how: str = "--fresh ") -> str:
    return f"entk run {name.replace('_', '-')} {how}--results {place}"
