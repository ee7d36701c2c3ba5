"""Stored results that ship with the package: ``<experiment>.json``, one a file."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from entk_tutorial.experiments.result import Result

__all__ = ["FOLDER", "load_benchmark", "load_result", "load_stored_checkpoint", "stored_names"]

FOLDER = Path(__file__).resolve().parent


def stored_names(folder: Path | str | None = None) -> list[str]:
    """Names of the experiments that have a result in a folder; None means those that ship with the package.

    Files with a second dot in their names were set aside by a run with another config, and are not results.
    """
    place = FOLDER if folder is None else Path(folder)
    return sorted(path.stem for path in place.glob("*.json") if path.stem.isidentifier())


def load_result(name: str, folder: Path | str | None = None) -> Result:
    """Read a stored result, with its checks.

    Args:
        name: of the experiment, with hyphens or underscores.
        folder: None means the results that ship with the package.

    Returns:
        Result: metrics and controls as arrays with one value a seed; ``arrays`` is empty.

    Raises:
        ValueError: if there is no such result (the nearest names are listed), or the file is not a valid one.

    Chapter: book/reference/reproducibility
    """
    from entk_tutorial.experiments.result import Result

    place, key = FOLDER if folder is None else Path(folder), name.replace("-", "_")
    path = place / f"{key}.json"
    if not path.is_file():
        there = stored_names(place)
        near = difflib.get_close_matches(key, there, n=3, cutoff=0.4) or there
        raise ValueError(
            f"{place} holds no result of {name!r}: it has {', '.join(near) or 'none'}. "
            f"Cure: entk run {key.replace('_', '-')}."
        )
    result = Result.load(path)
    if result.experiment != key:
        raise ValueError(
            f"{path} is a result of {result.experiment!r}, not of {key!r}: rename it, or run the experiment again."
        )
    return result


def load_stored_checkpoint(name: str, seed: int, folder: Path | str | None = None) -> dict[str, Tensor]:
    """Read the weights that a stored experiment kept of one seed; for ``model.load_state_dict``.

    Args:
        name: of the experiment, with hyphens or underscores.
        seed: one of the result's seeds.
        folder: None means the results that ship with the package.

    Returns:
        dict: parameter name -> tensor, on the CPU.

    Raises:
        ValueError: if there is no such result, or it kept no weights of that seed.
        CheckpointError: if the file is missing, truncated, of another config or with another SHA-256 than the
            result says.

    Chapter: book/microscope/modular-transformer
    """
    from entk_tutorial.training import load_checkpoint

    result = load_result(name, folder)
    digest = result.checkpoints.get(str(seed))
    if digest is None:
        there = ", ".join(result.checkpoints) or "none"
        raise ValueError(f"{result.experiment} kept no weights of seed {seed}; it has those of seeds: {there}.")
    place = FOLDER if folder is None else Path(folder)
    owner = {"experiment": result.experiment, "seed": seed, **result.config}
    return load_checkpoint(place / f"{result.experiment}.seed-{seed}.safetensors", owner, sha256=digest)


def load_benchmark(name: str) -> dict[str, Any]:
    """Read the stored table of a benchmark: times and memory beside peers, with hardware, versions and load.

    A checkout has them in ``benchmarks/results``; an installed package brings them along.

    Args:
        name: of the script in ``benchmarks/``, e.g. ``jacobian_contraction``.

    Raises:
        ValueError: if there is no such table.

    Chapter: book/microscope/computing-entk
    """
    places = (FOLDER / "benchmarks", FOLDER.parents[1] / "benchmarks" / "results")
    for place in places:
        path = place / f"{name}.json"
        if path.is_file():
            table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return table
    there = sorted({p.stem for place in places for p in place.glob("*.json")})
    raise ValueError(
        f"there is no stored benchmark {name!r}: there are {', '.join(there) or 'none'}. Cure: make bench."
    )
