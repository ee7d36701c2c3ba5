"""The results folder: finished seeds are written at once, taken up again after a kill, never overwritten by others.

    results/modular_mlp.json                       the result
    results/modular_mlp.partial/seed-3.json        a finished seed of a run that is not
    results/modular_mlp.1a2b3c4d5e6f.json          set aside: another config, other code or other criteria (which the
    digits stand for)
    results/modular_transformer.seed-3.safetensors weights of a seed, if the experiment keeps them; their SHA-256 stands
    in the result

A criterion is written before the run. So seeds that ran under other criteria count no more than those of other code:
they are run again.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from pathlib import Path
from typing import Any

from entk_tutorial.experiments.provenance import canonical_json, sha256
from entk_tutorial.experiments.result import Finished, Result, SeedRecord, checked_record, encode

__all__ = ["Store", "write_atomically"]

_KINDS = {"config": "another config", "code": "other code", "criteria": "other criteria"}


class Store:
    """What one experiment, with one config, code and set of criteria, has in a results folder.

    Args:
        folder: made if it is missing.
        name: of the experiment.
        config: its settings.
        hashes: "config", "code" and "criteria".

    Raises:
        ValueError: at once, if the folder cannot be made or written to.
    """

    def __init__(self, folder: Path, name: str, config: dict[str, Any], hashes: dict[str, Any]) -> None:
        self.name, self.config, self.hashes = name, config, hashes
        self.final = folder / f"{name}.json"
        self.partial = folder / f"{name}.partial"
        self._tag = _tag(hashes)
        try:
            for place in (folder, self.partial):
                place.mkdir(parents=True, exist_ok=True)
                write_atomically(place / f".writable-{os.getpid()}", "")
                (place / f".writable-{os.getpid()}").unlink()
        except OSError as error:
            raise ValueError(
                f"the results folder {folder} cannot be written to ({error.strerror}): nothing was computed. "
                "Name another one (results_dir=..., or --results DIR)."
            ) from error

    def finished(self) -> dict[int, Finished]:
        """Seeds finished earlier with the same config, code and criteria.

        Seeds of others are left alone, with a warning that says so; a partial file that is not whole is named in a
        warning, and its seed will be run again.

        Raises:
            ValueError: if the final result is corrupt; it is not replaced without being asked.
        """
        done: dict[int, Finished] = {}
        for path in (self._aside(self.final), self.final):
            if path.exists():
                result = Result.load(path)
                if self._matches(result.hashes):
                    each = float(result.provenance["seconds"]) / len(result.seeds)
                    for seed in result.seeds:
                        digest = result.checkpoints.get(str(seed))
                        if self._has_weights(seed, digest):
                            done[seed] = Finished(result.record(seed), each, digest)
                else:
                    difference = self._difference(result.hashes)
                    _say(f"{path} is from {difference}: its seeds are not used. It will be set aside, not overwritten.")
        for path in sorted(self.partial.glob("seed-*.json")):
            number, *tag = path.name.removeprefix("seed-").removesuffix(".json").split(".")
            if not number.isdigit() or tag not in ([], [self._tag]):
                continue  # set aside by a run with another config or code
            entry = self._read(path)
            if entry is not None:
                done[int(number)] = entry
        return done

    def keep(self, seed: int, entry: Finished) -> str | None:
        """Write one finished seed; returns the SHA-256 of its weights, if it has any."""
        path = self.partial / f"seed-{seed}.json"
        self._set_aside(path)
        digest = None
        if entry.record.checkpoint is not None:
            from entk_tutorial.training import save_checkpoint  # here, since it imports torch

            owner = {"experiment": self.name, "seed": seed, **self.config}
            digest = save_checkpoint(_weights_of(path), entry.record.checkpoint, owner)
        document = {
            "checkpoint": digest,
            "experiment": self.name,
            "config": self.config,
            "hashes": self.hashes,
            "seed": seed,
            "seconds": entry.seconds,
            "metrics": entry.record.metrics,
            "controls": entry.record.controls,
            "series": entry.record.series,
        }
        write_atomically(path, encode(json.loads(json.dumps(document, allow_nan=False))) + "\n")
        return digest

    def finish(self, result: Result) -> None:
        """Write the result, then remove the partial files that it now holds."""
        self._set_aside(self.final)
        for seed in result.seeds:
            self._settle_weights(seed, result.checkpoints.get(str(seed)))
        result.save(self.final)
        self._aside(self.final).unlink(missing_ok=True)
        for seed in result.seeds:
            path = self.partial / f"seed-{seed}.json"
            if path.exists() and self._matches(_hashes(path)):
                path.unlink()
            self._aside(path).unlink(missing_ok=True)
        if not any(self.partial.iterdir()):
            self.partial.rmdir()

    def _read(self, path: Path) -> Finished | None:
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if not self._matches(document["hashes"]):
                _say(f"{path} is from {self._difference(document['hashes'])}: it is not used.")
                return None
            record = SeedRecord(document["metrics"], document["controls"], document["series"])
            seed, digest = int(document["seed"]), document.get("checkpoint")
            if not self._has_weights(seed, digest):
                return None
            return Finished(checked_record(record, str(path)), float(document["seconds"]), digest)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _say(f"{path} is not a whole seed ({type(error).__name__}: {error}): this seed is run again.")
            return None

    def _places(self, seed: int) -> list[Path]:
        """Where the weights of a seed may lie: under way, set aside, or with the result."""
        partial = self.partial / f"seed-{seed}.json"
        return [
            _weights_of(partial),
            _weights_of(self._aside(partial)),
            self.final.with_name(f"{self.name}.{self._tag}.seed-{seed}.safetensors"),
            self._settled(seed),
        ]

    def _settled(self, seed: int) -> Path:
        return self.final.with_name(f"{self.name}.seed-{seed}.safetensors")

    def _has_weights(self, seed: int, digest: str | None) -> bool:
        """Whether a seed's weights are there, whole; without them it has to be run again."""
        if digest is None or any(_digest(place) == digest for place in self._places(seed)):
            return True
        _say(f"{self._settled(seed)} is missing, or not the file of that run: seed {seed} is run again.")
        return False

    def _settle_weights(self, seed: int, digest: str | None) -> None:
        """Move the weights of a finished seed beside the result."""
        for place in self._places(seed):
            if digest is not None and _digest(place) == digest:
                os.replace(place, self._settled(seed))
                return

    def _matches(self, hashes: Any) -> bool:
        return isinstance(hashes, dict) and all(hashes.get(key) == self.hashes[key] for key in _KINDS)

    def _difference(self, hashes: dict[str, Any]) -> str:
        return " and ".join(word for key, word in _KINDS.items() if hashes.get(key) != self.hashes[key])

    def _aside(self, path: Path, tag: str | None = None) -> Path:
        return path.with_name(f"{path.name.removesuffix('.json')}.{tag or self._tag}.json")

    def _set_aside(self, path: Path) -> None:
        """Move away what another config, code or set of criteria wrote under this name."""
        if path.exists():
            hashes = _hashes(path)
            if hashes is not None and not self._matches(hashes):
                tag = _tag(hashes)
                if path == self.final:
                    for seed in Result.load(path).checkpoints:
                        if self._settled(int(seed)).exists():
                            moved = self.final.with_name(f"{self.name}.{tag}.seed-{seed}.safetensors")
                            os.replace(self._settled(int(seed)), moved)
                elif _weights_of(path).exists():
                    os.replace(_weights_of(path), _weights_of(self._aside(path, tag)))
                os.replace(path, self._aside(path, tag))


def _weights_of(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(".json") + ".safetensors")


def _digest(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _tag(hashes: dict[str, Any]) -> str:
    return sha256(canonical_json({key: hashes.get(key) for key in _KINDS}))[:12]


def _hashes(path: Path) -> dict[str, Any] | None:
    """The hashes that a file holds; None if it is not a whole file."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["hashes"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, dict) else None


def _say(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=4)


def write_atomically(path: Path, text: str) -> None:
    """Write a file so that after a kill at any moment either the old text is there or the new one, whole.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_atomically(Path(folder) / "a.json", "{}")
        ...     (Path(folder) / "a.json").read_text()
        '{}'
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
