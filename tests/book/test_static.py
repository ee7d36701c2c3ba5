"""What ships with the book: MathJax unchanged, references complete, tools that refuse what they should."""

import re
import subprocess
from pathlib import Path

import pytest
import torch
import yaml

from tools import fetch_mathjax

ROOT = Path(__file__).resolve().parents[2]


def test_mathjax_is_what_was_fetched():
    assert fetch_mathjax.sums(fetch_mathjax.TARGET) == fetch_mathjax.stored_sums(fetch_mathjax.TARGET)


def test_a_changed_byte_of_mathjax_is_noticed(tmp_path):
    (tmp_path / "a.js").write_text("one", encoding="utf-8")
    before = fetch_mathjax.sums(tmp_path)
    (tmp_path / "a.js").write_text("two", encoding="utf-8")
    assert fetch_mathjax.sums(tmp_path) != before


def test_the_book_uses_the_mathjax_beside_it():
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    assert (ROOT / "book" / "_static" / config["sphinx"]["config"]["mathjax_path"]).is_file()


def test_every_page_of_the_contents_exists():
    files = re.findall(r"^\s*(?:- file|root): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(files) > 5
    assert [f for f in files if not any((ROOT / f"{f}{suffix}").is_file() for suffix in (".md", ".ipynb"))] == []


def test_every_notebook_is_in_the_contents():
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    books = [p.relative_to(ROOT).with_suffix("").as_posix() for p in (ROOT / "book").rglob("*.ipynb")]
    assert [b for b in books if ".ipynb_checkpoints" not in b and f"file: {b}\n" not in contents] == []


def test_every_dependency_is_pinned():
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in pins if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line)] == []


@pytest.mark.parametrize("goal", "help book test check notebooks run bench pdf html-zip audit clean".split())
def test_the_makefile_has_the_promised_goals(goal):
    assert re.search(rf"^{goal}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


def test_make_names_the_cure_for_a_python_that_is_too_old(tmp_path):
    old = tmp_path / "old-python"
    old.write_text('#!/bin/sh\n[ "$1" = "-V" ] && echo "Python 3.9.1" && exit 0\nexit 1\n', encoding="utf-8")
    old.chmod(0o755)
    command = ["make", "--no-print-directory", "book", f"PYTHON={old}", f"VENV={tmp_path}/venv"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "Python 3.9.1; 3.11 or newer is needed" in result.stderr


def test_the_code_of_the_readme_runs(capsys):
    first, second = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    torch.manual_seed(0)
    names: dict[str, object] = {}
    exec(compile(first, "README.md", "exec"), names)
    index, ratio = eval(capsys.readouterr().out)
    assert index >= 2
    assert ratio > 1
    exec(compile(second, "README.md", "exec"), names)  # goes on with what the first defined
    assert capsys.readouterr().out.strip()


def test_the_first_lines_of_the_readme_name_commands_that_exist():
    goals = set(re.findall(r"\bmake (book|run|test|help)\b", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert goals == {"book", "run", "test", "help"}
