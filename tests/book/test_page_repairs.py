"""What is mended on every built page: by text, and in a real build of a small book."""

import pytest

from tools.page_repairs import repaired

PAGE = """<head>
  <script defer src="../_static/scripts/fontawesome.js?digest=1"></script>
    <script src="../_static/searchtools.js"></script>
    <script src="../_static/language_data.js"></script>
    <script src="../searchindex.js"></script>
  <script src="../_static/scripts/bootstrap.js"></script></head>
<div id="pst-primary-sidebar" class="bd-sidebar"></div><i class="fab fa-github"></i>
<th class="head"><p></p></th><th scope="col"></th><th class="head"><p>n</p></th>
"""


def test_scripts_that_nobody_needs_go_and_the_rest_stays():
    page = repaired(PAGE)
    assert page.count("<script") == 1 and "bootstrap.js" in page
    assert repaired(PAGE, search=True).count("<script") == 4


def test_corners_side_bar_and_sign():
    page = repaired(PAGE)
    assert page.count("<td></td>") == 2 and '<th class="head"><p>n</p></th>' in page
    assert '<div id="pst-primary-sidebar" role="region" aria-label="Contents and search" class="bd-sidebar">' in page
    assert 'class="fas fa-code-branch"' in page and "fa-github" not in page


def test_an_entry_of_the_bibliography_is_an_item_of_a_list():
    assert repaired('<div class="citation" role="doc-biblioentry">') == '<div class="citation" role="listitem">'


def test_the_arrow_of_the_contents_has_a_name():
    page = '<details><summary><span class="toctree-toggle" role="presentation"></span></summary></details>'
    assert '<summary aria-label="Pages under this entry"><span class="toctree-toggle"' in repaired(page)


def test_mending_twice_is_mending_once():
    assert repaired(repaired(PAGE)) == repaired(PAGE)


def test_a_build_is_mended(tmp_path):
    application = pytest.importorskip("sphinx.application")
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "static" / "scripts").mkdir(parents=True)
    (source / "static" / "scripts" / "fontawesome.js").write_text("1", encoding="utf-8")
    (source / "conf.py").write_text("html_theme = 'basic'\nhtml_static_path = ['static']\n", encoding="utf-8")
    table = '.. csv-table::\n   :header: "", n\n\n   a, 1\n'
    (source / "index.rst").write_text(f"Title\n=====\n\n{table}", encoding="utf-8")
    app = application.Sphinx(source, source, out, out, "html", status=None, warning=None)
    app.setup_extension("tools.page_repairs")
    app.build()
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "<td></td>" in page and "searchindex" not in page
    assert "searchindex" in (out / "search.html").read_text(encoding="utf-8")
    assert not (out / "_static" / "scripts" / "fontawesome.js").exists()
