"""One browser and one server for all tests of the built book."""

import pytest

from tools import browser


@pytest.fixture(scope="session")
def chromium():
    """The one browser: a second one in the same process is refused."""
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="session")
def site(chromium):
    """The address of the served book, and the browser."""
    with browser.served() as address:
        yield address, chromium
