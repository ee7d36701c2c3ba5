"""Pictures of pages of the built book, for people to look at: light and dark, wide and narrow.

python -m tools.screenshots [PAGE ...]       e.g. book/index.html; all pages by default; into screenshots/
"""

import sys

from tools import browser

WIDTHS = {"wide": 1280, "narrow": 390}


def main(arguments: list[str]) -> int:
    """Take the pictures."""
    if not browser.HTML.is_dir():
        sys.exit("error: no built book here; run `make book` first")
    folder = browser.ROOT / "screenshots"
    folder.mkdir(exist_ok=True)
    with browser.served() as address, browser.chromium() as chromium:
        for name in arguments or browser.pages():
            for size, width in WIDTHS.items():
                for dark in (False, True):
                    with browser.page_without_network(chromium, width=width, dark=dark) as (page, _):
                        browser.open_page(page, f"{address}/{name}")
                        shade = "dark" if dark else "light"
                        stem = name.removesuffix(".html").removeprefix("book/").replace("/", "-")
                        target = folder / f"{stem}-{shade}-{size}.png"
                        page.screenshot(path=str(target), full_page=True)
                        print(target.relative_to(browser.ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
