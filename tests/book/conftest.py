"""One browser and one server for all tests of the built book."""

import pytest

from tools import browser


@pytest.fixture(scope="session")
def site():
    """The address of the served book, and a running Chromium."""
    with browser.served() as address, browser.chromium() as chromium:
        yield address, chromium
