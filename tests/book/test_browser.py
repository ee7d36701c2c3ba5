"""The built book in a headless Chromium with no network: search, dark mode, figures that move (pages: test_pages)."""

import json
import re

import pytest

from tools import browser

pytest.importorskip("playwright")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.executable() is None, reason="no Chromium on the path: apt-get install chromium"),
    pytest.mark.skipif(not browser.HTML.is_dir(), reason="the book is not built: make book"),
]
# Said by a script that the theme loads twice; nothing comes of it.
HARMLESS = ("THEBE_JS_URL",)


@pytest.fixture
def open_book(site):
    from contextlib import ExitStack

    address, chromium = site
    with ExitStack() as stack:

        def open_one(name, **options):
            page, refused = stack.enter_context(browser.page_without_network(chromium, **options))
            messages = []
            page.on("console", lambda m: messages.append(m.text) if m.type == "error" else None)
            page.on("pageerror", lambda e: messages.append(str(e)))
            page.on("response", lambda r: messages.append(f"{r.status} {r.url}") if r.status >= 400 else None)
            browser.open_page(page, name if "://" in name else f"{address}/{name}")
            return page, refused, [m for m in messages if not any(h in m for h in HARMLESS)]

        yield open_one


def test_formulas_are_drawn_by_the_mathjax_of_the_book(open_book):
    page, refused, _ = open_book("book/reference/notation.html")
    assert page.locator("mjx-container").count() > 20
    assert refused == []


def test_the_book_opens_from_a_folder_without_a_server(open_book):
    page, refused, _ = open_book((browser.HTML / "book/reference/notation.html").as_uri())
    assert page.locator("mjx-container").count() > 20
    assert refused == []


def test_the_first_address_leads_to_the_first_page(open_book):
    page, _, _ = open_book("index.html")
    page.wait_for_url("**/book/index.html")
    assert "Features" in page.locator("h1").first.inner_text()


def test_search_finds_a_page(open_book):
    page, _, _ = open_book("search.html?q=kernel")
    page.wait_for_selector("#search-results ul.search li a", timeout=15_000)
    assert page.locator("#search-results ul.search li").count() > 1


def test_search_finds_nothing_where_there_is_nothing(open_book):
    page, _, _ = open_book("search.html?q=xyzzyplugh")
    page.wait_for_selector("#search-results p.search-summary", timeout=15_000)
    page.wait_for_timeout(500)
    assert page.locator("#search-results ul.search li").count() == 0


def test_the_switch_turns_the_page_dark(open_book):
    page, _, _ = open_book("book/index.html")
    background = "getComputedStyle(document.body).backgroundColor"
    shades = {page.evaluate(background)}
    for _ in range(3):  # the switch goes round: system, light, dark
        page.locator("button.theme-switch-button:visible").first.click()
        shades.add(page.evaluate(background))
    light = [sum(json.loads(s[s.index("(") :].replace("(", "[").replace(")", "]"))[:3]) for s in shades]
    assert min(light) < 200 < 600 < max(light)


def test_a_system_in_dark_mode_gets_a_dark_page(open_book):
    page, _, _ = open_book("book/index.html", dark=True)
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_the_film_of_grokking_moves_by_keyboard(open_book):
    page, refused, messages = open_book("book/microscope/grokking.html")
    slider = page.get_by_label("Epoch", exact=True)
    readout, cursor = page.locator(".entk-film .readout"), page.locator(".entk-film .cursor")
    dot, cell = page.locator(".entk-film circle").nth(100), page.locator(".entk-film .c").nth(300)

    def shown():
        return [
            readout.inner_text(),
            *(e.get_attribute(a) for e, a in ((cursor, "transform"), (dot, "cy"), (cell, "fill-opacity"))),
        ]

    slider.focus()
    page.keyboard.press("Home")
    first = shown()
    assert first[0].startswith("Epoch 0,")
    page.keyboard.press("ArrowRight")
    assert shown()[0].startswith("Epoch 5,")
    page.keyboard.press("End")
    last = shown()
    assert all(before != after for before, after in zip(first, last, strict=True))
    page.get_by_label("Run", exact=True).select_option(index=1)
    assert shown()[0] != last[0] and slider.get_attribute("aria-valuetext") == "epoch 500"
    before = page.locator(".entk-film .c").evaluate_all("all => all.map(e => e.getAttribute('fill-opacity')).join()")
    page.get_by_label("Rows", exact=True).select_option(index=1)
    after = page.locator(".entk-film .c").evaluate_all("all => all.map(e => e.getAttribute('fill-opacity')).join()")
    assert before != after and (refused, messages) == ([], [])


def test_the_film_of_grokking_is_dark_in_the_dark_and_moves_from_a_folder(open_book):
    page, refused, messages = open_book((browser.HTML / "book/microscope/grokking.html").as_uri(), dark=True)
    ink, back = (
        page.locator(".entk-film").evaluate(f"e => getComputedStyle(e).{which}")
        for which in ("color", "backgroundColor")
    )
    assert sum(map(int, re.findall(r"\d+", ink)[:3])) > 600 > 200 > sum(map(int, re.findall(r"\d+", back)[:3]))
    page.get_by_label("Epoch", exact=True).focus()
    page.keyboard.press("End")
    assert page.locator(".entk-film .readout").inner_text().startswith("Epoch 500,")
    assert (refused, messages) == ([], [])


def test_the_film_of_grokking_is_a_figure_on_paper(open_book):
    page, _, _ = open_book("book/microscope/grokking.html")
    page.emulate_media(media="print")
    assert page.locator(".entk-film .controls").is_hidden() and page.locator(".entk-film svg").is_visible()
