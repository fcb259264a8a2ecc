"""Storage: local names of any kind, words for failures, one winner of a creation."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from array import array
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
from manifests.storage.ranges import RangedFile

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


@pytest.fixture(params=["local", "s3", "gs"])
def folder(request, tmp_path):
    if request.param == "local":
        return str(tmp_path)
    return request.getfixturevalue(f"{request.param}_prefix")


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


def test_storage_that_cannot_create_exclusively_says_so():
    with pytest.raises(StorageError, match="cannot create a file exclusively"):
        storage.create_exclusive("memory://x/y", b"")


@contextlib.contextmanager
def refused(kind: str, match: str):
    """The body is refused with an error of this kind and in these words."""
    with pytest.raises(StorageError, match=match) as caught:
        yield
    assert caught.value.kind == kind


@pytest.mark.parametrize("size", [0, 1, 9, 10])
def test_files_up_to_a_limit_are_read(folder, size):
    uri = storage.join(folder, "a.bin")
    storage.write_bytes(uri, bytes(size))
    assert storage.read_bytes(uri, limit=10) == bytes(size)
    assert storage.read_tail(uri, 4) == bytes(min(size, 4))


def test_files_beyond_a_limit_are_refused(folder):
    uri = storage.join(folder, "a.bin")
    storage.write_bytes(uri, bytes(11))
    with refused("too_large", r"a\.bin: 11 bytes, more than the 10 allowed$"):
        storage.read_bytes(uri, limit=10)
    storage.write_bytes("memory://limits/a.bin", bytes(11))
    with refused("too_large", r"a\.bin: 11 bytes, more than the 10 allowed$"):
        storage.read_bytes("memory://limits/a.bin", limit=10)
    assert storage.read_bytes("memory://limits/a.bin", limit=11) == bytes(11)


def test_a_limit_holds_where_no_size_is_told(site):
    with refused("too_large", "an unknown number of bytes, more than the 1000000 allowed"):
        storage.read_bytes(f"{site}/endless", limit=1_000_000)
    assert storage.read_bytes(f"{site}/good", limit=4) == b"body"
    with refused("too_large", "4 bytes, more than the 3 allowed"):
        storage.read_bytes(f"{site}/good", limit=3)


def test_a_reply_cut_short_is_no_content(site, monkeypatch):
    monkeypatch.setenv("DIFFPIR_RETRY_SECONDS", "0.5")
    for read in (storage.read_bytes, storage.cached_local):
        with refused("storage", r"/short: .*tried again"):
            read(f"{site}/short")


def test_what_is_no_file_is_refused_at_once(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (str(pipe), f"file://{pipe}", "/dev/zero"):
        for read in (storage.read_bytes, storage.cached_local, storage.modified):
            with refused("not_a_file", "^is not a regular file: "):
                read(path)
    with refused("not_a_file", "^is a folder, not a file: "):
        storage.read_bytes(str(tmp_path))


def test_failures_have_a_kind(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"")
    with refused("not_found", "^no such file"):
        storage.read_bytes(str(tmp_path / "none"))
    for read in (storage.read_bytes, storage.exists, storage.filesystem):
        with refused("bad_uri", "nope://x/y"):
            read("nope://x/y")
    with refused("bad_uri", "null byte"):
        storage.read_bytes(f"{tmp_path}/a\0b")
    with refused("not_found", "Not a directory"):
        storage.read_bytes(f"{file}/below")
    for write in (storage.write_bytes, storage.create_exclusive):
        with refused("not_found", "Not a directory"):
            write(f"{file}/below", b"")


def test_a_bucket_that_is_not_there_is_said_to_be_missing(s3):
    uri = "s3://no-such-bucket/x"
    with refused("not_found", f"^no such bucket: {uri}$"):
        storage.read_bytes(uri)
    for write in (storage.write_bytes, storage.create_exclusive):
        with refused("not_found", f"^cannot be written: no such bucket: {uri}$"):
            write(uri, b"")


def test_whether_a_folder_can_be_written_leaves_nothing_in_it(folder, tmp_path):
    storage.check_writable(folder)
    assert storage.find_files(folder) == []
    (tmp_path / "file").write_bytes(b"")
    with refused("not_found", "^cannot be written: .*Not a directory"):
        storage.check_writable(f"{tmp_path}/file")


def test_keys_that_no_bucket_has(s3):
    for uri in ("s3://no bucket/x", s3):
        with refused("bad_uri", "^s3://"):
            storage.read_bytes(uri)


def test_a_full_or_read_only_disk_is_named(tmp_path):
    """On a real one, small enough to fill, where this machine lets us mount it."""
    private = ["unshare", "-m" if os.geteuid() == 0 else "-rm", "sh", "-c"]
    code = f"""
