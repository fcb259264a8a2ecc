"""Files that arrive too slowly, from servers that really dribble and disks that hang."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from manifests import storage
from manifests.errors import StorageError
from manifests.storage import FetchPolicy, reading, remote
from tests.s3 import forget_clients

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\nContent-Type: image/png\r\n\r\n"


@contextlib.contextmanager
def dribbling(sent_at_once: bytes, then: bytes) -> Iterator[str]:
    """A server that answers with some bytes at once, and the others one after the other."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(sent_at_once)
            for byte in then:
                if over.wait(0.05):
                    return
                connection.sendall(bytes([byte]))

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=answer, args=[connection], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield "http://{}:{}".format(*listener.getsockname())
    finally:
        over.set()
        listener.close()


@pytest.mark.parametrize("head, body", [(HEAD, bytes(1000)), (b"", HEAD)], ids=["body", "head"])
@pytest.mark.parametrize("scheme", ["http", "s3"])
def test_a_server_that_dribbles_costs_no_more_than_the_deadline(monkeypatch, scheme, head, body):
    with dribbling(head, body) as url:
        if scheme == "s3":
            for name, value in (
                ("ENDPOINT_URL", url), ("ACCESS_KEY_ID", "x"), ("SECRET_ACCESS_KEY", "y")
            ):  # fmt: skip
                monkeypatch.setenv(f"AWS_{name}", value)
            forget_clients()
            url = "s3://bucket"
        began = time.monotonic()
        with pytest.raises(StorageError, match=r"a\.png: not fetched within 1 s") as e:
            storage.read_bytes(f"{url}/a.png", 2**20, policy=FetchPolicy(timeout=1))
        assert e.value.kind == "timeout" and time.monotonic() - began < 15
    forget_clients()


def test_a_download_that_falls_below_the_least_rate_is_given_up(monkeypatch):
    monkeypatch.setattr(remote, "_START_SECONDS", 0.3)
    monkeypatch.setenv("DIFFPIR_RETRY_SECONDS", "0")
    slow = pytest.raises(StorageError, match=r"too slow: [0-9]+ bytes in")
    with dribbling(HEAD, bytes(1000)) as url, slow:
        storage.read_bytes(f"{url}/a.png", 2**20)


def test_a_disk_that_hangs_costs_no_more_than_the_deadline(tmp_path, monkeypatch):
    file = tmp_path / "a.png"
    file.write_bytes(b"content")
    assert storage.read_bytes(str(file), policy=FetchPolicy(timeout=60)) == b"content"
    released = threading.Event()
    monkeypatch.setattr(reading, "read_local", lambda *_: released.wait(20))
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"not fetched within 0\.5 s") as e:
        storage.read_bytes(str(file), policy=FetchPolicy(timeout=0.5))
    assert e.value.kind == "timeout" and time.monotonic() - began < 15
    released.set()
