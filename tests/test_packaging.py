"""The wheel and the source archive hold what they should, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        in_wheel = set(wheel.namelist())
    with tarfile.open(next(folder.glob("*.tar.gz"))) as source:
        in_source = {name.split("/", 1)[1] for name in source.getnames() if "/" in name}
    return in_wheel, in_source


def test_the_wheel_is_complete(archives):
    wheel, _ = archives
    modules = {p.relative_to(ROOT).as_posix() for p in (ROOT / "entk_tutorial").rglob("*.py")}
    results = {p.relative_to(ROOT).as_posix() for p in (ROOT / "entk_tutorial/results").glob("*.json")}
    assert modules | results | {"entk_tutorial/py.typed", "entk_tutorial/claims.toml"} <= wheel
    assert "entk_tutorial/results/benchmarks/jacobian_contraction.json" in wheel


def test_no_tests_and_no_notebooks_travel(archives):
    for names in archives:
        assert not [n for n in names if "tests/" in n or n.endswith(".ipynb") or ".partial/" in n]


def test_the_source_archive_can_make_the_wheel(archives):
    _, source = archives
    assert {"pyproject.toml", "README.md", "LICENSE", "CITATION.cff", "claims.toml"} <= source
    assert "entk_tutorial/py.typed" in source