from manifests import storage
from manifests.errors import StorageError
from manifests.storage.ranges import RangedFile
for write in (storage.write_bytes, storage.create_exclusive):
    try:
        write("{tmp_path}/a.npz", bytes(1_000_000))
    except StorageError as e:
        print(e.kind, e)
"""
    for options, cause in (
        ("size=64k", "No space left on device"),
        ("ro", "Read-only file system"),
    ):
        prepare = f"mount -t tmpfs -o {options} none {tmp_path}"
        if subprocess.run([*private, prepare], capture_output=True).returncode:
            pytest.skip("mounting is not allowed here")
        command = f'{prepare} && exec "$0" -c "$1"'
        done = subprocess.run(
            [*private, command, sys.executable, code],
            capture_output=True,
            text=True,
        )
        assert done.stdout == f"storage {tmp_path}/a.npz: {cause}\n" * 2, done.stderr


def test_when_a_file_was_written(folder):
    uri = storage.join(folder, "beat")
    storage.write_bytes(uri, b"1")
    first = storage.modified(uri)
    time.sleep(1.1)  # S3 tells whole seconds
    storage.write_bytes(uri, b"2")
    assert 1 <= storage.modified(uri) - first < 60
    with refused("not_found", "^no such file"):
        storage.modified(storage.join(folder, "none"))


def test_what_dead_writers_left_is_removed(tmp_path):
    (tmp_path / f".{'0' * 32}.partial").write_bytes(b"half")
    storage.write_bytes(str(tmp_path / "a"), b"")
    assert storage.remove_partials(str(tmp_path)) == 1
    assert storage.remove_partials(str(tmp_path / "none")) == 0
    assert os.listdir(tmp_path) == ["a"]


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
        path = urlsplit(self.path).path
        self.send_response({"/private": 403, "/none": 404}.get(path, 200))
        if path != "/endless":
            self.send_header("Content-Length", "5" if path == "/short" else "4")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(b"body")
            with contextlib.suppress(OSError):  # the reader has had enough
                while path == "/endless":
                    self.wfile.write(bytes(1 << 16))

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
    monkeypatch.setenv("DIFFPIR_RETRY_SECONDS", "0")
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


def test_a_ranged_file_fills_a_buffer_by_its_bytes(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(range(7)))
    words = array("H", [0] * 4)
    assert RangedFile(str(file)).readinto(words) == 7
    assert words.tobytes() == bytes([*range(7), 0])


def test_an_object_is_read_only_while_it_has_the_etag_that_is_asked_for(s3_prefix):
    uri = f"{s3_prefix}/a.bin"
    etags = []
    for content in (b"first", b"second"):
        storage.write_bytes(uri, content)
        fs, path = storage.filesystem(uri)
        etags.append(fs.info(path)["ETag"])
        assert storage.read_bytes(uri, etag=etags[-1]) == content
        assert storage.read_bytes(uri, etag=etags[-1].strip('"')) == content
    with pytest.raises(StorageError, match="no longer the ETag") as e:
        storage.read_bytes(uri, etag=etags[0])
    assert e.value.kind == "changed"
