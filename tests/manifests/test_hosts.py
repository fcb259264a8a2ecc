"""Which hosts a guarded file comes from: public ones, and those that are allowed."""

from __future__ import annotations

import socket

import pytest

from manifests import storage
from manifests.errors import StorageError
from manifests.storage import FetchPolicy
from manifests.storage.hosts import AllowedHosts, checked_entry
from manifests.uris import host_of, origin_of
from tests.manifests.test_web import name_server
from tests.web import CONTENT, WebServer


def guarded(*allowed: str) -> FetchPolicy:
    return FetchPolicy(guarded=True, allowed_hosts=allowed, retries=0)


def refused(uri: str, *allowed: str) -> StorageError:
    with pytest.raises(StorageError) as caught:
        storage.read_bytes(uri, policy=guarded(*allowed))
    return caught.value


@pytest.fixture
def web():
    with WebServer() as web:
        yield web


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]
)
def test_this_machine_is_refused_unless_it_is_allowed(web, host):
    uri = f"http://{host}:{web.server_port}/ok"
    error = refused(uri)
    assert error.kind == "host_not_allowed" and not error.host_failed
    assert str(error).startswith(f"{uri}: the host ")
    assert "is not public" in str(error) and "allowed_hosts (none)" in str(error)
    assert refused(uri, "10.0.0.0/8", "*.localhost").kind == "host_not_allowed"
    assert not web.asked
    for allowed in ("127.0.0.1", "127.0.0.0/8"):
        assert storage.read_bytes(uri, policy=guarded(allowed)) == CONTENT
    assert storage.read_bytes(uri) == CONTENT  # a file that is not guarded


@pytest.mark.parametrize(
    "host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "0", "0.0.0.0"]
)
def test_other_spellings_of_an_address(web, host):
    uri = f"http://{host}:{web.server_port}/ok"
    assert refused(uri).kind in ("host_not_allowed", "bad_uri", "unknown_host")
    assert refused(uri, "localhost").kind in ("host_not_allowed", "bad_uri", "unknown_host")
    assert not web.asked


def test_addresses_of_version_6():
    try:
        web = WebServer("::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with web:
        assert refused(f"{web.url}/ok", "127.0.0.1").kind == "host_not_allowed"
        assert not web.asked
        for allowed in ("::1", "::/64"):
            assert storage.read_bytes(f"{web.url}/ok", policy=guarded(allowed)) == CONTENT


def test_redirects_lead_to_allowed_hosts_only(web):
    with WebServer("127.0.0.2") as private:
        uri = f"{web.url}/to?{private.url}/ok"
        error = refused(uri, "127.0.0.1")
        assert error.kind == "host_not_allowed" and not private.asked
        assert str(error).startswith(f"{web.url}/to: the host 127.0.0.2 has the address 127.0.0.2")
        assert "allowed_hosts (127.0.0.1)" in str(error)
        allowed = guarded("127.0.0.1", "127.0.0.2")
        assert storage.read_bytes(uri, policy=allowed) == CONTENT
        # A connection that is kept open for one policy is not for another.
        assert refused(uri, "127.0.0.1").kind == "host_not_allowed"


def test_the_address_that_is_checked_is_the_one_that_is_connected_to(web, monkeypatch):
    """A name server may say something else each time that it is asked."""
    here, elsewhere = "127.0.0.1", "10.1.2.3"
    names = {"turning.example": [here, elsewhere], "inner.corp.example": [here]}
    asked = name_server(monkeypatch, names)
    uri = f"http://turning.example:{web.server_port}/ok"
    assert refused(uri).kind == "host_not_allowed" and not web.asked
    asked.clear()
    assert storage.read_bytes(uri, policy=guarded(here)) == CONTENT
    assert asked == ["turning.example"]
    uri = f"http://inner.corp.example:{web.server_port}/ok"
    for allowed in ("corp.example", "*.inner.corp.example", "*.example.corp"):
        assert refused(uri, allowed).kind == "host_not_allowed"
    for allowed in ("*.corp.example", "inner.corp.example", "*.example"):
        assert storage.read_bytes(uri, policy=guarded(allowed)) == CONTENT


@pytest.mark.parametrize(
    "read",
    [
        lambda uri, policy: storage.read_tail(uri, 3, policy),
        lambda uri, policy: storage.read_range(uri, 0, 3, policy),
        lambda uri, policy: storage.size_of(uri, policy),
    ],
    ids=["tail", "range", "size"],
)
def test_parts_of_a_file_are_guarded_too(web, read):
    with pytest.raises(StorageError) as caught:
        read(f"{web.url}/ok", guarded())
    assert caught.value.kind == "host_not_allowed" and not web.asked
    assert read(f"{web.url}/ok", guarded("127.0.0.1"))


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "172.16.0.1", "192.168.1.1", "127.8.8.8", "169.254.169.254", "0.0.0.0",
        "100.64.0.1", "224.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0",
        "fd00::1", "ff02::1", "::ffff:10.0.0.1", "::10.0.0.1", "64:ff9b::10.0.0.1",
        "64:ff9b:1::1", "2002:a00:1::", "no address",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not AllowedHosts.of([]).allow("host.example", address)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::", "2606:4700::1"]
)
def test_public_addresses(address):
    assert AllowedHosts.of([]).allow("host.example", address)


@pytest.mark.parametrize(
    "entry, plain",
    [
        ("localhost", "localhost"), ("*.Corp.Example.", "*.corp.example"), ("::1", "::1"),
        ("10.0.0.5", "10.0.0.5"), ("10.0.0.0/8", "10.0.0.0/8"), ("my_host", "my_host"),
        ("bücher.example", "xn--bcher-kva.example"),
    ],
)  # fmt: skip
def test_entries(entry, plain):
    assert checked_entry(entry) == plain


@pytest.mark.parametrize(
    "entry",
    ["", "*", "a*", "*.*.b", "10.0.0.1/8", "10.0.0.*", "127.1", "0x7f.1", "http://h", "h:80"],
)
def test_what_is_no_entry(entry):
    with pytest.raises(ValueError, match=r"expected a host name \(\*\.example\.org"):
        checked_entry(entry)


def test_hosts_and_origins_of_uris():
    uri = "HTTPS://me:pw@Bücher.Example.:8443/a b?sig=x"
    assert host_of(uri) == "xn--bcher-kva.example"
    assert "pw" not in origin_of(uri) and origin_of(uri).endswith(":8443")
    assert origin_of("http://h:80/a") == origin_of("http://H/b") == "http://h"
    assert host_of("tar://0/1/a.png::http://[::1]:80/a.tar") == "::1"
    for other in ("s3://bucket/a", "/a", "a", "http:///a", "http://h:x/a", "http://[a/"):
        assert host_of(other) is None and origin_of(other) is None


def test_names_with_public_and_other_addresses(monkeypatch):
    """Only what is allowed of them is connected to."""
    with WebServer() as web:
        both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, web.server_port))
                for a in ("127.0.0.2", "127.0.0.1")]  # fmt: skip
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: both)
        uri = f"http://both.example:{web.server_port}/ok"
        assert storage.read_bytes(uri, policy=guarded("127.0.0.1")) == CONTENT
        assert "127.0.0.2, 127.0.0.1" in str(refused(uri))
