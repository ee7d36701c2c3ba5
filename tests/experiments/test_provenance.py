import importlib
import re

import pytest

from entk_tutorial.experiments import provenance

MODULE = '''
"""What it is."""
from entk_tutorial.experiments.base import Experiment

def run_seed(config, seed, progress):
    """Say how."""
    return seed + 1  # one more

EXPERIMENT = Experiment(name="t", title="old title", config_type=int, run_seed=run_seed, seconds_per_seed=1.0)
'''


@pytest.fixture
def code_of(tmp_path):
    """The code hash of a module with this text."""

    def hashed(text: str) -> str:
        path = tmp_path / "module_of_experiment.py"
        path.write_text(text, encoding="utf-8")
        function = type("F", (), {"__module__": "module_of_experiment"})
        source = provenance.inspect.getsourcefile
        provenance.inspect.getsourcefile = lambda _: str(path)
        try:
            return provenance.code_hash(function)
        finally:
            provenance.inspect.getsourcefile = source

    return hashed


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  # one more", ""),
        ('"""Say how."""', '"""Say it otherwise."""'),
        ('"""What it is."""', ""),
        ("seed + 1", "(seed   + 1)"),
        ("old title", "new title"),
        ("seconds_per_seed=1.0", "seconds_per_seed=2.0"),
        ("\ndef run_seed", "\n__all__ = ['run_seed']\ndef run_seed"),
    ],
)
def test_words_and_layout_do_not_change_the_code_hash(code_of, old, new):
    assert old in MODULE
    assert code_of(MODULE.replace(old, new)) == code_of(MODULE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("seed + 1", "seed + 2"),
        ("seed + 1", "seed + 1.0"),
        ("seed + 1", "seed - 1"),
        ("run_seed=run_seed", "run_seed=print"),
        ("from entk_tutorial.experiments.base import Experiment", "from entk_tutorial.training import Experiment"),
    ],
)
def test_code_changes_the_code_hash(code_of, old, new):
    assert old in MODULE
    assert code_of(MODULE.replace(old, new)) != code_of(MODULE)


def test_docstring_removal_keeps_other_strings(code_of):
    assert code_of("def f():\n    return 'a'\n") != code_of("def f():\n    return 'b'\n")


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of this one; a function that writes a file of it."""
    root = tmp_path / "entk_tutorial"
    monkeypatch.setattr(provenance, "ROOT", root)

    def write(path: str, text: str) -> None:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")

    write("__init__.py", "from entk_tutorial.deep import tool\n")
    write(
        "deep/__init__.py", "from entk_tutorial.deep.tool import use\nfrom .other import thing as renamed\nVALUE = 1\n"
    )
    write("deep/tool.py", "from ..leaf import x\ndef use(): ...\n")
    write("deep/other.py", "thing = 1\n")
    write("leaf.py", "x = 1\n")
    write("plotting.py", "from entk_tutorial.leaf import x\n")
    return write


@pytest.mark.parametrize(
    ("line", "needed"),
    [
        ("from entk_tutorial.deep import use", {"entk_tutorial.deep.tool"}),
        ("from entk_tutorial.deep import renamed", {"entk_tutorial.deep.other"}),
        ("from entk_tutorial.deep import tool", {"entk_tutorial.deep.tool"}),
        ("from entk_tutorial.deep import VALUE", {"entk_tutorial.deep"}),
        ("from entk_tutorial import tool", {"entk_tutorial.deep.tool"}),
        ("import entk_tutorial.deep.tool as t", {"entk_tutorial.deep.tool"}),
        ("from ..leaf import x", {"entk_tutorial.leaf"}),
        ("def f():\n    from entk_tutorial.leaf import x", {"entk_tutorial.leaf"}),
        ("if TYPE_CHECKING:\n    from entk_tutorial.leaf import x", set()),
        ("from entk_tutorial import plotting", set()),
        ("import torch\nfrom os import path", set()),
    ],
)
def test_imports_are_followed_to_the_defining_module(package, line, needed):
    package("experiments/e.py", line + "\n")
    path = provenance.ROOT / "experiments" / "e.py"
    assert provenance._imports(path, "entk_tutorial.experiments.e") == needed


def test_code_hash_covers_modules_imported_indirectly(package, code_of):
    text = "from entk_tutorial.deep import use\n"
    before = code_of(text)
    package("deep/other.py", "thing = 2\n")
    assert code_of(text) == before  # not imported by anything used
    package("leaf.py", "x = 2\n")
    assert code_of(text) != before


def test_code_without_a_file_cannot_be_dated():
    namespace: dict = {"__name__": "typed_in"}
    exec("def run_seed(config, seed, progress): ...", namespace)
    with pytest.raises(ValueError, match="is not in a file, so its results cannot be dated"):
        provenance.code_hash(namespace["run_seed"])


def test_config_hash_sees_name_and_values():
    one = provenance.config_hash("a", {"p": 3, "rates": (1, 2)})
    assert one == provenance.config_hash("a", {"rates": [1, 2], "p": 3})
    assert one != provenance.config_hash("b", {"p": 3, "rates": (1, 2)})
    with pytest.raises(ValueError, match="the config of a cannot be stored as JSON"):
        provenance.config_hash("a", {"f": print})


def test_commit_is_that_of_this_checkout_only(monkeypatch, tmp_path):
    found = provenance.commit()
    assert found is None or re.fullmatch(r"[0-9a-f]{40}(\+changes)?", found)
    monkeypatch.setattr(provenance, "_git", lambda *a: str(tmp_path) if "--show-toplevel" in a else "0" * 40)
    assert provenance.commit() is None


def test_versions_name_what_is_missing(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(provenance.importlib.metadata, "version", missing)
    assert provenance.versions()["torch"] == "not installed"
