"""Storage: local names of any kind, words for failures, one winner of a creation."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from urllib.parse import urlsplit

import pytest
import s3fs
from hypothesis import given
from hypothesis import strategies as st

from manifests import storage
from manifests.errors import StorageError

ODD = [
    "with space.png",
    "été 日本.png",
    "100%25.png",
    "a#b?c=d.png",
    "a::b.png",
    "new\nline.png",
    "~",
    "[x]*.png",
    "file:x",
]


@pytest.fixture(params=["local", "s3"])
def folder(request, tmp_path):
    if request.param == "local":
        return str(tmp_path)
    return request.getfixturevalue("s3_prefix")


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_taken_literally(tmp_path, name):
    uri = storage.join(str(tmp_path), "sub", name)
    storage.write_bytes(uri, b"x")
    assert os.listdir(tmp_path / "sub") == [name]
    assert storage.read_bytes(uri) == b"x"
    assert storage.exists(uri)
    assert storage.list_names(str(tmp_path / "sub")) == [name]
    assert storage.cached_local(uri).read_bytes() == b"x"
    assert not storage.create_exclusive(uri, b"y")
    storage.remove(uri)
    assert not storage.exists(uri)


@pytest.mark.parametrize("name", ["a b.png", "a::b.png", "100%25.png", "a#b.png", "é.png", "a?b"])
def test_odd_keys_in_a_bucket(s3_prefix, name):
    uri = storage.join(s3_prefix, name)
    storage.write_bytes(uri, b"x")
    assert storage.read_bytes(uri) == b"x"
    assert storage.list_names(s3_prefix) == [name]
    storage.remove(uri)
    assert storage.list_names(s3_prefix) == []


def test_life_of_a_file(folder):
    uri = storage.join(folder, "deep", "a.bin")
    assert not storage.exists(uri)
    assert storage.list_names(storage.join(folder, "deep")) == []
    storage.remove(uri)  # no complaint
    storage.write_bytes(uri, b"one")
    storage.write_bytes(uri, b"")
    assert storage.read_bytes(uri) == b""
    storage.write_bytes(storage.join(folder, "deep", "b.txt"), b"")
    storage.write_bytes(storage.join(folder, "deep", "er", "c.bin"), b"")
    assert storage.list_names(storage.join(folder, "deep")) == ["a.bin", "b.txt"]
    assert storage.list_names(storage.join(folder, "deep"), ".bin") == ["a.bin"]
    assert storage.list_names(uri) == []


def test_a_listing_sees_what_another_client_wrote(s3_prefix):
    assert storage.list_names(s3_prefix) == []
    storage.write_bytes(storage.join(s3_prefix, "a"), b"")
    assert storage.list_names(s3_prefix) == ["a"]
    other = s3fs.S3FileSystem(skip_instance_cache=True)
    other.pipe_file(f"{s3_prefix}/b", b"")
    assert storage.list_names(s3_prefix) == ["a", "b"]
    other.rm_file(f"{s3_prefix}/a")
    assert storage.list_names(s3_prefix) == ["b"]
    assert not storage.exists(storage.join(s3_prefix, "a"))


def test_one_of_many_threads_creates(folder):
    for round_ in range(5):
        uri = storage.join(folder, f"commit-{round_}")
        gate = threading.Barrier(8)

        def create(k, uri=uri, gate=gate):
            gate.wait()
            return storage.create_exclusive(uri, b"%d" % k * 1000)

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(create, range(8)))
        assert won.count(True) == 1
        assert storage.read_bytes(uri) == b"%d" % won.index(True) * 1000
    assert len(storage.list_names(folder)) == 5


def _create(args):
    uris, k = args
    return [storage.create_exclusive(uri, str(k).encode()) for uri in uris]


def test_one_of_two_processes_creates(folder):
    uris = [storage.join(folder, f"commit-{i}") for i in range(20)]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        one, two = pool.map(_create, [(uris, 1), (uris, 2)])
    assert all(a != b for a, b in zip(one, two, strict=True))


class LosesOneReply:
    """A TCP relay to the S3 server that hangs up instead of passing on its first 200 to a PUT."""

    def __init__(self, endpoint: str):
        self.target = (urlsplit(endpoint).hostname, urlsplit(endpoint).port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.lost = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(self.target)
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.pump, args=(source, sink), daemon=True).start()

    def pump(self, source, sink):
        try:
            while data := source.recv(1 << 16):
                if data.startswith(b"HTTP/1.1 200") and not self.lost:
                    self.lost += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_lost_reply_does_not_lose_the_creation(s3_prefix, monkeypatch):
    """The client sends the request again, and the server answers that the object exists."""
    relay = LosesOneReply(os.environ["AWS_ENDPOINT_URL"])
    monkeypatch.setenv("AWS_ENDPOINT_URL", relay.url)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        uri = storage.join(s3_prefix, "commit")
        assert storage.create_exclusive(uri, b"mine")
        assert relay.lost == 1
        assert not storage.create_exclusive(uri, b"mine")
    finally:
        monkeypatch.undo()
        relay.listener.close()
        s3fs.S3FileSystem.clear_instance_cache()


def test_storage_that_cannot_create_exclusively_says_so():
    with pytest.raises(StorageError, match="cannot create a file exclusively"):
        storage.create_exclusive("memory://x/y", b"")


def test_failures_are_in_words(tmp_path, folder):
    missing = storage.join(folder, "none.png")
    with pytest.raises(StorageError, match=r"^no such file: .*none\.png$"):
        storage.read_bytes(missing)
    with pytest.raises(StorageError, match=r"^no such file: .*none\.png$"):
        storage.cached_local(missing)
    with pytest.raises(StorageError, match="is a folder"):
        storage.read_bytes(str(tmp_path))
    with pytest.raises(StorageError, match="is a folder"):
        storage.write_bytes(str(tmp_path), b"")
    assert not list(tmp_path.parent.glob(".*.partial"))
    with pytest.raises(StorageError, match=r"nope://x/y: .*nope"):
        storage.read_bytes("nope://x/y")


def test_wrong_keys_are_access_denied(s3_prefix, monkeypatch):
    storage.write_bytes(storage.join(s3_prefix, "a"), b"")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        with pytest.raises(StorageError, match=r"^access denied: ") as caught:
            storage.read_bytes(storage.join(s3_prefix, "a"))
        assert "wrong-secret" not in str(caught.value)
    finally:
        monkeypatch.undo()
        s3fs.S3FileSystem.clear_instance_cache()


def test_a_changed_remote_file_is_fetched_anew(s3_prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPIR_CACHE", str(tmp_path / "cache"))
    uri = storage.join(s3_prefix, "model.safetensors")
    storage.write_bytes(uri, b"one")
    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(storage.cached_local, [uri] * 4))
    assert len(set(first)) == 1
    assert first[0].suffix == ".safetensors"
    assert first[0].read_bytes() == b"one"
    storage.write_bytes(uri, b"two")
    assert storage.cached_local(uri).read_bytes() == b"two"
    assert len(os.listdir(tmp_path / "cache")) == 2


class Site(BaseHTTPRequestHandler):
    def do_GET(self):
        status = {"/good": 200, "/private": 403}.get(urlsplit(self.path).path, 404)
        self.send_response(status)
        self.send_header("Content-Length", "4")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"body")

    do_HEAD = do_GET

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_secrets_of_a_url_are_not_repeated(site, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPIR_CACHE", str(tmp_path))
    assert storage.read_bytes(f"{site}/good?sig=secret") == b"body"
    assert storage.cached_local(f"{site}/good?sig=secret").read_bytes() == b"body"
    for read in (storage.read_bytes, storage.cached_local):
        with pytest.raises(StorageError) as caught:
            read(f"{site}/private?sig=secret/x")
        assert str(caught.value) == f"access denied: {site}/private"
        with pytest.raises(StorageError) as caught:
            read(f"{site}/none?sig=secret")
        assert str(caught.value) == f"no such file: {site}/none"
        with pytest.raises(StorageError) as caught:
            read("http://user:secret@127.0.0.1:9/x?sig=secret")
        assert "secret" not in str(caught.value)
        assert "no such file" not in str(caught.value)


@pytest.mark.parametrize(
    "base, ref, expected",
    [
        ("/data", "a.png", "/data/a.png"),
        ("/data", "/b/a.png", "/b/a.png"),
        ("/data", "s3://b/a.png", "s3://b/a.png"),
        ("s3://b/set", "x/a.png", "s3://b/set/x/a.png"),
        ("s3://b/set", "../x/./a.png", "s3://b/x/a.png"),
    ],
)
def test_references_resolve(base, ref, expected):
    assert storage.resolve(base, ref) == expected


@given(st.text(min_size=1).filter(lambda s: "://" not in s and "\0" not in s))
def test_local_paths_are_shown_as_they_are(path):
    assert storage.shown(path) == path
    assert storage.is_local(path)
    assert storage.absolute(storage.absolute(path)) == storage.absolute(path)
