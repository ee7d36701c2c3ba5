"""Settings of pip, index pages of every form, passwords, limits. Servers run on this machine only."""

import base64
import http.server
import json
import threading

import pytest

from entk_tutorial.data import package_index
from entk_tutorial.data.package_index import (
    FetchError,
    Link,
    PipSettings,
    links,
    pip_settings,
    read_url,
    without_password,
)

NAME = "Thing-1.0.zip"


@pytest.fixture
def clean(monkeypatch, tmp_path):
    """No setting of this machine's pip, no netrc, no proxy for local addresses."""
    for variable in ("INDEX_URL", "EXTRA_INDEX_URL", "FIND_LINKS", "NO_INDEX", "PROXY", "TRUSTED_HOST", "CERT"):
        monkeypatch.delenv(f"PIP_{variable}", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return monkeypatch


@pytest.fixture
def server():
    """A server of {path: (status, headers, body)} that remembers what it was asked for."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append((self.path, self.headers.get("Authorization"), self.headers.get("Accept")))
            status, headers, body = self.server.pages.get(self.path, (404, {}, b""))
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.pages, running.asked = {}, []
    running.address = f"127.0.0.1:{running.server_address[1]}"
    threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def html(*anchors, head=""):
    return (200, {"Content-Type": "text/html"}, f"<html><head>{head}</head><body>{''.join(anchors)}</body>".encode())


def test_settings_come_from_pip(clean, tmp_path):
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://one.invalid/simple\nextra-index-url =\n  https://two.invalid/simple\n"
        "  file:///three\n[install]\ntrusted-host = two.invalid\n[list]\nformat = json\n"
    )
    clean.setenv("PIP_FIND_LINKS", "/wheels")
    clean.setenv("PIP_DEFAULT_TIMEOUT", "7")
    found = pip_settings()
    assert found.indexes == ("https://one.invalid/simple", "https://two.invalid/simple", "file:///three")
    assert (found.find_links, found.trusted_hosts, found.timeout) == (("/wheels",), ("two.invalid",), 7.0)


def test_the_default_is_that_of_pip(clean):
    default = pip_settings().indexes
    assert len(default) == 1 and default[0].startswith("https://")


@pytest.mark.parametrize(
    "lines, indexes",
    [
        ([":env:.index-url='https://b.invalid'", "global.index-url='https://a.invalid'"], ("https://b.invalid",)),
        (["install.index-url='https://b.invalid'", "global.index-url='https://a.invalid'"], ("https://b.invalid",)),
        ([":env:.no-index='1'", "global.index-url='https://a.invalid'"], ()),
        (["global.timeout='soon'"], ("https://default.invalid",)),
    ],
)
def test_environment_wins_over_files(monkeypatch, lines, indexes):
    answers = {"-m": "\n".join(lines), "-c": "https://default.invalid\n/certificates.pem\n"}
    monkeypatch.setattr(package_index, "_pip", lambda first, *_: answers[first])
    found = pip_settings()
    assert found.indexes == indexes and found.timeout == 15 and found.own_certificates == "/certificates.pem"


def test_pip_that_cannot_answer(clean, tmp_path):
    (tmp_path / "pip.conf").write_text("no section\n")
    with pytest.raises(FetchError, match="pip could not be asked"):
        pip_settings()


def offers(*places, find_links=()):
    return list(links(PipSettings(indexes=places, find_links=find_links, timeout=5), "thing", NAME))


def test_an_index_in_html(clean, server):
    server.pages["/simple/thing/"] = html(
        '<a href="../../files/thing-1.0.zip#sha256=AB">thing-1.0.zip</a>',
        '<a href="../../files/Thing-1.1.zip">Thing-1.0.zip</a>',
        f'<a href="file:///etc/{NAME}">no business here</a>',
        f'<a href="/other/{NAME}#md5=1">{NAME}</a>',
    )
    root = f"http://{server.address}"
    assert offers(root + "/simple") == [Link(root + "/files/thing-1.0.zip", "ab"), Link(f"{root}/other/{NAME}", None)]
    assert "simple.v1+json" in server.asked[0][2]


def test_a_base_address_and_a_redirect(clean, server):
    server.pages["/simple/thing/"] = (302, {"Location": "/moved/thing/"}, b"")
    server.pages["/moved/thing/"] = html(f'<a href="{NAME}">x</a>')
    root = f"http://{server.address}"
    assert offers(root + "/simple/") == [Link(f"{root}/moved/thing/{NAME}")]
    server.pages["/moved/thing/"] = html(f'<a href="{NAME}">x</a>', head='<base href="/files/">')
    assert offers(root + "/simple/") == [Link(f"{root}/files/{NAME}")]


def test_an_index_in_json(clean, server):
    files = [{"filename": NAME, "url": f"/f/{NAME}", "hashes": {"sha256": "cd"}}, {"url": "/f/other", "hashes": {}}]
    kind = {"Content-Type": "application/vnd.pypi.simple.v1+json"}
    server.pages["/simple/thing/"] = (200, kind, json.dumps({"files": files}).encode())
    root = f"http://{server.address}"
    assert offers(root + "/simple") == [Link(f"{root}/f/{NAME}", "cd")]
    server.pages["/simple/thing/"] = (200, kind, b"[]")
    (reason,) = offers(root + "/simple")
    assert isinstance(reason, FetchError) and "not a simple index in JSON" in str(reason)


def test_local_folders_pages_and_indexes(clean, tmp_path):
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / NAME.lower()).write_bytes(b"x")
    (tmp_path / "simple/thing").mkdir(parents=True)
    (tmp_path / "simple/thing/index.html").write_text(f'<a href="../../wheels/{NAME.lower()}">x</a>')
    file = (tmp_path / "wheels" / NAME.lower()).as_uri()
    index = (tmp_path / "simple").as_uri()
    assert offers(index, find_links=(str(tmp_path / "wheels"),)) == [Link(file), Link(file)]
    assert offers(find_links=(str(tmp_path / "simple/thing/index.html"),)) == [Link(file)]
    missing, unknown = offers((tmp_path / "none").as_uri(), find_links=(str(tmp_path / "nowhere"),))
    assert "there is no such folder" in str(missing) and "does not have the project" in str(unknown)


def test_reasons_name_the_place_but_no_password(clean, server):
    (reason,) = offers(f"http://me:secret@{server.address}/simple")
    assert str(reason) == f"http://****@{server.address}/simple: it answered 404 Not Found"
    server.pages["/simple/thing/"] = html()
    (reason,) = offers(f"http://{server.address}/simple")
    assert str(reason).endswith(f"it has no {NAME}")


def basic(login):
    return "Basic " + base64.b64encode(login.encode()).decode()


def test_passwords_go_to_their_host_only(clean, server, tmp_path):
    server.pages["/a"] = (302, {"Location": f"http://localhost:{server.server_address[1]}/b"}, b"")
    server.pages["/b"] = (200, {}, b"content")
    settings = PipSettings(indexes=(), timeout=5)
    assert read_url(f"http://me:s%20t@{server.address}/a", settings, 100) == b"content"
    assert [(path, login) for path, login, _ in server.asked] == [("/a", basic("me:s t")), ("/b", None)]
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login you password p\n")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login you password p\n")
    (tmp_path / ".netrc").chmod(0o600)
    read_url(f"http://{server.address}/b", settings, 100)
    assert server.asked[-1][1] == basic("you:p")


def test_limits(clean, server, monkeypatch):
    server.pages["/big"] = (200, {}, b"x" * 1001)
    settings = PipSettings(indexes=(), timeout=5)
    assert len(read_url(f"http://{server.address}/big", settings, 1001)) == 1001
    with pytest.raises(FetchError, match="more than 1000 bytes"):
        read_url(f"http://{server.address}/big", settings, 1000)
    monkeypatch.setattr(package_index, "TOTAL_SECONDS", -1.0)
    with pytest.raises(FetchError, match="took more than"):
        read_url(f"http://{server.address}/big", settings, 1001)


@pytest.mark.parametrize("url", ["ftp://x.invalid/a", "data:,x", "x"])
def test_other_kinds_of_address(url):
    with pytest.raises(FetchError, match="expected http, https or file"):
        read_url(url, PipSettings(indexes=()), 10)


def test_nobody_answers(clean):
    with pytest.raises(FetchError, match="could not be read"):
        read_url("http://127.0.0.1:9/x", PipSettings(indexes=(), timeout=2), 10)


def test_addresses_without_password_stay_as_they_are():
    assert without_password("https://x.invalid/a?b") == "https://x.invalid/a?b"
    assert without_password("https://me@x.invalid/a", shown=False) == "https://x.invalid/a"
