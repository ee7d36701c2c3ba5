"""The built pages as one document for paper: title page, contents, chapters in order, links that stay inside it.

Nothing is rendered again: the articles of ``_build/html`` are taken as they are, so paper and screen cannot disagree.
What makes no sense on paper goes (buttons, link marks, the folded code that draws a figure); what is folded for the
reader's sake, hints and solutions, is opened. ``tools.pdf`` prints the result.
"""

import posixpath
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag

ROOT = Path(__file__).resolve().parents[1]
STYLE = Path(__file__).with_name("paper.css")
# Buttons, link marks, links to source listings, and code that is folded on screen: its figure stays.
DROPPED = "a.headerlink, button, .viewcode-link, details.hide, div.tag_hide-cell > .cell_input, .film-note, noscript"


@dataclass(frozen=True)
class Part:
    """A part of the book: its caption (empty for the first page) and its pages, as ``book/infinite/linear``."""

    caption: str
    pages: tuple[str, ...]


def parts(root: Path = ROOT) -> list[Part]:
    """The parts of the table of contents, the first page as a part of its own."""
    contents: dict[str, Any] = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    found = [Part("", (contents["root"],))]
    for part in contents["parts"]:
        pages = [page["file"] for chapter in part["chapters"] for page in (chapter, *chapter.get("sections", ()))]
        found.append(Part(part["caption"], tuple(pages)))
    return found


def key(page: str) -> str:
    """The name of a page inside the document.

    Example:
        >>> key("book/infinite/tangent-kernel")
        'infinite-tangent-kernel'
    """
    return page.removeprefix("book/").replace("/", "-")


def target(href: str, page: str, pages: Sequence[str]) -> str | None:
    """Where a link of ``page`` leads in the document; None if it leads to a page that is not part of it.

    Example:
        >>> target("../text/negation.html#sec-x", "book/infinite/mlp", ["book/text/negation"])
        '#text-negation--sec-x'
        >>> target("https://example.org/a", "book/infinite/mlp", [])
        'https://example.org/a'
        >>> target("../../genindex.html", "book/infinite/mlp", []) is None
        True
    """
    address = urlsplit(href)
    if address.scheme or address.netloc:
        return href
    if not address.path:
        return f"#{key(page)}--{unquote(address.fragment)}" if address.fragment else f"#{key(page)}"
    name = posixpath.normpath(posixpath.join(posixpath.dirname(page), address.path)).removesuffix(".html")
    if name not in pages:
        return None
    return f"#{key(name)}--{unquote(address.fragment)}" if address.fragment else f"#{key(name)}"


def article(html: str, page: str, pages: Sequence[str]) -> Tag:
    """The article of one built page, ready for paper.

    Args:
        html: the built page.
        page: its name, ``book/infinite/linear``.
        pages: the names of all pages of the document.

    Returns:
        A ``<section class="chapter">`` whose ids, and links to them, begin with the page's :func:`key`.

    Raises:
        ValueError: if the page has no article or no title.
    """
    soup = BeautifulSoup(html, "html.parser")
    found = soup.select_one("article.bd-article > section")
    if found is None or found.h1 is None:
        raise ValueError(f"{page}: no article with a title in the built page; build the book again.")
    for node in found.select(DROPPED):
        node.decompose()
    for node in found.select("details"):
        node["open"] = ""
    for node in [found, *found.find_all(id=True)]:
        if (
            node.get("id")
            and node.find_parent(class_="entk-film") is None
            and "entk-film" not in (node.get("class") or [])
        ):
            node["id"] = f"{key(page)}--{node['id']}"
    for link in found.select("a[href]"):
        goal = target(str(link["href"]), page, pages)
        if goal is None:
            link.unwrap()
        else:
            link["href"] = goal
    for picture in found.select("img[src]"):
        if not urlsplit(str(picture["src"])).scheme:
            picture["src"] = "../html/" + posixpath.normpath(
                posixpath.join(posixpath.dirname(page), str(picture["src"]))
            )
        picture.attrs.pop("loading", None)
    whole = soup.new_tag("section", attrs={"class": "chapter", "id": key(page)})
    whole.append(found.extract())
    return whole


def title(chapter: Tag) -> tuple[str, str]:
    """Number (empty where there is none) and title of a chapter."""
    heading = chapter.h1
    assert heading is not None
    mark = heading.select_one(".section-number")
    number = mark.get_text().strip() if mark else ""
    return number, " ".join(heading.get_text().strip().removeprefix(number).split())


