"""Sphinx extension: what the theme does to every page that a reader pays for, mended once the pages are written.

* Icons come twice: as a web font, which the style sheet asks for, and as a script of 1.5 MB that draws the same again.
  The script goes.
* One sign of one button comes from a second font, of 120 kB. It gets a sign of the first.
* The index of the search, half a megabyte, is loaded by every page. It stays on the search page, which is where the
  search field leads.
* The empty corner of a table is a heading without words to a screen reader. HTML has a plain cell for it.
* An entry of the bibliography has a role that a block may not have. It becomes an item of the list that it stands in.
* The side bar with the logo is in no landmark, so that a screen reader cannot jump to it. It gets a name.
* The arrow that unfolds an entry of the contents has no name either.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

ICONS = re.compile(r"[ \t]*<script[^>]*scripts/fontawesome\.js[^>]*></script>\n?")
SEARCH = re.compile(r"[ \t]*<script[^>]*/(?:searchtools|language_data|searchindex)\.js[^>]*></script>\n?")
CORNER = re.compile(r"<th\b[^>]*>\s*(?:<p>\s*</p>\s*)?</th>")
UNFOLD = '<summary><span class="toctree-toggle"'
SIDE_BAR = re.compile(r'<div id="pst-primary-sidebar"(?! role)')


def repaired(page: str, *, search: bool = False) -> str:
    """The page, mended; a second time changes nothing.

    Args:
        page: HTML.
        search: whether it is the page that searches, and so needs the index.

    Example:
        >>> repaired('<tr><th scope="col"></th><th>n</th></tr>')
        '<tr><td></td><th>n</th></tr>'
        >>> repaired('<script src="../_static/scripts/fontawesome.js?digest=1"></script>')
        ''
        >>> repaired('<script src="../searchindex.js" defer></script>', search=True)
        '<script src="../searchindex.js" defer></script>'
    """
    page = CORNER.sub("<td></td>", ICONS.sub("", page)).replace('class="fab fa-github"', 'class="fas fa-code-branch"')
    page = page.replace('role="doc-biblioentry"', 'role="listitem"')
    page = SIDE_BAR.sub('<div id="pst-primary-sidebar" role="region" aria-label="Contents and search"', page)
    page = page.replace(UNFOLD, UNFOLD.replace("<summary>", '<summary aria-label="Pages under this entry">'))
    return page if search else SEARCH.sub("", page)


def repair(app: Sphinx, exception: Exception | None) -> None:
    """Handler of ``build-finished``."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        mended = repaired(page, search=path.name == "search.html")
        if mended != page:
            path.write_text(mended, encoding="utf-8")
    for file in Path(app.outdir, "_static", "scripts").glob("fontawesome.js*"):
        file.unlink()


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("build-finished", repair)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
