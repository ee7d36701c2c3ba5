"""Links on the interface page."""

import types

import pytest

from tools import api_links

KNOWN = {"entk_tutorial.empirical.plan", "entk_tutorial.experiments.Plan", "entk_tutorial.a.run", "entk_tutorial.b.run"}


@pytest.mark.parametrize(
    ("target", "origin", "name"),
    [
        ("entk_tutorial.experiments.base.Plan", "", "entk_tutorial.experiments.Plan"),
        ("Plan", "entk_tutorial.empirical", "entk_tutorial.experiments.Plan"),
        ("run", "entk_tutorial.b", "entk_tutorial.b.run"),
        ("run", "entk_tutorial.c", None),
        ("absent", "entk_tutorial.b", None),
    ],
)
def test_a_name_finds_its_nearest_documentation_or_none(target, origin, name):
    assert api_links.documented_name(target, KNOWN, origin) == name


def test_a_chapter_becomes_a_link_only_if_it_exists():
    app = types.SimpleNamespace(env=types.SimpleNamespace(found_docs={"book/a/b"}))
    lines = ["Chapter: book/a/b.", "Chapter: book/a/c", "see book/a/b"]
    api_links.link_chapters(app, "function", "f", None, None, lines)
    assert lines == ["Chapter: :doc:`/book/a/b`.", "Chapter: ``book/a/c``", "see book/a/b"]
