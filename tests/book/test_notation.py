"""The code column of the notation page: every name in it is a name of the package."""

import ast
import re

import pytest

from tools import browser

PACKAGE = browser.ROOT / "entk_tutorial"
PAGE = browser.ROOT / "book" / "reference" / "notation.md"
# Of torch, and what stands for an argument.
OTHERS = {
    "x",
    "K",
    "U",
    "F",
    "net",
    "C",
    "d",
    "k",
    "r",
    "A",
    "N",
    "values",
    "W_E",
    "W_U",
    "task",
    "directions",
    "model",
}


def names_of_the_package():
    """Every function, class, argument, attribute and key of a mapping in the package's source."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif isinstance(node, ast.Attribute):
                found.add(node.attr)
            elif isinstance(node, ast.Name):
                found.add(node.id)
            elif isinstance(node, ast.keyword) and node.arg:
                found.add(node.arg)
    return found


def words_of(code):
    """Names in a piece of code from the table; what is no expression by itself is read as an argument or attribute."""
    code = code.replace("...", "None")
    if code.startswith("."):
        code = f"x{code}"
    if code.startswith("["):
        code = f"x{code}"
    if re.match(r"^\w+=", code):
        code = f"f({code})"
    tree = ast.parse(code, mode="eval")
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.arg


def code_column():
    """Pairs of line and piece of code."""
    for number, line in enumerate(PAGE.read_text(encoding="utf-8").splitlines(), start=1):
        cells = re.split(r"(?<!\\)\|", line)
        if line.startswith("|") and len(cells) == 6:
            yield from ((number, piece) for piece in re.findall(r"`([^`]+)`", cells[2]))


def strangers(pairs, known):
    return [(number, code, word) for number, code in pairs for word in words_of(code) if word not in known | OTHERS]


@pytest.fixture(scope="module")
def known():
    return names_of_the_package()


def test_every_code_name_is_a_name_of_the_package(known):
    pairs = list(code_column())
    assert len(pairs) > 60
    assert strangers(pairs, known) == []


@pytest.mark.parametrize("code", ["empirical_ntkk(model, x)", 'reduced="trace"', ".residualz", "hiddn"])
def test_a_name_that_is_gone_is_noticed(known, code):
    assert strangers([(1, code)], known) != []
