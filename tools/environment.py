"""The environment in which notebooks are run, stored and compared: one place, so that all three agree.

A stored output and a fresh one can only be compared if both were made under the same settings: a progress bar, a
warning or a second thread on one side is a difference that no sanitiser removes.
"""

import os
from collections.abc import MutableMapping

NOTEBOOK_ENVIRONMENT: dict[str, str] = {
    # One thread: sums come out in the same order, and a busy machine does not slow small eigenproblems down.
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
    # Libraries' deprecation notes are not the reader's business. Every other warning shows, and fails the check.
    "PYTHONWARNINGS": "ignore::DeprecationWarning,ignore::FutureWarning",
    "PYTHONHASHSEED": "0",
    # A kernel called python3 in the user's home must not win over the one of this environment.
    "JUPYTER_PREFER_ENV_PATH": "1",
    "JUPYTER_PLATFORM_DIRS": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}


def apply(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the notebook environment in ``environment``; kernels started from this process inherit it."""
    environment.update(NOTEBOOK_ENVIRONMENT)
    environment.pop("MPLBACKEND", None)  # a kernel chooses its own: figures inside the notebook
