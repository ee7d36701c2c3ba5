"""Every page of the built book: whole without a network, accessible, light, and fit for a phone.

A page is opened once, and everything is asked of it: that is what keeps some thirty pages within minutes.
"""

from pathlib import Path

import pytest

from tools import browser

pytest.importorskip("playwright")
axe_playwright_python = pytest.importorskip("axe_playwright_python")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(browser.executable() is None, reason="no Chromium on the path: apt-get install chromium"),
    pytest.mark.skipif(not browser.HTML.is_dir(), reason="the book is not built: make book"),
]
# axe-core itself comes with this package; its own wrapper is not used, since it cannot leave parts of a page out.
AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js")
# Said by a script that the theme loads twice; nothing comes of it.
HARMLESS = ("THEBE_JS_URL",)
# Rules of axe that the theme breaks on every page and that style sheets and scripts of ours cannot mend: rule -> why.
THEIRS: dict[str, str] = {}
# What depends on colours only is asked again in the dark; the rest of a page is the same there.
COLOURS = ["color-contrast", "link-in-text-block"]
MAX_BYTES = 1_500_000
# Heavier pages, without MathJax: page -> (bytes allowed, why).
HEAVY = {
    "book/reference/api/experiments.html": (1_950_000, "some forty experiments with all their settings, text only"),
    "book/microscope/grokking.html": (
        1_750_000,
        "the film of grokking, 200 kB of it in the page, and a picture of 21 measures",
    ),
    "book/microscope/superposition.html": (
        1_650_000,
        "eight figures, the largest of nine panels",
    ),
}
# What may be wider than a phone, each in a box of its own that scrolls: code, tables, formulas, signatures, the film,
# the map of the course.
MAY_SCROLL = (
    "pre, table, .pst-scrollable-table-container, div.output.text_html, .math, mjx-container, .sig, .stage, p, "
    ".course-map-box"
)

# What there is much of, and all alike, is thinned out before axe looks: it would take minutes. A formula becomes a
# letter in its colour (the rest is MathJax's own), code after the first pieces loses its colours, the film keeps some
# cells; of a long reference one entry in forty stays, of the ledger one row in ten, of a long table the first rows.
THIN = """() => {
  document.querySelectorAll('mjx-container').forEach(e => e.replaceChildren('x'));
  [...document.querySelectorAll('.highlight pre')].slice(3).forEach(e => { e.textContent = e.textContent; });
  [...document.querySelectorAll('.entk-film .c')].slice(5).forEach(e => e.remove());
  [...document.querySelectorAll('.ledger-row')].forEach((e, i) => { if (i % 10) e.remove(); });
  document.querySelectorAll('main tbody tr:nth-child(n+10)').forEach(e => e.remove());
  const entries = [...document.querySelectorAll('dl.py')].filter(e => !e.parentElement.closest('dl.py'));
  if (entries.length > 100) entries.forEach((e, i) => { if (i % 40) e.remove(); });
}"""
VIOLATIONS = """async only => {
  const options = {resultTypes: ['violations'], preload: false};
  if (only) options.runOnly = {type: 'rule', values: only};
  // The frame around the text is the same on every page: its colours in the dark are asked for on the first one.
  const part = only && !location.pathname.endsWith('/index.html') ? 'main' : document;
  const found = await axe.run(part, options);
  return found.violations.flatMap(v => v.nodes.slice(0, 3).map(n => [v.id, n.target.join(' '), n.html.slice(0, 160)]));
}"""
HEADINGS = """all => all.filter(e => e.checkVisibility()).map(e => [Number(e.tagName[1]), e.textContent])"""
BYTES = """() => [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]
  .filter(e => !e.name.includes('/mathjax/')).reduce((sum, e) => sum + e.encodedBodySize, 0)"""
SIDEWAYS = """may => [...document.querySelectorAll('main *')].filter(e => {
  const free = ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  if (e.id === 'pst-secondary-sidebar') return false;  // off the screen on a phone
  return free && e.scrollWidth > e.clientWidth + 1 && !e.matches(may) && !e.querySelector(':scope > :is(' + may + ')');
}).map(e => e.outerHTML.slice(0, 160))"""
FOLDED = """all => all.filter(e => !e.querySelector('button.toggle-button, summary')).map(e => e.id)"""


