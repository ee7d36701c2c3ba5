"""Settings for every test run, notebooks under nbval included: same threads and environment as the stored outputs."""

import os

from tools import environment

# Here and not in a fixture: torch reads the thread count once, when it is first imported.
environment.apply()


def pytest_configure(config):
    if not config.getoption("--nbval", default=False):
        os.environ["MPLBACKEND"] = "agg"  # tests draw without a screen; kernels under nbval choose for themselves
