"""The built book as a zip, for reading without a network: unpack it anywhere and open ``index.html``.

python -m tools.html_zip     _build/html into _build/book-html.zip
"""

import sys
import zipfile
from pathlib import Path

from tools.browser import HTML, ROOT

TARGET = ROOT / "_build" / "book-html.zip"
# The folder that unpacking makes: one, so that a reader's downloads stay tidy.
FOLDER = "features-from-tangent-kernels"
# Sphinx's own bookkeeping, of no use to a reader.
LEFT_OUT = (".buildinfo", ".nojekyll", ".DS_Store")
# The same pages give the same bytes.
DATE = (1980, 1, 1, 0, 0, 0)


def write(html: Path = HTML, target: Path = TARGET) -> int:
    """Pack every file of ``html`` into ``target``; returns how many.

    Raises:
        RuntimeError: if there is no built book in ``html``.
    """
    if not (html / "index.html").is_file():
        raise RuntimeError(f"no built book in {html.name}/; run `make book` first.")
    files = sorted(p for p in html.rglob("*") if p.is_file() and p.name not in LEFT_OUT)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for path in files:
            entry = zipfile.ZipInfo(f"{FOLDER}/{path.relative_to(html).as_posix()}", DATE)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    return len(files)


def main() -> int:
    """Write the zip and say how large it is, packed and unpacked."""
    try:
        count = write()
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with zipfile.ZipFile(TARGET) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    packed = TARGET.stat().st_size
    print(f"{TARGET.relative_to(ROOT)}: {count} files, {packed / 1e6:.1f} MB, {unpacked / 1e6:.0f} MB unpacked")
    return 0


if __name__ == "__main__":
    sys.exit(main())
