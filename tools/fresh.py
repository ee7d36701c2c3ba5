"""Run a notebook, unchanged, where only the package and what it requires is installed.

python -m tools.fresh [NOTEBOOK ...]     with the packages of this Python, as after `pip install . ipykernel nbclient`

The tests cannot download torch for a fresh environment each time. :func:`bare_environment` makes one that shows the
same: the package as installed from its wheel, its requirements, the kernel, and nothing else of this environment.
"""

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).resolve().parents[1]
QUICK_START = ROOT / "book" / "reference" / "quick-start.ipynb"


def requirements(names: Iterable[str]) -> set[str]:
    """The installed distributions that ``names`` require, directly or not, without extras; ``names`` included.

    Example:
        >>> "numpy" in requirements(["matplotlib"])
        True
    """
    from packaging.requirements import Requirement

    found: set[str] = set()
    open_ends = [Requirement(name) for name in names]
    while open_ends:
        wanted = open_ends.pop()
        name = wanted.name.lower().replace("_", "-")
        if name in found:
            continue
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue  # meant for another system or Python
        found.add(name)
        for line in map(Requirement, lines):
            if line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in ("", *wanted.extras)):
                open_ends.append(line)
    return found


def bare_environment(folder: Path) -> Path:
    """Make an environment with the package's wheel, links to what it requires, and a kernel; returns its Python.

    Raises:
        RuntimeError: if the wheel cannot be built or installed.
    """
    venv.EnvBuilder(with_pip=False).create(folder)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = folder / "lib" / version / "site-packages"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--disable-pip-version-check", "--no-warn-conflicts", f"--target={site}", str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the package cannot be installed:\n{done.stdout}{done.stderr}")
    for name in requirements(["entk-tutorial", "ipykernel"]) - {"entk-tutorial"}:
        found = metadata.distribution(name)
        for top in {file.parts[0] for file in found.files or []} - {"..", "__pycache__"}:
            source, target = Path(str(found.locate_file(top))), site / top
            if source.exists() and not target.exists():
                target.symlink_to(source, target_is_directory=source.is_dir())
    return folder / "bin" / "python"


def run(notebook: Path, python: Path | str = sys.executable) -> str:
    """Run every cell, the installing one too, in a kernel of ``python``; returns where its package was imported from.

    Nothing is stored. The first cell that fails raises nbclient's ``CellExecutionError``.
    """
    book = nbformat.read(notebook, as_version=4)
    for cell in book.cells:
        cell.metadata.pop("tags", None)  # a reader's Jupyter skips nothing
    where = "import entk_tutorial; print(entk_tutorial.__file__)"
    book.cells.append(nbformat.v4.new_code_cell(where))
    with tempfile.TemporaryDirectory() as spot:
        kernel = Path(spot) / "kernels" / "fresh" / "kernel.json"
        kernel.parent.mkdir(parents=True)
        start = f'["{python}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
        kernel.write_text(f'{{"argv": {start}, "display_name": "fresh", "language": "python"}}', encoding="utf-8")
        sockets = {"ConnectionFileMixin": {"transport": "ipc", "ip": f"{spot}/kernel"}}
        before = {name: os.environ.pop(name, None) for name in ("PYTHONPATH", "JUPYTER_PATH")}
        os.environ["JUPYTER_PATH"] = spot
        try:
            options = {"metadata": {"path": str(notebook.parent)}}
            NotebookClient(book, kernel_name="fresh", timeout=900, resources=options, config=Config(sockets)).execute()
        finally:
            os.environ.pop("JUPYTER_PATH")
            os.environ.update({name: value for name, value in before.items() if value is not None})
    return str(book.cells[-1].outputs[0].text).strip()


def main(arguments: list[str]) -> int:
    """Run the notebooks named, or the quick start."""
    for path in map(Path, arguments or [str(QUICK_START)]):
        home = run(path.resolve())
        if Path(home).is_relative_to(ROOT / "entk_tutorial"):
            print(f"error: {path} used the package of this folder, not the one installed", file=sys.stderr)
            return 1
        print(f"{path}: every cell ran, with the package in {Path(home).parent.parent.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
