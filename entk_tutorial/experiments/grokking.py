r"""Grokking seen by the kernel: which measure warns before held-out accuracy does, and which cries wolf.

A seed is four trainings of the network of ``modular_mlp``: the task; random labels and 30 % of the pairs, which never
generalise; 45 % of the pairs, which does a little. Levels come from calibration runs of other seeds that never
generalise. Measures, settings and runs are in ``grokking_curves``. Source: [Lin 2025], [Nanda 2023], [Gromov 2023].
Chapter: book/microscope/grokking.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from entk_tutorial.experiments.alarms import Envelope, alarm, crossing, fastest_growth
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.grokking_curves import CALIBRATED_ON, CONTROLS, MEASURES, Config, Run, measure_run


@lru_cache(maxsize=2)
def levels(config: Config) -> dict[str, dict[str, Envelope]]:
    """Kind of calibration run (or ``"both"``) -> measure -> envelope, from seeds that are judged nowhere."""
    seeds = range(config.calibration_first, config.calibration_first + config.calibration_seeds)
    runs = {kind: [measure_run(config, kind, seed).curves for seed in seeds] for kind in CALIBRATED_ON}
    both = {**runs, "both": [curves for part in runs.values() for curves in part]}
    return {kind: {m: Envelope.of([c[m] for c in part]) for m in MEASURES} for kind, part in both.items()}


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: four runs, their measures, alarms and lead times."""
    if 0 <= seed - config.calibration_first < config.calibration_seeds:
        raise ValueError(f"seed {seed} calibrates the levels; judge others, or move calibration_first.")
    known, epochs = levels(config), config.records()
    film = seed < config.film_seeds
    runs: dict[str, Run] = {}
    for i, kind in enumerate(("task", *CONTROLS)):
        progress(0.25 * i, kind)
        runs[kind] = measure_run(config, kind, seed, film=film)
    task = runs["task"]
    last = float(config.epochs)
    accuracy = task.curves["held_out_accuracy"]
    crossed = crossing(epochs, accuracy, 0.5)
    half = last if crossed is None else crossed
    metrics = {"test_accuracy": accuracy[-1], "accuracy_crossing": half}
    for name in MEASURES:
        for prefix, level in (("", known["both"][name].ever()), ("clock_", known["both"][name])):
            at = alarm(epochs, task.curves[name], level, hold=config.hold)
            metrics[f"{prefix}lead_{name}"] = half - (last if at is None else at)
            metrics[f"{prefix}alarmed_{name}"] = float(at is not None)
    for name in ("overlap_held_out", "after_kernel_accuracy"):
        at = crossing(epochs, task.curves[name], 0.5)
        metrics[f"half_lead_{name}"] = half - (last if at is None else at)
    for r in ("all", "held_out"):
        metrics[f"fastest_growth_{r}"] = fastest_growth(epochs, task.curves[f"overlap_{r}"])
        metrics[f"growth_after_crossing_{r}"] = metrics[f"fastest_growth_{r}"] - half
    controls = {kind: _judge_control(config, kind, runs[kind], known) for kind in CONTROLS}

    series: dict[str, list[float]] = {"record": [float(e) for e in epochs]}
    for kind, run in runs.items():
        series |= {f"{kind}.{name}": [float(f"{v:.6g}") for v in curve] for name, curve in run.curves.items()}
    for name in MEASURES:
        series[f"level.{name}"] = [float(known["both"][name].low.min()), float(known["both"][name].high.max())]
    kept = {f"{kind}.{name}": value for kind, run in runs.items() for name, value in run.film.items()}
    return SeedRecord(metrics, controls, series, kept, checkpoint=kept or None)


def _judge_control(config: Config, kind: str, run: Run, known: dict[str, dict[str, Envelope]]) -> dict[str, float]:
    """Alarms of a run in which accuracy never passes one half: each is a false one."""
    out = {"test_accuracy": run.curves["held_out_accuracy"][-1], "top_accuracy": run.top_accuracy}
    epochs, hold = config.records(), config.hold
    for name in MEASURES:
        curve, envelope = run.curves[name], known["both"][name]
        out[f"alarm_{name}"] = float(alarm(epochs, curve, envelope.ever(), hold=hold) is not None)
        out[f"clock_alarm_{name}"] = float(alarm(epochs, curve, envelope, hold=hold) is not None)
        if kind in CALIBRATED_ON:
            [other] = [k for k in CALIBRATED_ON if k != kind]
            out[f"other_alarm_{name}"] = float(alarm(epochs, curve, known[other][name].ever(), hold=hold) is not None)
    return out


def chance(config: Config) -> dict[str, float]:
    """Lead times have no chance level: their null is the rate of false alarms. Accuracy has one."""
    return {"test_accuracy": 1 / config.p}


EXPERIMENT = Experiment(
    name="grokking",
    title="Which measure warns of grokking before held-out accuracy does, and which cries wolf",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(
        Config(),
        p=19,
        hidden=256,
        train_fraction=0.8,
        epochs=300,
        dense_every=20,
        dense_until=160,
        sparse_every=20,
        calibration_seeds=2,
    ),
    seconds_per_seed=60.0,
    tolerances={"*": 20.0, "test_accuracy": 0.02},
    cheap=False,
)


def run(
    config: Config | None = None,
    seeds: Iterable[int] = range(20),
    *,
    results_dir: Path | str | None = None,
    progress: bool = False,
) -> Result:
    """Run the experiment over seeds; see :func:`entk_tutorial.experiments.base.run_experiment`.

    The first seed of a session also trains the calibration runs.

    Example:
        >>> tiny = Config(p=7, hidden=32, epochs=50, dense_every=25, calibration_seeds=1, device="cpu")
        >>> result = run(tiny, seeds=[0])
        >>> bool(result.metrics["accuracy_crossing"][0] <= 50)
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
