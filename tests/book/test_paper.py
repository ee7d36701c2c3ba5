"""The book on paper: the document that is printed, the rules it is printed by, and one chapter in a real browser."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest

from tools import browser, paper, pdf

PAGES = ("book/index", "book/infinite/linear", "book/text/negation")
BOOK = (paper.Part("", PAGES[:1]), paper.Part("Infinite width", PAGES[1:2]), paper.Part("Real text", PAGES[2:]))


def built(body, number="2."):
    return f"""<html><head><title>x</title>
    <link rel="stylesheet" href="../_static/book.css"><script src="../_static/copybutton.js"></script>
    <script>window.MathJax = {{"tex": {{}}}}</script>
    <script defer src="../_static/mathjax/tex-mml-chtml.js"></script></head>
    <body><nav>menu</nav><article class="bd-article"><section id="a"><h1><span class="section-number">{number}</span>
    A "quoted" title<a class="headerlink" href="#a">#</a></h1>{body}</section></article></body></html>"""


def section(body, page="book/infinite/linear"):
    return paper.article(built(body), page, PAGES)


@pytest.mark.parametrize(
    ("href", "goal"),
    [
        ("#eq-x", "#infinite-linear--eq-x"),
        ("#", "#infinite-linear"),
        ("../text/negation.html", "#text-negation"),
        ("../text/negation.html#sec-a", "#text-negation--sec-a"),
        ("linear.html#b", "#infinite-linear--b"),
        ("../index.html", "#index"),
        ("https://example.org/x.html#y", "https://example.org/x.html#y"),
        ("../../genindex.html", None),
        ("../../_modules/a.html", None),
    ],
)
def test_a_link_stays_inside_the_document_or_goes(href, goal):
    assert paper.target(href, "book/infinite/linear", PAGES) == goal
    link = section(f'<p>see <a class="z" href="{href}">there</a></p>').select_one("a.z")
    assert (link["href"] if link else None) == goal
    assert "there" in section(f'<p><a href="{href}">there</a></p>').get_text()


def test_ids_of_two_pages_do_not_collide():
    one, two = (paper.article(built('<p id="same">x</p>'), page, PAGES) for page in PAGES[1:])
    ids = [{node["id"] for node in chapter.find_all(id=True)} | {chapter["id"]} for chapter in (one, two)]
    assert ids[0].isdisjoint(ids[1]) and "infinite-linear--same" in ids[0]


def test_what_is_folded_for_the_reader_is_open_and_what_only_draws_a_figure_goes():
    chapter = section(
        '<details class="sd-dropdown"><summary>Hint</summary>look</details>'
        '<div class="cell tag_hide-input"><details class="hide above-input"><pre>plot()</pre></details>'
        '<figure><img alt="a" src="../../_images/f.png"></figure></div><button>Copy</button>'
    )
    assert chapter.select_one("details").has_attr("open") and "look" in chapter.get_text()
    assert "plot()" not in chapter.get_text() and "Copy" not in chapter.get_text() and "#" not in chapter.get_text()
    assert chapter.img["src"] == "../html/_images/f.png"


def test_a_page_that_is_no_page_of_the_book_is_refused():
    with pytest.raises(ValueError, match="book/infinite/linear: no article"):
        paper.article("<html><body>gone</body></html>", "book/infinite/linear", PAGES)


def test_the_document_has_title_contents_parts_and_chapters_in_order():
    pages = {page: built(f"<p>body of {page}</p>", number="" if page == "book/index" else "2.") for page in PAGES}
    text = paper.document(dict(reversed(pages.items())), BOOK, stamp="Version 9")
    marks = ['<header class="title">', "Version 9", 'id="contents"', "Infinite width</h2>", "Real text</h2>"]
    marks += [f"body of {page}" for page in PAGES]
    assert [text.index(mark) for mark in marks] == sorted(text.index(mark) for mark in marks)
    for page in PAGES:
        assert f'data-of="{paper.key(page)}"' in text and f'href="#{paper.key(page)}"' in text
    assert "menu" not in text and "copybutton" not in text
    assert '"../html/_static/book.css"' in text and '"../html/_static/mathjax/tex-mml-chtml.js"' in text
    assert 'data-theme="light"' in text


def test_running_heads_carry_number_and_title_and_survive_quotes():
    chapters = {PAGES[1]: section("<p>x</p>")}
    assert r'@page infinite-linear { @top-right { content: "2. A \"quoted\" title"; } }' in paper.running_heads(
        chapters
    )


