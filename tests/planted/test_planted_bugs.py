"""Would the tests notice? Wrong variants of the package, each caught by the test that the table names."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUGS = tomllib.loads((Path(__file__).parent / "bugs.toml").read_text(encoding="utf-8"))["bug"]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The project without what tests do not read; stored results by link."""
    place = tmp_path_factory.mktemp("planted")
    unread = shutil.ignore_patterns("__pycache__", "results")
    shutil.copytree(ROOT / "entk_tutorial", place / "entk_tutorial", ignore=unread)
    os.symlink(ROOT / "entk_tutorial" / "results", place / "entk_tutorial" / "results")
    shutil.copytree(ROOT / "tests", place / "tests", ignore=shutil.ignore_patterns("__pycache__", "planted"))
    for name in ("tools", "benchmarks", "book"):
        os.symlink(ROOT / name, place / name)
    for name in ("claims.toml", "pyproject.toml", "conftest.py", "README.md", "_toc.yml"):
        shutil.copy(ROOT / name, place / name)
    return place


def run(place, test):
    environment = {**os.environ, "PYTHONPATH": str(place), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", test]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("bug", BUGS, ids=[bug["name"].replace(" ", "-") for bug in BUGS])
def test_a_planted_bug_is_caught(copy, bug):
    path = copy / "entk_tutorial" / bug["file"]
    source = path.read_text(encoding="utf-8")
    assert source.count(bug["find"]) == 1, f"{bug['file']} has changed: look for another place to plant this bug"
    try:
        path.write_text(source.replace(bug["find"], bug["replace"]), encoding="utf-8")
        done = run(copy, bug["test"])
    finally:
        path.write_text(source, encoding="utf-8")
    assert done.returncode == 1, f"{bug['test']} did not fail:\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    assert "assert" in done.stdout or "DID NOT RAISE" in done.stdout, done.stdout  # a finding, not a crash


def test_the_tests_that_catch_them_pass_on_the_right_package(copy):
    tests = sorted({bug["test"] for bug in BUGS})
    assert all("::" in test for test in tests), "name the test, not only its file"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests],
        cwd=copy, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
