"""Numbers typed into prose: none in the book, and the checker against planted ones."""

import nbformat
import pytest

from tools import check_prose


def test_no_measured_number_is_typed_into_the_book():
    assert check_prose.main([]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "The overlap is 26.4 of 28.",
        "a chance of .16",
        ":::{note}\nIt is 0.5.\n:::",
        "````{exercise} A title with 2.5 in it\n````",
        "```{admonition} Title\nbody 1.5\n```",
        "| a | 2.10 |",
        "$x$ is 1.5 and $y$ too",
        "[a link of 1.5](x.md)",
    ],
)
def test_a_typed_decimal_is_found(text):
    assert len(check_prose.decimals(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "28 of 28 and 56/56",
        "`x = 0.5`, $y = 0.5$, {glue:text}`a-0.5`",
        "$$\nx = 0.5\n$$\n",
        "$$ x = 0.5 $$ (eq-a)",
        "```python\nx = 0.5\n```",
        "```{code-block} python\nx = 0.5\n```",
        "arXiv:2310.16350, [arXiv 2510.00468](https://arxiv.org/abs/2510.00468)",
        "Python 3.11 or newer",
        "% a comment of 0.5",
        "<!-- 0.5 -->",
        "1.2.3",
    ],
)
def test_code_formulas_and_links_are_left_alone(text):
    assert check_prose.decimals(text) == []


def test_the_lines_after_a_fence_are_read_again():
    text = "```python\n0.5\n```\nnow 1.5\n$$\n2.5\n$$ (eq-x)\nnow 3.5"
    assert check_prose.decimals(text) == [(4, "1.5"), (8, "3.5")]


def test_a_planted_number_fails_with_file_and_cell(tmp_path, capsys):
    cells = [nbformat.v4.new_markdown_cell("# Title"), nbformat.v4.new_markdown_cell("first\n\nthe loss is 0.31")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "bad.ipynb")
    assert check_prose.main([str(tmp_path / "bad.ipynb")]) == 1
    assert "bad.ipynb, cell 1, line 3: 0.31" in capsys.readouterr().err


def test_a_tagged_cell_may_quote_a_published_number(tmp_path):
    cell = nbformat.v4.new_markdown_cell("published: 26.47", metadata={"tags": ["typed-numbers"]})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "good.ipynb")
    assert check_prose.main([str(tmp_path / "good.ipynb")]) == 0


def test_a_caption_is_prose(tmp_path):
    options = {"figure": {"name": "fig-x", "caption": "The loss falls to 0.3."}}
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("plot()", metadata={"mystnb": options})]),
        tmp_path / "x.ipynb",
    )
    assert check_prose.main([str(tmp_path / "x.ipynb")]) == 1


def test_a_comment_exempts_one_paragraph_of_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("% typed-numbers\npublished 1.5\n\nmeasured 2.5\n", encoding="utf-8")
    assert [line.split(": ")[-1] for line in check_prose.in_page(page)] == ["2.5"]