@pytest.mark.parametrize(
    "rule",
    [
        r"\.paper pre \{[^}]*white-space: pre-wrap",
        r"\.paper figure[^{]*\{[^}]*break-inside: avoid",
        r"\.paper thead \{[^}]*table-header-group",
        r"@bottom-center \{ content: counter\(page\)",
        r"\.chapter \{[^}]*break-before: page",
        r"img \{[^}]*max-width: 100%",
        r"size: A4",
    ],
)
def test_the_rules_of_paper(rule):
    assert re.search(rule, paper.STYLE.read_text(encoding="utf-8"))


def test_the_fonts_of_paper_lie_beside_the_book():
    for name in re.findall(r"url\(\.\./html/_static/(\S+?)\)", paper.STYLE.read_text(encoding="utf-8")):
        assert (browser.ROOT / "book" / "_static" / name).is_file()


def test_every_page_of_the_contents_is_a_page_of_paper():
    assert [f"{page}.html" for part in paper.parts() for page in part.pages] == browser.pages()


def test_pages_of_destinations_are_read_through_a_nested_page_tree():
    objects = {
        1: "<</Type /Pages\n/Kids [2 0 R 3 0 R]>>",
        2: "<</Type /Pages\n/Kids [4 0 R 5 0 R]>>",
        **dict.fromkeys((3, 4, 5), "<</Type /Page\n/X 1>>"),
        6: "<</residual-stream [5 0 R /XYZ 0 1 0]\n/a-b [3 0 R /XYZ 0 1 0]\n/c#28d [4 0 R /XYZ 0 1 0]>>",
        7: "<</Type /Catalog\n/Pages 1 0 R\n/Dests 6 0 R>>",
    }
    file = "".join(f"{number} 0 obj\n{body}\nendobj\n" for number, body in objects.items()).encode()
    assert pdf.page_of_destinations(file) == {"residual-stream": 2, "a-b": 3, "c(d": 1}
    assert pdf.count_pages(file) == 3
    with pytest.raises(ValueError, match="no page tree"):
        pdf.page_of_destinations(b"%PDF of another kind")


def test_without_a_built_book_the_command_says_what_to_do(tmp_path):
    with pytest.raises(RuntimeError, match="make book"):
        pdf.write(folder=tmp_path / "pdf", html=tmp_path)


@pytest.mark.browser
@pytest.mark.skipif(browser.executable() is None, reason="no Chromium on the path: apt-get install chromium")
class TestPrinted:
    @pytest.mark.skipif(not browser.HTML.is_dir(), reason="the book is not built: make book")
    def test_a_chapter_becomes_numbered_pages_with_nothing_cut_off(self, tmp_path):
        # beside the built pages, whose style sheets and pictures it uses, but not in the place of the whole book
        pages, folder = ["book/index", "book/reference/notation"], browser.ROOT / "_build" / "pdf-test"
        with ThreadPoolExecutor(1) as other:  # a second browser is refused in the thread of the first
            target, wide = other.submit(pdf.write, pages, folder=folder).result()
        content = target.read_bytes()
        assert wide == []
        assert pdf.count_pages(content) > 5
        places = pdf.page_of_destinations(content)
        assert 3 <= places["index"] < places["reference-notation"] <= pdf.count_pages(content)
        assert b"/Outlines" in content and b"/MarkInfo" in content and len(content) < 6_000_000

    def test_what_is_too_wide_for_the_page_is_shrunk_broken_or_named(self, tmp_path, chromium):
        style = paper.STYLE.read_text(encoding="utf-8")
        file = tmp_path / "x.html"
        wide = "<table><tr>" + "<td style='white-space: nowrap'>some words</td>" * 10 + "</tr></table>"
        code = "<pre>" + "word" * 200 + "</pre>"
        stuck = "<section class='chapter' id='bad'><div style='width: 2000px'>planted</div></section>"
        with browser.page_without_network(chromium) as (page, _):
            for body, named in ((wide + code, False), (wide + code + stuck, True)):
                file.write_text(f"<style>{style}</style><body class='paper'><main>{body}</main>", encoding="utf-8")
                found = pdf.load(page, file)
                assert bool(found) == named
            assert "bad" in found[0] and "planted" in found[0]
