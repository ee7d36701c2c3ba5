"""The whole book as one PDF: the built pages, put together by ``tools.paper`` and printed by a headless Chromium.

python -m tools.pdf [PAGE ...]     into _build/pdf/book.pdf; pages as in _toc.yml, all by default

The book is printed twice: the first tells on which page each chapter begins, the second says so in the contents.
No network is needed, and none is used.
"""

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools import browser, paper

FOLDER = browser.ROOT / "_build" / "pdf"
# The text's width on A4 with the margins of paper.css, in CSS pixels: what Chromium lays out when it prints.
TEXT_WIDTH = round(170 / 25.4 * 96)
# Milliseconds: the whole book has thousands of formulas, and a busy machine is slow.
PATIENCE = 3_600_000
# Below this the letters of a table are too small to read; a longer cell breaks its words instead.
SMALLEST = 0.55
PAPER = {"prefer_css_page_size": True, "print_background": True}
NUMBER = """numbers => {
  for (const place of document.querySelectorAll("[data-of]")) place.textContent = numbers[place.dataset.of] ?? "";
}"""
FIT = """([smallest]) => {
  const tooWide = element => element.getBoundingClientRect().right > edge + 1;
  const edge = document.querySelector("main").getBoundingClientRect().right;
  const shrink = element => {
    const box = element.getBoundingClientRect(), room = edge - box.left;
    const factor = Math.max(smallest, room / Math.max(box.width, element.scrollWidth));
    element.style.zoom = factor * 0.995;
    if (tooWide(element)) { element.style.overflowWrap = "anywhere"; element.classList.add("tight"); }
  };
  for (const table of document.querySelectorAll("table")) if (tooWide(table)) shrink(table);
  for (const formula of document.querySelectorAll("mjx-container[display] > mjx-math")) {
    if (tooWide(formula)) {
      const box = formula.getBoundingClientRect();
      formula.style.fontSize = `${100 * Math.max(smallest, (edge - box.left) / box.width) * 0.99}%`;
    }
  }
  for (const drawing of document.querySelectorAll("svg, img")) if (tooWide(drawing)) drawing.style.maxWidth = "100%";
  const inSomethingScrolled = e => e.closest(".entk-film, mjx-assistive-mml, .MathJax_Preview");
  return [...document.querySelectorAll("main *")]
    .filter(e => tooWide(e) && !inSomethingScrolled(e) && e.getClientRects().length)
    .map(e => {
      const text = e.textContent.trim().slice(0, 60);
      return `${e.closest(".chapter, nav, header")?.id}: <${e.tagName.toLowerCase()}> ${text}`;
    });
}"""


def page_of_destinations(pdf: bytes) -> dict[str, int]:
    """The page, from 1, of each named destination in a PDF that Chromium wrote.

    Raises:
        ValueError: if the file has no page tree of the kind that Chromium writes.
    """
    objects = {
        int(number): body
        for number, body in re.findall(rb"^(\d+) 0 obj\n(.*?)(?: stream\n|\nendobj)", pdf, re.DOTALL | re.MULTILINE)
    }
    catalog = re.search(rb"/Type /Catalog.*?/Pages (\d+) 0 R(?:.*?/Dests (\d+) 0 R)?", pdf, re.DOTALL)
    if catalog is None:
        raise ValueError("no page tree in this PDF: it was not written by Chromium's print.")

    def leaves(node: int) -> list[int]:
        kids = re.search(rb"/Kids \[(.*?)\]", objects[node], re.DOTALL)
        if kids is None:
            return [node]
        return [leaf for kid in re.findall(rb"(\d+) 0 R", kids[1]) for leaf in leaves(int(kid))]

    place = {leaf: index for index, leaf in enumerate(leaves(int(catalog[1])), start=1)}
    if catalog[2] is None:
        return {}
    entries = re.findall(rb"/(\S+) \[(\d+) 0 R /XYZ", objects[int(catalog[2])])
    unescaped = (
        (re.sub(rb"#([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), name), page) for name, page in entries
    )
    return {name.decode("utf-8", "replace"): place[int(page)] for name, page in unescaped if int(page) in place}


def count_pages(pdf: bytes) -> int:
    """How many pages a PDF of Chromium has."""
    return len(re.findall(rb"/Type /Page\n", pdf))


def load(page: Any, file: Path) -> list[str]:
    """Open the assembled document, wait for formulas and pictures, fit what is wide; returns what stays too wide."""
    page.set_viewport_size({"width": TEXT_WIDTH, "height": 900})
    page.emulate_media(media="print", color_scheme="light")
    page.goto(file.as_uri(), wait_until="load", timeout=PATIENCE)
    page.wait_for_function(browser.READY, timeout=PATIENCE)
    page.evaluate("document.fonts.ready")
    wide: list[str] = page.evaluate(FIT, [SMALLEST])
    return wide


def write(names: Sequence[str] = (), folder: Path = FOLDER, html: Path = browser.HTML) -> tuple[Path, list[str]]:
    """Print the book.

    Args:
        names: the pages to print; all by default.
        folder: where ``book.html`` and ``book.pdf`` go; a neighbour of ``html``.
        html: the built book.

    Returns:
        The PDF, and what did not fit the page's width.

    Raises:
        RuntimeError: without a built book or a Chromium, and where the page asked for something outside this machine.
    """
    book = paper.parts()
    wanted = [page for part in book for page in part.pages if not names or page in names]
    absent = [page for page in wanted if not (html / f"{page}.html").is_file()]
    if absent or not wanted:
        raise RuntimeError(f"not built: {', '.join(absent) or 'no such page'}; run `make book` first.")
    pages = {page: (html / f"{page}.html").read_text(encoding="utf-8") for page in wanted}
    folder.mkdir(parents=True, exist_ok=True)
    source, target = folder / "book.html", folder / "book.pdf"
    source.write_text(paper.document(pages, book, paper.built_from()), encoding="utf-8")
    with browser.chromium() as chromium, browser.page_without_network(chromium) as (page, refused):
        page.set_default_timeout(PATIENCE)
        wide = load(page, source)
        page.evaluate(NUMBER, page_of_destinations(page.pdf(**PAPER)))
        pdf = page.pdf(**PAPER, outline=True, tagged=True)
    if refused:
        raise RuntimeError(f"the book asked for {refused[0]}, which is not on this machine.")
    target.write_bytes(pdf)
    return target, wide


def main(arguments: list[str]) -> int:
    """Write the PDF and say how large it is; what is too wide for the page is an error."""
    start = time.perf_counter()
    try:
        target, wide = write(arguments)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    pdf = target.read_bytes()
    seconds = time.perf_counter() - start
    print(f"{target.relative_to(browser.ROOT)}: {count_pages(pdf)} pages, {len(pdf) / 1e6:.1f} MB, in {seconds:.0f} s")
    for line in wide:
        print(f"too wide for the page: {line}", file=sys.stderr)
    return int(bool(wide))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
