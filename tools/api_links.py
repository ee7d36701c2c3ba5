"""Sphinx extension: links on the interface page, from types to their documentation and from docstrings to chapters.

A class is defined in one module (``entk_tutorial.empirical.eigen.Eigenpairs``) and documented where users import it
from (``entk_tutorial.empirical.Eigenpairs``). Sphinx knows the second name only, and would warn about the first.
A docstring names the chapter that derives what it describes by path, ``Chapter: book/microscope/modular-mlp``.
"""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

PACKAGE = "entk_tutorial"
# What kind of object each kind of reference may mean.
KINDS = {
    "class": ("class", "exception"),
    "exc": ("exception", "class"),
    "func": ("function", "method"),
    "meth": ("method", "function"),
    "attr": ("attribute", "property"),
}
CHAPTER = re.compile(r"\b(book/[\w-]+(?:/[\w-]+)*)")


def documented_name(target: str, known: set[str], origin: str = "") -> str | None:
    """The documented name that ``target`` means: the one of the same last part, nearest to the definition.

    Args:
        target: a dotted name, in full or the last part only.
        known: the names that the book documents.
        origin: the module in whose documentation the reference stands.

    Returns:
        The name, or None if no name fits, or two fit equally well: a doubtful link is left to warn.

    Example:
        >>> documented_name("entk_tutorial.a.b.Name", {"entk_tutorial.a.Name", "entk_tutorial.c.Name"})
        'entk_tutorial.a.Name'
    """
    last = target.rsplit(".", 1)[-1]
    home = (target if "." in target else f"{origin}.{target}").split(".")
    ranked = []
    for name in known:
        if name.startswith(f"{PACKAGE}.") and name.rsplit(".", 1)[-1] == last:
            shared = 0
            for mine, theirs in zip(home[:-1], name.split(".")[:-1], strict=False):
                if mine != theirs:
                    break
                shared += 1
            ranked.append((shared, name))
    ranked.sort(reverse=True)
    if not ranked or (len(ranked) > 1 and ranked[0][0] == ranked[1][0]):
        return None
    return ranked[0][1]


def resolve(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.Element) -> nodes.Element | None:
    """Handler of ``missing-reference``: link to the documented name, or leave the warning."""
    if node.get("refdomain") != "py":
        return None
    objects: dict[str, Any] = env.domaindata["py"]["objects"]
    kinds = KINDS.get(node.get("reftype", ""), ())
    known = {name for name, entry in objects.items() if entry.objtype in kinds}
    name = documented_name(node["reftarget"], known, node.get("py:module") or "")
    if name is None:
        return None
    entry = objects[name]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def link_chapters(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Handler of ``autodoc-process-docstring``: a chapter named after "Chapter:" becomes a link, if the page exists."""
    pages = app.env.found_docs
    for index, line in enumerate(lines):
        if line.lstrip().startswith("Chapter"):
            lines[index] = CHAPTER.sub(lambda m: f":doc:`/{m[1]}`" if m[1] in pages else f"``{m[1]}``", line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("missing-reference", resolve)
    app.connect("autodoc-process-docstring", link_chapters)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
