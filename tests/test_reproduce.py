"""Reproducing: the stored seeds again, an estimate first, one failure that stops nothing, and a diff at the end."""

import json

import pytest
from typer.testing import CliRunner

from entk_tutorial import reproduce, results
from entk_tutorial.cli import app
from entk_tutorial.reproduce import estimate, plan_reproduction
from tests.experiments.toy import Config


@pytest.fixture
def stored(toy, tmp_path, monkeypatch):
    """A toy result of seeds 3 to 8 in the place of the stored ones."""
    place = tmp_path / "stored"
    toy.run(range(3, 9), results_dir=place)
    toy.calls.clear()
    monkeypatch.setattr(results, "FOLDER", place)
    return place


def test_the_first_stored_seeds_are_run_and_agree(toy, stored):
    parts = plan_reproduction(folder=toy.folder)
    assert parts[0].seeds == (3, 4, 5, 6, 7) and estimate(parts).startswith("5 seeds of 1 experiments, about 1 min")
    done = reproduce.reproduce(parts, folder=toy.folder, progress=False)
    assert toy.calls == [3, 4, 5, 6, 7] and done.finished == ["toy"]
    assert len(done.rows) == 5 * 4 and not done.different  # two metrics, and one in each of two controls


def test_it_continues_where_it_stopped(toy, stored):
    toy.run([3, 4], results_dir=toy.folder)
    parts = plan_reproduction(folder=toy.folder)
    assert parts[0].todo == (5, 6, 7)
    assert plan_reproduction(folder=toy.folder, fresh=True)[0].todo == (3, 4, 5, 6, 7)
    reproduce.reproduce(parts, folder=toy.folder, progress=False)
    assert estimate(plan_reproduction(folder=toy.folder)) == "nothing is left to run"


def test_a_forged_number_is_found(toy, stored):
    path = stored / "toy.json"
    document = json.loads(path.read_text())
    document["metrics"]["score"][1] += 1e-3
    path.write_text(json.dumps(document))
    done = reproduce.reproduce(plan_reproduction(folder=toy.folder), folder=toy.folder, progress=False)
    assert [(row.seed, row.entry) for row in done.different] == [(4, "score")]
    code = CliRunner().invoke(app, ["reproduce", "--results", str(toy.folder)])
    assert code.exit_code == 1 and "19 of 20 numbers agree" in code.stdout


def test_one_that_cannot_be_run_is_named(toy, stored):
    toy.interrupts[5] = ValueError("no movie reviews here: entk fetch movie-reviews")
    done = reproduce.reproduce(plan_reproduction(folder=toy.folder), folder=toy.folder, progress=False)
    assert done.failed == {"toy": "ValueError: no movie reviews here: entk fetch movie-reviews"} and not done.rows


def test_quick_is_small_and_compared_with_nothing(toy, stored):
    parts = plan_reproduction(folder=toy.folder, quick=True)
    assert parts[0].config == Config(n=1) and parts[0].seeds == (3,)
    out = CliRunner().invoke(app, ["reproduce", "--quick", "--results", str(toy.folder)])
    assert out.exit_code == 0 and "nothing stored to compare with" in out.stdout


def test_a_dry_run_runs_nothing(toy, stored):
    out = CliRunner().invoke(app, ["reproduce", "--dry-run", "--results", str(toy.folder)])
    assert out.exit_code == 0 and not toy.calls and "5 seeds of 1 experiments" in out.stderr


def test_mistakes_are_named(toy, stored):
    with pytest.raises(ValueError, match="at least one"):
        plan_reproduction(folder=toy.folder, count=0)
    with pytest.raises(ValueError, match="no experiment is called 'tooy'"):
        plan_reproduction(["tooy"], folder=toy.folder)
