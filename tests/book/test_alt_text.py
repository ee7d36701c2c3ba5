"""Pictures have words; a planted one without is found, with file and line."""

import nbformat
import pytest

from tools import alt_text


def test_every_picture_of_the_book_has_an_alternative_text():
    assert alt_text.main([]) == 0


@pytest.mark.parametrize(
    "text",
    [
        "![](curve.png)",
        "```{figure} curve.png\n:name: fig-x\n\nWhat it shows.\n```",
        ":::{image} curve.png\n:alt:\n:::",
        '<img src="curve.png">',
        '<img src="curve.png" alt=" ">',
    ],
)
def test_a_picture_without_one_is_found_with_file_and_line(tmp_path, capsys, text):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{text}\n", encoding="utf-8")
    assert alt_text.main([str(page)]) == 1
    assert "page.md, line 3:" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text",
    [
        "![a curve](curve.png)",
        "```{figure} curve.png\n:name: fig-x\n:alt: A curve.\n```",
        '<img alt="A curve" src="x">',
    ],
)
def test_a_picture_with_one_is_left_alone(text):
    assert list(alt_text.in_text(text)) == []


def test_the_figure_of_a_cell_without_one_is_found(tmp_path):
    options = {"figure": {"name": "fig-x", "caption": "What it shows."}, "image": {"alt": ""}}
    cell = nbformat.v4.new_code_cell("draw()", metadata={"mystnb": options})
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), tmp_path / "x.ipynb")
    (found,) = alt_text.problems(tmp_path / "x.ipynb")
    assert "x.ipynb, line " in found and "a cell's figure" in found