def head(html: str) -> str:
    """Style sheets and formula settings of a built page of the folder ``book/``, for a document in ``_build/pdf``."""
    soup = BeautifulSoup(html, "html.parser")
    kept = []
    for node in soup.select("head link[rel=stylesheet], head script"):
        source = str(node.get("href") or node.get("src") or "")
        if node.name == "script" and "MathJax" not in node.get_text() and "mathjax" not in source:
            continue
        for attribute in ("href", "src"):
            if attribute in node.attrs:
                node[attribute] = "../html/" + posixpath.normpath(posixpath.join("book", source))
        kept.append(str(node))
    return "\n".join(kept)


def built_from(root: Path = ROOT) -> str:
    """Version and, in a repository, commit and its date: what a reader needs to find the same text again."""
    version = re.search(r'^version = "(.*)"', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    line = f"Version {version[1] if version else 'unknown'}"
    command = ["git", "log", "-1", "--format=commit %h, %cs"]
    commit = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip()
    return f"{line}, {commit}" if commit else line


def contents(chapters: Mapping[str, Tag], book: Sequence[Part]) -> str:
    """The table of contents, with room for page numbers: ``<span class="page" data-of="key of the chapter">``."""
    lines = ['<nav class="book-contents" id="contents"><h1>Contents</h1>']
    for part in book:
        shown = [page for page in part.pages if page in chapters]
        if part.caption and shown:
            lines.append(f"<h2>{escape(part.caption)}</h2>")
        for page in shown:
            number, name = title(chapters[page])
            name = name if part.caption else "Before you begin"
            lines.append(
                f'<p><span class="number">{escape(number)}</span><a href="#{key(page)}">{escape(name)}</a>'
                f'<span class="dots"></span><span class="page" data-of="{key(page)}">000</span></p>'
            )
    return "\n".join([*lines, "</nav>"])


def running_heads(chapters: Mapping[str, Tag], limit: int = 70) -> str:
    """A page style for each chapter, with its number and title at the top."""
    rules = []
    for page, chapter in chapters.items():
        text = " ".join(part for part in title(chapter) if part)
        text = text if len(text) <= limit else text[:limit].rsplit(" ", 1)[0] + " …"
        text = text.replace("\\", "").replace('"', '\\"')
        rules.append(f'@page {key(page)} {{ @top-right {{ content: "{text}"; }} }}')
        rules.append(f"#{key(page)} {{ page: {key(page)}; }}")
    return "\n".join(rules)


def document(pages: Mapping[str, str], book: Sequence[Part], stamp: str = "") -> str:
    """The whole document.

    Args:
        pages: built page by name, in any order; those of ``book`` that are missing are left out.
        book: the parts, in order.
        stamp: the line under the title that says which version this is.

    Returns:
        HTML, to be stored in ``_build/pdf``, beside ``_build/html``.
    """
    order = [page for part in book for page in part.pages if page in pages]
    chapters = {page: article(pages[page], page, order) for page in order}
    name = "Features from Tangent Kernels"
    body = [
        f'<header class="title"><h1>{name}</h1><p class="subtitle">A course that runs, with a tool in PyTorch</p>'
        f'<p class="authors">The entk-tutorial authors</p><p class="stamp">{escape(stamp)}</p>'
        '<p class="rights">Text and figures: CC BY 4.0. Code: MIT licence. The notebooks have the code that draws each '
        "figure, which is left out here. Hints and solutions stand open: cover them.</p></header>",
        contents(chapters, book),
    ]
    for part in book:
        shown = [page for page in part.pages if page in chapters]
        for index, page in enumerate(shown):
            if part.caption and index == 0 and chapters[page].h1 is not None:
                mark = BeautifulSoup(f'<p class="part">{escape(part.caption)}</p>', "html.parser")
                chapters[page].insert(0, mark)
            body.append(str(chapters[page]))
    style = STYLE.read_text(encoding="utf-8") + running_heads(chapters)
    return (
        f'<!DOCTYPE html>\n<html lang="en" data-theme="light" data-mode="light">\n<head><meta charset="utf-8">'
        f"<title>{name}</title>\n{head(pages[order[0]])}\n<style>\n{style}\n</style></head>\n"
        f'<body class="paper"><main class="bd-content"><article class="bd-article">\n'
        + "\n".join(body)
        + "\n</article></main></body></html>\n"
    )