@pytest.fixture(scope="module", params=browser.pages())
def seen(site, request):
    """What one page answered to every question; the page is opened once."""
    address, chromium = site
    with browser.page_without_network(chromium) as (page, refused):
        page.set_default_timeout(120_000)
        messages: list[str] = []
        page.on("console", lambda m: messages.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda e: messages.append(str(e)))
        page.on("response", lambda r: messages.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        browser.open_page(page, f"{address}/{request.param}")
        page.add_script_tag(path=str(AXE))
        found = {
            "name": request.param,
            "title": page.locator("h1").first.inner_text().strip(),
            "bytes": page.evaluate(BYTES),
            "no alt": page.eval_on_selector_all(
                "main img", "all => all.filter(image => !image.alt.trim()).map(image => image.src)"
            ),
            "bad formulas": page.eval_on_selector_all("mjx-merror", "all => all.map(e => e.textContent)"),
            "not drawn": page.eval_on_selector_all(
                ".math", "all => all.filter(e => !e.querySelector('mjx-container')).map(e => e.textContent)"
            ),
            "colab": page.eval_on_selector_all(
                "a[href*='colab.research.google.com']", "all => all.map(e => e.getAttribute('href'))"
            ),
            "binder": page.eval_on_selector_all(
                "a[href*='mybinder.org']", "all => all.map(e => e.getAttribute('href'))"
            ),
            "headings": page.eval_on_selector_all(":is(h1, h2, h3, h4, h5, h6)", HEADINGS),
            "cannot unfold": page.eval_on_selector_all(".admonition.dropdown, .tag_hide-input", FOLDED),
        }
        page.set_viewport_size({"width": 390, "height": 844})
        found["width"] = page.evaluate("document.documentElement.scrollWidth")
        found["sideways"] = page.evaluate(SIDEWAYS, MAY_SCROLL)
        page.set_viewport_size({"width": 1280, "height": 900})
        page.keyboard.press("Tab")
        found["first stop"] = page.evaluate("document.activeElement.getAttribute('href')")
        page.keyboard.press("Enter")
        found["skipped to"] = page.evaluate("location.hash")
        page.evaluate(THIN)
        found["light"] = page.evaluate(VIOLATIONS, None)
        page.emulate_media(color_scheme="dark")
        page.wait_for_function("document.documentElement.dataset.theme === 'dark'")  # a listener of the theme's
        found["theme"] = page.locator("html").get_attribute("data-theme")
        found["dark"] = page.evaluate(VIOLATIONS, COLOURS)
        found["messages"] = [m for m in messages if not any(h in m for h in HARMLESS)]
        found["refused"] = list(refused)
        return found


def ours(violations):
    return [v for v in violations if v[0] not in THEIRS]


def test_it_is_whole_without_a_network(seen):
    assert seen["title"]
    assert (seen["messages"], seen["refused"]) == ([], [])
    assert seen["no alt"] == []
    assert (seen["bad formulas"], seen["not drawn"]) == ([], [])
    if (browser.ROOT / seen["name"]).with_suffix(".ipynb").is_file():
        notebook = seen["name"].removesuffix(".html") + ".ipynb"
        assert len([link for link in seen["colab"] if link.endswith(notebook)]) == 1
        assert any(notebook in link for link in seen["binder"])


def test_axe_finds_nothing_of_ours_in_the_light(seen):
    assert ours(seen["light"]) == []


def test_axe_finds_no_weak_colours_in_the_dark(seen):
    assert seen["theme"] == "dark"
    assert ours(seen["dark"]) == []


def test_headings_are_in_order(seen):
    levels = [level for level, _ in seen["headings"]]
    assert levels[0] == 1 and levels.count(1) == 1
    jumps = [after for before, after in zip(levels, seen["headings"][1:], strict=False) if after[0] > before + 1]
    assert jumps == []


def test_the_keyboard_skips_to_the_text_and_unfolds_what_is_folded(seen):
    assert seen["first stop"] == seen["skipped to"] == "#main-content"
    assert seen["cannot unfold"] == []


def test_it_fits_a_phone(seen):
    assert seen["width"] <= 390
    assert seen["sideways"] == []


def test_it_is_light(seen):
    allowed, _ = HEAVY.get(seen["name"], (MAX_BYTES, ""))
    assert seen["bytes"] <= allowed
    if seen["name"] in HEAVY:
        assert seen["bytes"] > MAX_BYTES, "no longer heavy: take it off the list"


# ---------------------------------------------------------------- would these notice?

BAD = """<!doctype html><html lang="en" data-theme="dark"><head><title>Bad</title></head><body>
<main id="main-content"><h1>One</h1><h3>Three</h3>
<div style="overflow-x: auto; width: 100px"><div style="width: 900px">wide</div></div>
<img src="data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7">
<p style="color: #bbb; background: #fff">weak</p><table><tr><th></th><th>n</th></tr></table>
<div class="dropdown admonition" id="folded">no button</div></main></body></html>"""


def test_a_bad_page_is_found_out(site):
    _, chromium = site
    with browser.page_without_network(chromium) as (page, _):
        page.set_content(BAD)
        page.add_script_tag(path=str(AXE))
        rules = {rule for rule, *_ in page.evaluate(VIOLATIONS, None)}
        assert {"color-contrast", "image-alt", "heading-order", "empty-table-header"} <= rules - set(THEIRS)
        assert {rule for rule, *_ in page.evaluate(VIOLATIONS, COLOURS)} == {"color-contrast"}
        assert [level for level, _ in page.eval_on_selector_all(":is(h1, h2, h3)", HEADINGS)] == [1, 3]
        assert len(page.evaluate(SIDEWAYS, MAY_SCROLL)) == 1
        assert page.eval_on_selector_all(".admonition.dropdown", FOLDED) == ["folded"]
