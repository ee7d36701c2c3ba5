"""Run the book's notebooks, store their outputs, and check what is stored.

python -m tools.notebooks run [NOTEBOOK ...]   run, clean, store; a second run gives the same bytes
python -m tools.notebooks clean [NOTEBOOK ...] nothing is run: drop times, put the installing cell in front
python -m tools.notebooks check                nothing is run: are the stored outputs complete and fit to publish?
python -m tools.notebooks text FOLDER          the text and code of every notebook, for a spelling checker
"""

import argparse
import hashlib
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from traitlets.config import Config

from entk_tutorial.stored import RECORD, outdated_cells, run_record
from tools import environment, install_cell

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
MAX_BYTES = 1_500_000
MAX_CODE_LINES = 40
CELL_TIMEOUT = 900
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
CELL_METADATA = ("tags", "mystnb")
# Text that differs from one machine or run to the next, and so can never be compared.
FLEETING = (
    (re.compile(r"\bat 0x[0-9a-fA-F]{6,}"), "a memory address"),
    (re.compile(r"(?<![\w.:/])/(?:home|root|Users|tmp|work|private|content)/[\w.]"), "a path of one machine"),
)


def find(paths: Iterable[Path] = ()) -> list[Path]:
    """The notebooks named, or every notebook of the book."""
    chosen = [Path(p).resolve() for p in paths] or sorted(BOOK.rglob("*.ipynb"))
    for path in chosen:
        if not path.is_file():
            sys.exit(f"error: no notebook at {path}")
    return [path for path in chosen if ".ipynb_checkpoints" not in path.parts]


