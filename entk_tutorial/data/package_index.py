"""Find one file of one release in the package index that pip is configured with, and read it, without installing it.

``pip download`` would run the release's setup code to learn its name. So pip is only asked for its settings; the pages
of the index, which have a standard form, are read here.
"""

from __future__ import annotations

import ast
import base64
import json
import netrc
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

__all__ = ["FetchError", "Link", "PipSettings", "links", "pip_settings", "read_url", "without_password"]

PAGE_LIMIT = 16 * 2**20
"""Most bytes of an index page."""
TOTAL_SECONDS = 300.0
"""Longest time that one download may take."""
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.3, text/html;q=0.2"
_ASK_PIP = "from pip._internal.models.index import PyPI; from pip._vendor import certifi; print(PyPI.simple_url); \
print(certifi.where())"


class FetchError(OSError):
    """Data could not be fetched. The message says why, and what to do instead."""


@dataclass(frozen=True)
class PipSettings:
    """Where pip looks for packages, and how it connects.

    Attributes:
        indexes: addresses of simple indexes, the main one first.
        find_links: further folders or pages with files.
        certificates: file or folder of certificates to trust instead of the system's; None for these.
        own_certificates: file of certificates that pip brings along, trusted besides the system's.
        proxy: address of a proxy; None means what the environment says.
        trusted_hosts: hosts whose certificates are not checked.
        timeout: seconds that a connection may be silent.
    """

    indexes: tuple[str, ...]
    find_links: tuple[str, ...] = ()
    certificates: str | None = None
    own_certificates: str | None = None
    proxy: str | None = None
    trusted_hosts: tuple[str, ...] = ()
    timeout: float = 15.0


@dataclass(frozen=True)
class Link:
    """A file that an index offers.

    Attributes:
        url: its address, without fragment.
        sha256: the hash that the index states for it; None if it states none.
    """

    url: str
    sha256: str | None = None


def pip_settings() -> PipSettings:
    """Ask the pip of this Python for its settings: files, environment, and its built-in default.

    Raises:
        FetchError: if this Python has no pip, or pip cannot read its settings.
    """
    found: dict[str, str] = {}
    lines = _pip("-m", "pip", "config", "list").splitlines()
    for section in ("global.", "install.", ":env:."):  # as for `pip install`: later ones win
        for line in lines:
            key, equals, value = line.partition("=")
            if equals and key.startswith(section):
                found[key.removeprefix(section)] = str(ast.literal_eval(value))
    default, own_certificates = _pip("-c", _ASK_PIP).splitlines()[-2:]
    main = found.get("index-url") or default
    no_index = found.get("no-index", "").lower() in ("1", "true", "yes", "on")
    seconds = found.get("timeout") or found.get("default-timeout") or ""
    return PipSettings(
        indexes=() if no_index else (main, *found.get("extra-index-url", "").split()),
        find_links=tuple(found.get("find-links", "").split()),
        certificates=found.get("cert"),
        own_certificates=own_certificates,
        proxy=found.get("proxy"),
        trusted_hosts=tuple(found.get("trusted-host", "").split()),
        timeout=float(seconds) if seconds.replace(".", "", 1).isdigit() and float(seconds) > 0 else 15.0,
    )


