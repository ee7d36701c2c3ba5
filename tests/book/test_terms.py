"""Terms of the glossary: none undefined, none unused, each linked where a chapter first uses it."""

import nbformat
import pytest

from tools import terms

GLOSSARY = """# Glossary

```{glossary}
cliff
  A large ratio.

sum modes
axis modes
  Waves.
```
"""


@pytest.fixture
def book(tmp_path):
    def write(text, other="{term}`sum modes` and {term}`axis modes` and {term}`cliff`"):
        glossary, page, chapter = (tmp_path / name for name in ("glossary.md", "page.md", "chapter.ipynb"))
        glossary.write_text(GLOSSARY, encoding="utf-8")
        page.write_text(other, encoding="utf-8")
        cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_markdown_cell(text)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), chapter)
        return terms.problems([glossary, page, chapter], [chapter], glossary)

    return write


def test_the_terms_of_the_book_are_in_order():
    assert terms.main([]) == 0


def test_a_good_book_has_no_faults(book):
    assert book("The first {term}`cliff` and other cliffs.\n\nNo sum modes`\n") != []  # met without a link
    assert book("The first {term}`cliff`, and other cliffs.") == []


def test_a_term_used_and_not_defined_is_found_with_file_and_line(book):
    (found,) = book("One line.\n\nA {term}`valley` here.")
    assert "chapter.ipynb, line " in found and "'valley' is used and glossary.md has no such term" in found


def test_a_term_defined_and_never_used_is_found_with_file_and_line(book):
    (found,) = book("Nothing.", other="{term}`sum modes` and {term}`axis modes`")
    assert "glossary.md, line 4: the term 'cliff' is defined and no page links it" in found


@pytest.mark.parametrize("text", ["A cliff.", "Cliffs are steep, a {term}`cliff` is.", "| a | cliff |", "*cliff*"])
def test_a_first_use_without_a_link_is_found(book, text):
    (found,) = book(text)
    assert "chapter.ipynb, line " in found and "first use of 'cliff' without a link" in found


@pytest.mark.parametrize(
    "text",
    [
        "## A cliff",
        "`cliff`",
        "$cliff$",
        "(cliff)=\nA label.",
        "[a hill](cliff.md)",
        "```{prf:theorem} The cliff\n{term}`Cliffs <cliff>` are steep.\n```",
        "clifftop",
        "eigen-cliff",
    ],
)
def test_what_is_no_prose_is_no_use(book, text):
    assert book(text) == []
