"""Files of web servers: what fails at once, what is tried again, and in what words."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess

import pytest

from manifests import storage
from manifests.errors import StorageError
from manifests.storage import FetchPolicy, retries
from tests.web import CONTENT, WebServer, dead_port

THRICE = FetchPolicy(retries=2, retry_seconds=600)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(retries, "_FIRST_PAUSE_OF_FEW", 0.01)


@pytest.fixture(scope="module")
def web():
    with WebServer() as web:
        yield web


def failure(uri: str, policy: FetchPolicy = THRICE) -> StorageError:
    with pytest.raises(StorageError) as caught:
        storage.read_bytes(uri, policy=policy)
    return caught.value


@pytest.mark.parametrize(
    "target", ["file:///etc/hostname", "ftp://example.org/a.png", "gopher://example.org/"]
)
@pytest.mark.parametrize("policy", [THRICE, storage.UNRESTRICTED], ids=["row", "other"])
def test_redirects_to_other_schemes_fail_at_once_and_say_so(web, target, policy):
    web.asked.clear()
    error = failure(f"{web.url}/to?{target}", policy)
    assert str(error) == f"{web.url}/to: redirects to {target}, which is not http or https"
    assert (error.kind, error.host_failed, web.asked["/to"]) == ("bad_redirect", False, 1)


def test_redirects_without_end_or_to_nowhere(web):
    error = failure(f"{web.url}/to?http://h:port/")
    assert str(error) == f"{web.url}/to: redirects to http://h:port/, which is not a valid URL"
    assert error.kind == "bad_redirect"
    error = failure(f"{web.url}/loop")
    assert (
        str(error) == f"{web.url}/loop: {web.asked['/loop']} redirects in a row, the last to /loop"
    )
    assert error.kind == "bad_redirect" and not error.host_failed
    error = failure(f"{web.url}/status/302")  # it does not say where to
    assert str(error) == f"{web.url}/status/302: the server answers 302 Found"
    assert error.kind == "refused" and web.asked["/status/302"] == 1


@pytest.mark.parametrize(
    "status, kind, words",
    [
        (404, "not_found", "no such file: {uri}"),
        (410, "not_found", "no such file: {uri}"),
        (401, "access_denied", "access denied: {uri}"),
        (403, "access_denied", "access denied: {uri}"),
        (400, "refused", "{uri}: the server answers 400 Bad Request"),
        (418, "refused", "{uri}: the server answers 418 I'm a Teapot"),
        (451, "refused", "{uri}: the server answers 451 Unavailable For Legal Reasons"),
    ],
)
def test_refusals_fail_at_once(web, status, kind, words):
    uri = f"{web.url}/status/{status}"
    error = failure(uri)
    assert (str(error), error.kind) == (words.format(uri=uri), kind)
    assert (web.asked[f"/status/{status}"], error.host_failed) == (1, False)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 520])
def test_what_may_pass_is_tried_again_as_often_as_allowed(web, status):
    path = f"/flaky/2/{status}"
    assert storage.read_bytes(f"{web.url}{path}", policy=THRICE) == CONTENT
    assert web.asked[path] == 3
    path = f"/flaky/3/{status}"
    error = failure(f"{web.url}{path}")
    assert error.kind == "storage" and str(status) in str(error)
    assert error.host_failed == (status >= 500)
    assert web.asked[path] == 3
    path = f"/flaky/1/{status}"
    error = failure(f"{web.url}{path}", FetchPolicy(retries=0))
    assert web.asked[path] == 1 and "tried again" not in str(error)
    failure(f"{web.url}/flaky/9/{status}", FetchPolicy(retry_seconds=0))
    assert web.asked[f"/flaky/9/{status}"] == 1


def test_a_port_where_nothing_listens():
    with dead_port() as port:
        error = failure(f"http://127.0.0.1:{port}/a.png")
    assert error.kind == "storage" and error.host_failed
    assert "onnect" in str(error) and "tried again for" in str(error)


@pytest.mark.parametrize("path", ["/silent", "/dribble"])
def test_a_server_that_takes_too_long(web, path):
    error = failure(f"{web.url}{path}", FetchPolicy(timeout=0.5))
    assert str(error) == f"{web.url}{path}: not fetched within 0.5 s"
    assert (error.kind, error.host_failed) == ("timeout", True)


def test_it_is_not_the_redirecting_host_that_fails(web):
    with dead_port() as port:
        error = failure(f"{web.url}/to?http://127.0.0.1:{port}/a.png")
    assert error.kind == "storage" and not error.host_failed
    with WebServer() as other:
        error = failure(f"{web.url}/to?{other.url}/status/500")
    assert error.kind == "storage" and not error.host_failed


def name_server(monkeypatch, answers: dict[str, list]) -> list[str]:
    """Names resolve as told, one answer after the other; returns the names asked for."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def answer(host, port, *args, **options):
        if host not in answers:
            return real(host, port, *args, **options)
        asked.append(host)
        turn = min(asked.count(host), len(answers[host])) - 1
        found = answers[host][turn]
        if isinstance(found, int):
            raise socket.gaierror(found, "the name server's own words")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    return asked


def test_names_that_do_not_resolve(web, monkeypatch):
    again, gone, back = "again.invalid", "nonexistent.invalid", "back.invalid"
    asked = name_server(
        monkeypatch,
        {
            gone: [socket.EAI_NONAME],
            again: [socket.EAI_AGAIN],
            back: [socket.EAI_AGAIN, "127.0.0.1"],
        },
    )
    error = failure(f"http://{gone}/a.png")
    assert str(error) == f"http://{gone}/a.png: there is no host with the name {gone}"
    assert (error.kind, error.host_failed) == ("unknown_host", False)
    error = failure(f"{web.url}/to?http://{gone}/a.png")
    assert error.kind == "unknown_host" and gone in str(error)
    assert asked.count(gone) == 2
    error = failure(f"http://{again}/a.png")
    assert (error.kind, error.host_failed, asked.count(again)) == ("storage", True, 3)
    uri = f"http://{back}:{web.server_port}/ok"
    assert storage.read_bytes(uri, policy=THRICE) == CONTENT and asked.count(back) == 2


@pytest.mark.parametrize(
    "uri", ["http:///a.png", "http://host:99999/a.png", "http://host:port/a.png", "http://[::1/a"]
)
def test_what_is_no_url(uri):
    error = failure(uri)
    assert (error.kind, error.host_failed) == ("bad_uri", False)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> ssl.SSLContext:
    """Of a host ``localhost``, which nobody vouches for."""
    if not shutil.which("openssl"):
        pytest.skip("there is no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    options = "-x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 2 -keyout key -out cert"
    subprocess.run(
        ["openssl", "req", *options.split()], cwd=folder, check=True, capture_output=True
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert", folder / "key")
    return context


def test_certificates_that_cannot_be_trusted_fail_at_once(web, certificate):
    with WebServer(tls=certificate) as secure:
        uri = f"{secure.url}/ok"
        error = failure(uri)
        assert str(error).startswith(f"{uri}: no trusted connection to the host 127.0.0.1: self")
        assert (error.kind, error.host_failed) == ("tls", False)
        assert failure(f"{web.url}/to?{uri}").kind == "tls"
        assert not secure.asked
    error = failure(f"{web.url.replace('http', 'https')}/ok")  # a server that knows no TLS
    assert error.kind == "tls" and "tried again" not in str(error)
