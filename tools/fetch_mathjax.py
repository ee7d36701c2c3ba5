"""Put MathJax under book/_static/mathjax, so that the book shows its formulas without a network.

Run once, and again to change the version: ``python -m tools.fetch_mathjax`` (needs npm). The result is committed, with
its licence and a list of SHA-256 sums that a test compares.
"""

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "3.2.2"
TARGET = Path(__file__).resolve().parents[1] / "book" / "_static" / "mathjax"
SUMS = "SHA256SUMS"
# The bundle reads TeX and MathML and writes HTML; fonts and rarer TeX commands are loaded from beside it when needed.
PARTS = ("tex-mml-chtml.js", "output/chtml/fonts/woff-v2", "input/tex/extensions")
# The bundle already holds what these gather or preload.
LEFT_OUT = ("input/tex/extensions/all-packages.js",)


def sums(folder: Path) -> dict[str, str]:
    """SHA-256 of every file under ``folder`` but the list itself, by path relative to it."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def stored_sums(folder: Path) -> dict[str, str]:
    """The sums recorded in ``folder``, by path."""
    lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    return {path: digest for digest, path in (line.split("  ", 1) for line in lines)}


def fetch(target: Path = TARGET) -> None:
    """Download the package with npm, and copy the parts that the book uses to ``target``."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("error: npm is not installed; it is needed only to fetch MathJax anew")
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run(
            [npm, "pack", "--silent", f"mathjax@{VERSION}"], cwd=scratch, check=True, stdout=subprocess.DEVNULL
        )
        with tarfile.open(Path(scratch) / f"mathjax-{VERSION}.tgz") as archive:
            archive.extractall(scratch, filter="data")
        package = Path(scratch) / "package"
        shutil.rmtree(target, ignore_errors=True)
        for part in PARTS:
            source, destination = package / "es5" / part, target / part
            destination.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, destination)
            else:
                shutil.copy2(source, destination)
        for part in LEFT_OUT:
            (target / part).unlink()
        shutil.copy2(package / "LICENSE", target / "LICENSE")
    lines = [f"{digest}  {path}\n" for path, digest in sums(target).items()]
    (target / SUMS).write_text("".join(lines), encoding="utf-8")


if __name__ == "__main__":
    fetch()
    size = sum(p.stat().st_size for p in TARGET.rglob("*") if p.is_file())
    print(f"MathJax {VERSION}: {len(stored_sums(TARGET))} files, {size / 1e6:.1f} MB in {TARGET}")
