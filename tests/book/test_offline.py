"""The offline zip: complete, the same bytes each time, and readable from a folder with the network blocked."""

import zipfile
from contextlib import contextmanager

import pytest

from tools import browser, html_zip

HARMLESS = ("THEBE_JS_URL",)


def needs_browser(test):
    """Mark a test that opens the built book."""
    for condition, reason in (
        (browser.executable() is None, "no Chromium on the path: apt-get install chromium"),
        (not browser.HTML.is_dir(), "the book is not built: make book"),
    ):
        test = pytest.mark.skipif(condition, reason=reason)(test)
    return pytest.mark.browser(test)


@pytest.fixture
def small(tmp_path):
    html = tmp_path / "html"
    (html / "book").mkdir(parents=True)
    (html / "index.html").write_text("first", encoding="utf-8")
    (html / "book" / "a.html").write_text("a" * 1000, encoding="utf-8")
    (html / ".buildinfo").write_text("not for readers", encoding="utf-8")
    return html


def test_the_zip_has_every_file_in_one_folder_and_no_bookkeeping(small, tmp_path):
    assert html_zip.write(small, tmp_path / "x.zip") == 2
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.namelist() == [f"{html_zip.FOLDER}/book/a.html", f"{html_zip.FOLDER}/index.html"]
        assert archive.read(f"{html_zip.FOLDER}/index.html") == b"first"


def test_the_same_pages_give_the_same_bytes(small, tmp_path):
    html_zip.write(small, tmp_path / "one.zip")
    (small / "index.html").touch()
    html_zip.write(small, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_without_a_book_it_says_what_to_do(tmp_path):
    with pytest.raises(RuntimeError, match="make book"):
        html_zip.write(tmp_path, tmp_path / "x.zip")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory, chromium):
    folder = tmp_path_factory.mktemp("zip")
    html_zip.write(target=folder / "book.zip")
    with zipfile.ZipFile(folder / "book.zip") as archive:
        archive.extractall(folder)
    return folder / html_zip.FOLDER, chromium


@contextmanager
def opened(unpacked, name):
    folder, chromium = unpacked
    with browser.page_without_network(chromium) as (page, refused):
        messages = []
        page.on("console", lambda m: messages.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: messages.append(str(e)))
        address, _, query = name.partition("?")
        browser.open_page(page, (folder / address).as_uri() + (f"?{query}" if query else ""))
        yield page
        assert ([m for m in messages if not any(h in m for h in HARMLESS)], refused) == ([], [])


@needs_browser
@pytest.mark.parametrize("name", ["book/infinite/linear", "book/microscope/modular-mlp", "book/reference/notation"])
def test_formulas_and_figures_are_there(unpacked, name):
    with opened(unpacked, f"{name}.html") as page:
        assert page.locator("mjx-container").count() > 10
        assert page.locator("mjx-merror").count() == 0
        broken = "all => all.filter(image => !image.complete || !image.naturalWidth).map(image => image.src)"
        page.eval_on_selector_all("main img", "all => all.forEach(image => { image.loading = 'eager'; })")
        page.wait_for_function("() => [...document.querySelectorAll('main img')].every(image => image.complete)")
        assert page.eval_on_selector_all("main img", broken) == []


@needs_browser
def test_search_finds_pages_and_leads_to_one(unpacked):
    with opened(unpacked, "search.html?q=superposition") as page:
        page.wait_for_selector("#search-results ul.search li a", timeout=30_000)
        assert page.locator("#search-results ul.search li").count() > 1
        page.locator("#search-results ul.search li a[href*='microscope/superposition.html']").first.click()
        page.wait_for_url("**/superposition.html*")
        assert "Superposition" in page.locator("h1").first.inner_text()