def shown(path: Path) -> str:
    """The path as messages print it."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


class Lines:
    """Where in a notebook's file the cells stand, so that a message leads to the place.

    Args:
        path: a notebook as this module stores it, one line of the file for each line of a cell.
    """

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8").splitlines()
        # Keys of a cell are indented by three; those of outputs and metadata by more.
        self.starts = [number for number, line in enumerate(text, start=1) if line.startswith('   "source": ')]

    def of(self, cell: int, offset: int = 0) -> int:
        """Line of the file, from 1, that holds a line of a cell, from 0; 1 if the file is laid out otherwise."""
        return self.starts[cell] + 1 + offset if cell < len(self.starts) else 1


def clean(notebook: NotebookNode) -> NotebookNode:
    """Drop all that differs between runs or machines: times, widget state, editor settings. Cell ids stay."""
    notebook.metadata = nbformat.from_dict(METADATA)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for index, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({k: cell.metadata[k] for k in CELL_METADATA if k in cell.metadata})
        if "id" not in cell:
            cell["id"] = hashlib.sha256(f"{index}\n{cell.source}".encode()).hexdigest()[:8]
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({k: v for k, v in output.metadata.items() if k == "scrapbook"})
    return notebook


def run(path: Path) -> float:
    """Run one notebook in its own folder and store it; returns the seconds. A notebook that fails is left as it was."""
    notebook = install_cell.put_first(clean(nbformat.read(path, as_version=4)))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as sockets:
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            # Talk to the kernel through files that only this user can open, not through open network ports.
            config=Config({"ConnectionFileMixin": {"transport": "ipc", "ip": f"{sockets}/kernel"}}),
            resources={"metadata": {"path": str(path.parent)}},
            record_timing=False,
            coalesce_streams=True,
        )
        client.execute()
    seconds = time.perf_counter() - start
    notebook = clean(notebook)
    notebook.metadata[RECORD] = nbformat.from_dict(run_record(notebook))
    text = nbformat.writes(notebook) + "\n"
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"{too_big(len(text.encode()), notebook)}; nothing was stored")
    path.write_text(text, encoding="utf-8")
    return seconds


def too_big(size: int, notebook: NotebookNode) -> str:
    """Say that a notebook is too big, and which cells make it so."""
    weights = sorted(((len(str(cell.get("outputs", ""))), i) for i, cell in enumerate(notebook.cells)), reverse=True)
    heaviest = ", ".join(f"cell {i}: {weight / 1e6:.2f} MB" for weight, i in weights[:3])
    return f"{size / 1e6:.2f} MB stored, {MAX_BYTES / 1e6:.1f} MB allowed ({heaviest}): fewer or lighter figures"


def output_text(output: NotebookNode) -> str:
    """All readable text of an output, joined."""
    parts = [output.get("text", "")]
    parts += [
        value for mime, value in output.get("data", {}).items() if mime.startswith(("text/", "application/papermill"))
    ]
    return "\n".join(part for part in parts if isinstance(part, str))


def cell_problems(cell: NotebookNode) -> Iterator[str]:
    """What is wrong with one code cell and its stored outputs."""
    lines = len(cell.source.rstrip().splitlines())
    if lines > MAX_CODE_LINES:
        yield f"{lines} lines of code, {MAX_CODE_LINES} allowed: move the logic into the package"
    images = 0
    for output in cell.outputs:
        if output.output_type == "error":
            yield f"stored an error: {output.ename}: {output.evalue}"
        if output.output_type == "stream" and output.name == "stderr":
            yield f"stored a message on stderr: {output.text.strip().splitlines()[0][:100]}"
        images += any(mime.startswith("image/") for mime in output.get("data", {}))
        for pattern, what in FLEETING:
            if match := pattern.search(output_text(output)):
                yield f"its output holds {what} ({match[0]!r}), which changes from run to run"
    if images:
        options = cell.metadata.get("mystnb", {})
        figure, image = options.get("figure", {}), options.get("image", {})
        for key, value in (
            ("mystnb.figure.name", figure.get("name")),
            ("mystnb.figure.caption", figure.get("caption")),
            ("mystnb.image.alt", image.get("alt")),
        ):
            if not isinstance(value, str) or not value.strip():
                yield f"draws a figure but has no {key} in its metadata"
    if images > 1:
        yield f"draws {images} figures: one name and one caption belong to one figure, so use a cell for each"


def problems(path: Path) -> list[str]:
    """Everything that keeps a stored notebook from being published, one line each, with file and cell."""
    size = path.stat().st_size
    notebook = nbformat.read(path, as_version=4)
    found = [f"{shown(path)}: {too_big(size, notebook)}"] if size > MAX_BYTES else []
    extra = sorted(set(notebook.metadata) - {*METADATA, RECORD})
    if extra:
        found.append(f"{shown(path)}: metadata {extra}: store it with `make notebooks NB={shown(path)}`")
    if problem := install_cell.problem(notebook):
        found.append(f"{shown(path)}, cell 0: {problem}: `python -m tools.notebooks clean {shown(path)}` puts it there")
    expected, ids = 0, set()
    for index, cell in enumerate(notebook.cells):
        where = f"{shown(path)}, cell {index}"
        if cell.get("id") in ids or "id" not in cell:
            found.append(f"{where}: no cell id of its own")
        ids.add(cell.get("id"))
        if extra := sorted(set(cell.metadata) - set(CELL_METADATA)):
            found.append(f"{where}: cell metadata {extra}: store it with `make notebooks NB={shown(path)}`")
        if cell.cell_type != "code" or not cell.source.strip() or install_cell.is_install_cell(cell):
            continue
        expected += 1
        if cell.execution_count != expected:
            ran = "was not run" if cell.execution_count is None else f"ran as number {cell.execution_count}"
            found.append(f"{where}: {ran}, expected {expected}: run the notebook from top to bottom")
        found += [f"{where}: {problem}" for problem in cell_problems(cell)]
    if RECORD in notebook.metadata:
        found += [f"{shown(path)}, cell {i}: {why}: run it again" for i, why in outdated_cells(notebook)]
    return found


def figure_names(path: Path) -> list[str]:
    """Names of the figures of a notebook, which must be unique in the whole book."""
    cells = nbformat.read(path, as_version=4).cells
    names = (cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in cells)
    return [name for name in names if name]


def check(paths: list[Path]) -> list[str]:
    """Problems of all notebooks, and of them together."""
    found = [problem for path in paths for problem in problems(path)]
    owner: dict[str, Path] = {}
    for path in paths:
        for name in figure_names(path):
            if name in owner:
                found.append(f"{shown(path)}: the figure name {name!r} is taken, in {shown(owner[name])}")
            owner.setdefault(name, path)
    return found


def write_text(paths: list[Path], folder: Path) -> None:
    """Write the sources of each notebook, without outputs, to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.md"):
        old.unlink()
    for path in paths:
        cells = nbformat.read(path, as_version=4).cells
        target = folder / (shown(path).replace("/", "-").removesuffix(".ipynb") + ".md")
        target.write_text("\n\n".join(cell.source for cell in cells) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the number of failures is the exit status, at most one."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks", description="Run and check the book's notebooks."
    )
    parser.add_argument("command", choices=["run", "clean", "check", "text"])
    parser.add_argument(
        "paths", nargs="*", type=Path, help="notebooks (run, clean, check), or the folder to write to (text)"
    )
    options = parser.parse_args(arguments)
    if options.command == "text":
        if len(options.paths) != 1:
            parser.error("text needs exactly one folder")
        write_text(find(), options.paths[0])
        return 0
    paths = find(options.paths)
    failed = []
    if options.command == "run":
        environment.apply()
        for path in paths:
            try:
                print(f"{shown(path)}: {run(path):.1f} s, {path.stat().st_size / 1e3:.0f} kB", flush=True)
            except (CellExecutionError, CellTimeoutError, DeadKernelError, ValueError) as error:
                failed.append(f"{shown(path)}: {error}")
    if options.command == "clean":
        for path in paths:
            notebook = install_cell.put_first(clean(nbformat.read(path, as_version=4)))
            path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    failed += check([path for path in paths if not any(line.startswith(shown(path)) for line in failed)])
    for line in failed:
        print(line, file=sys.stderr)
    print(f"{len(paths)} notebooks, {len(failed)} problems")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
