import json
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from entk_tutorial.cli import _duration, app


@pytest.fixture
def entk(toy, monkeypatch, tmp_path):
    """Call the command line in an empty folder, without the book: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("entk_tutorial.stored.find_book", lambda: None)  # tests/test_stored.py looks at notebooks

    def call(*arguments):
        done = CliRunner().invoke(app, list(arguments))
        return done.exit_code, done.stdout, done.stderr

    return call


def test_list_shows_name_title_and_time(entk):
    code, out, _ = entk("list")
    assert code == 0 and re.search(r"toy\s+0 s a seed  Scores grow with the seed", out)


def test_run_writes_the_result_and_prints_numbers_beside_chance_and_controls(entk, toy):
    code, out, err = entk("run", "toy", "--seeds", "0-1")
    assert code == 0 and json.loads(toy.final.read_text())["seeds"] == [0, 1]
    assert re.search(r"score\s+0\.3333\s+10\.17 ± 0\.24\s+0\.050 ± 0\.071", out)
    assert "X.1: reproduced" in out and "written: results/toy.json" in out
    assert "toy" in err and "100%" in err


def test_run_at_another_scale_says_that_there_is_no_verdict(entk, toy):
    assert "No verdicts" in entk("run", "toy", "--quick", "--seeds", "0")[1]
    assert json.loads(toy.final.read_text())["config"]["n"] == 1


@pytest.mark.parametrize(
    "words",
    [
        ["--set", "n=2", "--set", "rates=1,2"],
        ["--set", "n=2", "rates=1,2"],
        ["n=2", "rates=1,2"],
    ],
)
def test_settings_may_be_repeated_or_follow_one_another(entk, toy, words):
    assert entk("run", "toy", "--seeds", "0", *words)[0] == 0
    config = json.loads(toy.final.read_text())["config"]
    assert config["n"] == 2 and config["rates"] == [1.0, 2.0]


def test_second_run_takes_what_is_there_and_fresh_does_not(entk, toy):
    entk("run", "toy", "--seeds", "0-2", "--results", "results")
    entk("run", "toy", "--seeds", "0-2")
    assert toy.calls == [0, 1, 2]
    entk("run", "toy", "--seeds", "0", "--fresh")
    assert toy.calls == [0, 1, 2, 0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "toyz"], "no experiment is called 'toyz': did you mean toy?"),
        (["run", "toy", "--seeds", "x"], "seeds 'x': 'x' is neither a number nor a range. Write 0-4"),
        (["run", "toy", "--seeds", "0,0"], "seeds [0] are given more than once"),
        (["run", "toy", "--set", "scal=2"], "no setting 'scal': did you mean scale?"),
        (["run", "toy", "--set", "n=two"], "n=two: a value of type int is needed"),
        (["run", "toy", "--set", "n=0"], "n must be at least 1, got 0"),
        (["run", "toy", "--results", "claims.toml/x"], "the results folder claims.toml/x cannot be written to"),
        (["report", "--format", "pdf"], "format is 'text', 'markdown' or 'html', got 'pdf'"),
        (["verify", "--spot", "--results", "book"], "the spot check has nothing to run"),
    ],
)
def test_mistake_is_one_message_on_stderr(entk, words, message):
    code, out, err = entk(*words)
    assert code == 2 and "Traceback" not in out + err
    assert message in err and err.startswith("entk: error: ") and err.count("\n") == 1


def test_typing_mistake_in_an_option_is_exit_code_2(entk):
    assert entk("run", "toy", "--sed", "1")[0] == 2
    assert entk("run")[0] == 2


def test_interrupt_says_what_is_kept_and_how_to_go_on(entk, toy):
    toy.interrupts[1] = KeyboardInterrupt()
    code, _, err = entk("run", "toy")
    assert code == 130
    assert (
        "interrupted. 1 of 5 seeds of toy are kept in results/toy.partial; the same call continues from there." in err
    )


def test_seeds_that_are_not_used_are_reported_on_stderr(entk):
    entk("run", "toy", "--seeds", "0")
    _, _, err = entk("run", "toy", "--seeds", "0", "--quick")
    assert "entk: warning: results/toy.json is from another config" in err


def test_report_prints_the_ledger(entk):
    entk("run", "toy", "--seeds", "0-2")
    code, out, _ = entk("report", "--results", "results", "--format", "markdown")
    assert code == 0 and out.startswith("| claim | published | ours | chance | control | verdict | page | command |")
    assert "reproduced" in entk("report", "--results", "results")[1]


def test_check_passes_an_honest_ledger_and_fails_a_forged_one(entk, toy):
    entk("run", "toy", "--seeds", "0-2")
    assert entk("report", "--check", "--results", "results")[:2] == (
        0,
        "the ledger holds: 2 claims, 1 of them tested.\n",
    )
    toy.edit(lambda document: document["metrics"].update(score=[1.0, 1.0, 1.0]))
    code, out, err = entk("report", "--check", "--results", "results")
    assert code == 1 and out == ""
    assert "its numbers say 'not reproduced'" in err and "the ledger does not hold: 1 failure." in err


def test_verify_checks_form_and_spot_checks_numbers(entk, toy):
    entk("run", "toy", "--seeds", "0-2")
    assert entk("verify", "--results", "results")[0] == 0
    code, out, _ = entk("verify", "--spot", "--results", "results")
    assert code == 0 and "4 numbers agree with a re-run." in out
    toy.edit(lambda document: document["controls"]["shuffled"].update(score=[11.0, 11.0, 11.0]))
    code, out, err = entk("verify", "--spot", "--results", "results")
    assert code == 1 and "DIFFERS" in out and "shuffled.score" in err
    toy.edit(lambda document: document["metrics"].update(score=[]))
    code, _, err = entk("verify", "--results", "results")
    assert code == 1 and "score should hold 3 values" in err


def test_info_names_versions_threads_and_memory(entk):
    code, out, _ = entk("info")
    assert code == 0
    for word in ("python", "torch", "numpy", "threads", "device", "free memory", "commit"):
        assert re.search(rf"^{word}\s+\S", out, re.MULTILINE), word


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (120, "2 min"), (7200, "2.0 h")])
def test_durations_are_readable(seconds, text):
    assert _duration(seconds) == text


def test_command_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "entk_tutorial.cli", "list"], capture_output=True, text=True, check=True
    )
    assert "modular-mlp" in done.stdout


def test_renew_says_what_it_did(entk, toy):
    toy.run()
    toy.edit(lambda document: document["hashes"].update(code="0" * 64))
    code, out, _ = entk("renew", "toy", "--results", "results")
    assert code == 0 and "numbers the same; renewed." in out
    assert "not stale" in entk("renew", "toy", "--results", "results")[1]
    document = json.loads(toy.final.read_text())
    document["hashes"]["code"], document["metrics"]["score"] = "0" * 64, [1.0, 2.0, 3.0]
    toy.final.write_text(json.dumps(document))
    code, out, err = entk("renew", "toy", "--results", "results")
    assert code == 1 and "score" in out and "the file is left as it is" in err


def test_run_on_workers_writes_what_one_process_writes(entk, tmp_path):
    options = ["run", "toy", "--seeds", "0-1", "--sweep", "scale=1;2"]
    assert entk(*options, "--results", "alone")[0] == 0
    assert entk(*options, "--results", "shared", "--workers", "1")[0] == 0
    for label in ("scale=1", "scale=2"):
        documents = [json.loads((tmp_path / f / label / "toy.json").read_text()) for f in ("alone", "shared")]
        assert documents[0]["metrics"] == documents[1]["metrics"]


def test_two_clusters_or_one_that_is_not_there(entk, monkeypatch):
    monkeypatch.setattr("entk_tutorial.distributed.cluster.connect.__wrapped__.__kwdefaults__", {"timeout": 1.0})
    code, _, err = entk("run", "toy", "--workers", "1", "--scheduler", "tcp://127.0.0.1:9")
    assert code == 2 and "give one of them" in err
    code, _, err = entk("run", "toy", "--scheduler", "tcp://127.0.0.1:9")
    assert code == 2 and "no scheduler answered at tcp://127.0.0.1:9" in err and "dask scheduler" in err
