"""A headless Chromium that can see the built book and nothing else: for the browser tests and the screenshots."""

import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HTML = ROOT / "_build" / "html"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Root has no sandbox; the rest keeps Chromium from calling home, which a machine without a network would wait for.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]
READY = "() => !window.MathJax || !MathJax.startup?.promise || MathJax.startup.promise.then(() => true)"


def executable() -> str | None:
    """The system's Chromium or Chrome, or None."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def pages() -> list[str]:
    """The pages of the table of contents, as paths relative to the built book."""
    contents = (ROOT / "_toc.yml").read_text(encoding="utf-8")
    return [f"{name}.html" for name in re.findall(r"^\s*(?:- file|root): (\S+)", contents, re.MULTILINE)]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: a test's output is for its result."""


@contextmanager
def served(folder: Path = HTML) -> Iterator[str]:
    """Serve ``folder`` on a free port of this machine; gives the address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def chromium() -> Iterator[Any]:
    """A running headless browser, of the system's own Chromium; RuntimeError where there is none."""
    from playwright.sync_api import sync_playwright

    path = executable()
    if path is None:
        raise RuntimeError(f"no Chromium here: none of {', '.join(NAMES)} is on the path. Install one with apt-get")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def page_without_network(browser: Any, *, width: int = 1280, dark: bool = False) -> Iterator[tuple[Any, list[str]]]:
    """A page, and the list of addresses outside this machine that it tried to reach (all are refused)."""
    context = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if dark else "light",
        service_workers="block",
    )
    refused: list[str] = []

    def decide(route: Any) -> None:
        if route.request.url.startswith(("http://127.0.0.1:", "file://", "data:")):
            route.continue_()
        else:
            refused.append(route.request.url)
            route.abort()

    context.route("**/*", decide)
    try:
        yield context.new_page(), refused
    finally:
        context.close()


def open_page(page: Any, address: str) -> None:
    """Open an address, and wait until its formulas are drawn."""
    page.goto(address, wait_until="load")
    page.wait_for_function(READY)