def _pip(*arguments: str) -> str:
    # -P: no module of the present folder may pass for pip.
    done = subprocess.run(
        [sys.executable, "-P", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise FetchError(f"pip could not be asked for its package index: {reason}")
    return done.stdout


def links(settings: PipSettings, project: str, file_name: str) -> Iterator[Link | FetchError]:
    """Every offer of a file, place by place; for a place that has none, the reason.

    Args:
        settings: from :func:`pip_settings`.
        project: name of the project as in an index address, lower case with hyphens.
        file_name: of the release; case does not matter.

    Yields:
        One or more links for each place, or one :class:`FetchError`. Nothing is read before it is asked for.
    """
    for place in settings.find_links:
        yield from _offers(place, settings, file_name, place)
    for index in settings.indexes:
        page = index.rstrip("/") + f"/{project}/"
        yield from _offers(page + ("index.html" if page.startswith("file:") else ""), settings, file_name, index)


def _offers(page: str, settings: PipSettings, file_name: str, place: str) -> Iterator[Link | FetchError]:
    found = 0
    try:
        for link in _links_of(page, settings):
            if unquote(urlsplit(link.url).path).rpartition("/")[2].lower() == file_name.lower():
                found += 1
                yield link
    except FetchError as error:
        yield FetchError(f"{without_password(place)}: {error}")
        return
    if not found:
        yield FetchError(f"{without_password(place)}: it has no {file_name}")


def _links_of(page: str, settings: PipSettings) -> Iterator[Link]:
    local = _local_path(page)
    if local is not None and local.is_dir():
        yield from (Link(file.absolute().as_uri()) for file in sorted(local.iterdir()) if file.is_file())
        return
    if local is not None:
        if not local.is_file():
            raise FetchError("it does not have the project" if page.startswith("file:") else "there is no such folder")
        page = local.absolute().as_uri()
    content, address, kind = _open(page, settings, PAGE_LIMIT)
    if "json" in kind:
        try:
            files = [(f["url"], (f.get("hashes") or {}).get("sha256")) for f in json.loads(content)["files"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise FetchError(f"its page is not a simple index in JSON ({error!r})") from error
    else:
        reader = _Anchors()
        reader.feed(content.decode("utf-8", errors="replace"))
        address = urljoin(address, reader.base)
        files = [(urldefrag(link).url, _hash_in(urldefrag(link).fragment)) for link in reader.found]
    for link, digest in files:
        target = urljoin(address, link)
        # A page from elsewhere has no business with files of this machine.
        if urlsplit(target).scheme in ("http", "https") or (page.startswith("file:") and target.startswith("file:")):
            yield Link(target, digest)


def _hash_in(fragment: str) -> str | None:
    name, _, digest = fragment.partition("=")
    return digest.lower() if name == "sha256" else None


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.base = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        link = dict(attrs).get("href")
        if link and tag == "a":
            self.found.append(link)
        elif link and tag == "base":
            self.base = link


def _local_path(place: str) -> Path | None:
    parts = urlsplit(place)
    if parts.scheme == "file":
        return Path(urllib.request.url2pathname(parts.path))
    # One letter is a drive.
    return Path(place).expanduser() if len(parts.scheme) < 2 else None


def read_url(url: str, settings: PipSettings, limit: int) -> bytes:
    """The content at an address (http, https, file).

    Args:
        url: may hold a name and a password; else those of the user's netrc file are used. They are sent to that host
            only, and never told in a message.
        settings: certificates, proxy and time-out.
        limit: most bytes to accept.

    Raises:
        FetchError: if there is none, or it is larger, or too slow.
    """
    return _open(url, settings, limit)[0]


def _open(url: str, settings: PipSettings, limit: int) -> tuple[bytes, str, str]:
    """Content, address after redirects, and content type."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "file"):
        raise FetchError(f"cannot read an address of kind {parts.scheme!r}; expected http, https or file")
    try:
        request = urllib.request.Request(without_password(url, shown=False), headers={"Accept": _ACCEPT})
        login = _login(url)
        if login:
            # "unredirected": a redirect to another host must not carry the password there.
            request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
        deadline = time.monotonic() + TOTAL_SECONDS
        with _opener(settings, parts.hostname).open(request, timeout=settings.timeout) as answer:
            content = bytearray()
            while block := answer.read(65536):
                content += block
                if len(content) > limit:
                    raise FetchError(f"it sends more than {limit} bytes; nothing of that size was expected")
                if time.monotonic() > deadline:
                    raise FetchError(f"the download took more than {TOTAL_SECONDS:.0f} seconds")
            return bytes(content), answer.geturl(), answer.headers.get("Content-Type", "")
    except FetchError:
        raise
    except urllib.error.HTTPError as error:
        raise FetchError(f"it answered {error.code} {error.reason}") from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise FetchError(f"it could not be read ({reason})") from None


def _opener(settings: PipSettings, host: str | None) -> urllib.request.OpenerDirector:
    context = ssl.create_default_context()
    for place in filter(None, (settings.certificates, None if settings.certificates else settings.own_certificates)):
        path = Path(place).expanduser()
        context.load_verify_locations(**{"capath" if path.is_dir() else "cafile": str(path)})
    if host in {trusted.partition(":")[0] for trusted in settings.trusted_hosts}:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else None
    return urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=context)
    )


def _login(url: str) -> str | None:
    parts = urlsplit(url)
    if parts.scheme == "file" or not parts.hostname:
        return None
    if parts.username is not None:
        return f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    try:
        known = netrc.netrc().authenticators(parts.hostname)
    except (OSError, netrc.NetrcParseError):
        return None
    return f"{known[0]}:{known[2]}" if known else None


def without_password(url: str, *, shown: bool = True) -> str:
    """An address without name and password; for messages, with a sign that there were some.

    Example:
        >>> without_password("https://me:secret@packages.invalid/simple")
        'https://****@packages.invalid/simple'
    """
    parts = urlsplit(url)
    name, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=("****@" if shown else "") + host)) if at and name else url
