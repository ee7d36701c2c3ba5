"""Seeds and settings of an experiment, many at once, on the workers of a cluster."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from entk_tutorial.experiments.base import Experiment
from entk_tutorial.experiments.job import Job
from entk_tutorial.experiments.provenance import code_hash
from entk_tutorial.experiments.result import Result, SeedRecord

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["run_sweep"]


def run_sweep(
    experiment: Experiment,
    configs: Mapping[str, Any],
    seeds: Iterable[int] = range(5),
    *,
    client: Client,
    results_dir: Path | str | None = None,
    progress: bool = False,
    fresh: bool = False,
) -> dict[str, Result]:
    """Run all pairs of a config and a seed as tasks of a cluster; results are written here, seed by seed.

    Args:
        experiment: what to run.
        configs: label -> config. With more than one, each has a folder of its own, named by its label.
        seeds: as for :func:`entk_tutorial.experiments.base.run_experiment`.
        client: from :func:`entk_tutorial.distributed.connect`.
        results_dir: as there. A killed sweep continues where it stopped.
        progress: a bar over all seeds of all configs.
        fresh: compute every seed again, whatever is on disk.

    Returns:
        Label -> Result, the same numbers as without a cluster.

    Raises:
        ValueError: as there, before anything is sent; no configs; a label that is no name of a folder.
        BackendError: workers that run other code than this process, or that keep dying.

    An error in one seed ends the sweep; what was finished until then is kept.

    Chapter: book/beyond/scaling-up.
    """
    from entk_tutorial.distributed.blocks import finished

    if not configs:
        raise ValueError("no configs given: a sweep needs at least one.")
    asked, jobs = list(seeds), {}
    for label, config in configs.items():
        folder = None if results_dir is None else Path(results_dir)
        if len(configs) > 1:
            if not label or Path(label).name != label or label in (".", ".."):
                raise ValueError(f"{label!r} cannot name a folder; give each config a plain label, e.g. 'p=7'.")
            folder = None if folder is None else folder / label
        jobs[label] = Job(experiment, config, asked, results_dir=folder, fresh=fresh)
    code = code_hash(experiment.run_seed)
    tasks = {
        client.submit(_one, experiment.run_seed, job.config, seed, code, seed == asked[0], pure=False): (label, seed)
        for label, job in jobs.items()
        for seed in job.todo
    }
    total = len(asked) * len(jobs)
    with ExitStack() as stack:
        bar = stack.enter_context(
            tqdm(total=total, initial=total - len(tasks), desc=experiment.command, disable=not progress)
        )
        try:
            for future, (record, seconds) in finished(tasks):
                label, seed = tasks[future]
                jobs[label].take(seed, record, seconds)
                bar.update()
        except BaseException as error:
            client.cancel(list(tasks))
            for job in jobs.values():
                error.add_note(job.what_is_kept())
            raise
    return {label: job.finish() for label, job in jobs.items()}


def _one(
    run_seed: Callable[..., SeedRecord], config: Any, seed: int, code: str, with_arrays: bool
) -> tuple[SeedRecord, float]:
    """One seed, on a worker. Arrays travel for the seed whose figures are drawn."""
    from entk_tutorial.distributed.cluster import BackendError

    if code_hash(run_seed) != code:
        raise BackendError(
            "a worker runs other code than this process: its numbers would not be this experiment's. Bring all "
            "machines to the same commit."
        )
    start = time.perf_counter()
    record = run_seed(config, seed, _silent)
    return (record if with_arrays else replace(record, arrays={})), time.perf_counter() - start


def _silent(fraction: float, message: str = "") -> None:
    """Progress inside a seed stays with the worker."""
