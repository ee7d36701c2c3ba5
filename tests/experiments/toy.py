"""An experiment that takes no time: what runner, ledger and command line are tested on."""

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment

CALLS: list[int] = []
INTERRUPTS: dict[int, BaseException] = {}


@dataclass(frozen=True)
class Config:
    n: int = 3
    scale: float = 1.0
    rates: tuple[float, ...] = (0.5,)
    mode: str | None = None
    verbose: bool = False

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"n must be at least 1, got {self.n}.")


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    CALLS.append(seed)
    if seed in INTERRUPTS:
        raise INTERRUPTS.pop(seed)
    if os.environ.get("TOY_KILLED_IN_SEED") == str(seed):
        os.kill(os.getpid(), signal.SIGKILL)
    progress(0.5, "half")
    score = config.scale * (10 + seed / 3)
    return SeedRecord(
        metrics={"score": score, "error": 1 / (seed + 1)},
        controls={"untrained": {"score": 0.1 * seed}, "shuffled": {"score": score}},
        series={"epoch": list(range(config.n)), "spectrum": [[score, 1.0], [2.0]]},
        arrays={"kernel": np.eye(config.n)},
    )


EXPERIMENT = Experiment(
    name="toy",
    title="Scores grow with the seed",
    config_type=Config,
    run_seed=run_seed,
    chance=lambda config: {"score": config.scale / 3},
    quick=Config(n=1),
    seconds_per_seed=0.5,
    tolerances={"*": 1e-9, "error": 0.1, "untrained.score": 0.01},
    cheap=True,
)

CLAIMS = """
[[claim]]
id = "X.1"
paper = "ours"
where = "toy"
statement = "The score is high."
experiment = "toy"
criterion = [{ metric = "score", op = ">=", value = 10 }]
published = "11"
page = "toys/toy"

[[claim]]
id = "X.2"
paper = "ours"
where = ""
statement = "Nothing is measured here."
experiment = ""
"""


@dataclass
class Toy:
    """The toy experiment, registered as the only one, with its own claims and folder."""

    folder: Path
    claims_file: Path
    calls: list[int]
    interrupts: dict[int, BaseException]
    config: type[Config] = Config
    experiment: Experiment = EXPERIMENT

    @property
    def final(self) -> Path:
        return self.folder / "toy.json"

    @property
    def partial(self) -> Path:
        return self.folder / "toy.partial"

    def run(self, seeds: Any = range(3), config: Config | None = None, **options: Any) -> Result:
        return run_experiment(EXPERIMENT, config, seeds, **{"results_dir": self.folder, **options})

    def claim(self, text: str) -> None:
        self.claims_file.write_text(text, encoding="utf-8")

    def edit(self, change: Callable[[dict[str, Any]], Any]) -> None:
        """Change the stored result by hand, as a forger would."""
        import json

        document = json.loads(self.final.read_text(encoding="utf-8"))
        change(document)
        self.final.write_text(json.dumps(document), encoding="utf-8")
