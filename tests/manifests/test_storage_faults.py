"""Storage that fails: on a real S3 server, through a proxy that breaks what it forwards."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import fsspec
import pytest

from manifests import storage
from manifests.build import build
from manifests.errors import StorageError
from manifests.read import read_manifest
from tests.faults import KINDS, FaultyProxy
from tests.s3 import SCRIPT, forget_clients, free_port

ALL = dict.fromkeys(KINDS, 0.05)
MB = 1 << 20


@contextlib.contextmanager
def through(proxy: FaultyProxy) -> Iterator[FaultyProxy]:
    """The proxy running, and the environment's S3 server that behind it."""
    with pytest.MonkeyPatch.context() as patch, proxy:
        patch.setenv("AWS_ENDPOINT_URL", proxy.url)
        forget_clients()
        yield proxy
    forget_clients()


def faulty(rates: dict[str, float], **options) -> FaultyProxy:
    return FaultyProxy(os.environ["AWS_ENDPOINT_URL"], rates, **options)


def contents(count: int, seed: int) -> dict[str, bytes]:
    """Files of no bytes, of a few, and of several megabytes."""
    chance = random.Random(seed)
    sizes = (chance.choice([0, 1, 1000, 100_000, 100_000, 3 * MB]) for _ in range(count))
    return {f"{k:03}.bin": chance.randbytes(size) for k, size in enumerate(sizes)}


def test_all_operations_survive_all_faults(s3_prefix):
    data = contents(60, seed=1)

    def live(name: str) -> None:
        uri = storage.join(s3_prefix, name)
        assert not storage.exists(uri)
        storage.write_bytes(uri, b"something else")
        storage.write_bytes(uri, data[name])
        assert storage.read_bytes(uri, limit=3 * MB) == data[name]
        assert storage.read_tail(uri, 100) == data[name][-100:]
        assert storage.exists(uri)
        assert abs(storage.modified(uri) - time.time()) < 600

    with through(faulty(ALL, stall_seconds=0.3)) as proxy:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(live, data))
        assert storage.list_names(s3_prefix) == sorted(data)
        for name in list(data)[::2]:
            storage.remove(storage.join(s3_prefix, name))
        assert storage.list_names(s3_prefix) == sorted(data)[1::2]
        counts = dict(proxy.counts)
    assert min(counts.values()) > 0, counts  # how many of each depends on the threads too
    # Nothing wrong lies behind the proxy either.
    for name in list(data)[1::2]:
        assert storage.read_bytes(storage.join(s3_prefix, name)) == data[name]


def test_one_of_many_creates_whatever_fails(s3_prefix):
    rates = {**ALL, "lost_reply": 0.15}
    with through(faulty(rates, seed=2, stall_seconds=0.3)) as proxy:
        for round_ in range(20):
            uri = storage.join(s3_prefix, f"part-{round_}")
            gate = threading.Barrier(4)

            def create(k: int, uri=uri, gate=gate) -> bool:
                gate.wait()
                return storage.create_exclusive(uri, b"%d" % k * 10_000)

            with ThreadPoolExecutor(4) as pool:
                won = list(pool.map(create, range(4)))
            assert won.count(True) == 1
            assert storage.read_bytes(uri) == b"%d" % won.index(True) * 10_000
        counts = dict(proxy.counts)
    assert counts["lost_reply"] > 10, counts


def test_a_lost_reply_does_not_lose_the_creation(s3_prefix):
    uri = storage.join(s3_prefix, "part")
    with through(faulty({"lost_reply": 1.0})) as proxy:

        def end_after_two() -> None:
            end = time.monotonic() + 60
            while proxy.counts["lost_reply"] < 2 and time.monotonic() < end:
                time.sleep(0.01)
            proxy.rates.clear()

        with ThreadPoolExecutor(1) as pool:
            ending = pool.submit(end_after_two)
            assert storage.create_exclusive(uri, b"mine")
            ending.result()
        assert proxy.counts["lost_reply"] >= 2
        assert not storage.create_exclusive(uri, b"mine")


def test_a_large_file_is_created_in_one_request(s3_prefix):
    uri = storage.join(s3_prefix, "part")
    data = random.Random(0).randbytes(MB) * 150
    with through(faulty({})) as proxy:
        assert storage.create_exclusive(uri, data)
        assert proxy.counts["passed"] == 1
        assert not storage.create_exclusive(uri, data)
    assert storage.read_bytes(uri) == data
    storage.remove(uri)


def test_a_long_listing_survives(s3_prefix):
    """Several pages, each of which may fail; hidden names and folders are left out."""
    names = [f"{k:05}" for k in range(1100)]
    fs, path = storage.filesystem(s3_prefix)
    fs.pipe({f"{path}/{name}": b"" for name in [*names, ".hidden", "folder/x"]})
    with through(faulty({"slow_down": 0.1, "reset": 0.1, "truncate": 0.2})) as proxy:
        for _ in range(4):
            assert storage.list_names(s3_prefix) == names
        assert proxy.counts["truncate"] > 0
        assert proxy.counts["passed"] == 8


def test_a_checkpoint_is_fetched_whole(s3_prefix, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPIR_CACHE", str(tmp_path))
    uri = storage.join(s3_prefix, "model.safetensors")
    data = random.Random(0).randbytes(5 * MB)
    storage.write_bytes(uri, data)
    with through(faulty({"truncate": 0.5}, seed=1)) as proxy:
        for file in (storage.cached_local(uri) for _ in range(4)):
            assert file.read_bytes() == data
            file.unlink()
        assert proxy.counts["truncate"] > 0
    assert os.listdir(tmp_path) == []


def test_a_server_that_does_not_answer_is_not_waited_for_long(s3_prefix, monkeypatch):
    """The client ends what stands still, and the whole ends when the time for retries is up."""
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 1}})
    monkeypatch.setenv("DIFFPIR_RETRY_SECONDS", "2")
    start = time.monotonic()
    with through(faulty({"stall": 1.0}, stall_seconds=60)) as proxy:
        with pytest.raises(StorageError, match=r"timeout.* \(tried again for \d+ s\)$"):
            storage.read_bytes(storage.join(s3_prefix, "x"))
        assert proxy.counts["stall"] > 1
    assert 2 <= time.monotonic() - start < 40


@pytest.mark.parametrize(
    "action",
    [
        storage.read_bytes,
        storage.exists,
        storage.list_names,
        storage.modified,
        storage.remove,
        storage.kind_of,
        read_manifest,
        build,
        lambda uri: storage.read_tail(uri, 8),
        lambda uri: storage.write_bytes(uri, b"x"),
        lambda uri: storage.create_exclusive(uri, b"x"),
    ],
)
def test_trying_again_has_an_end(s3_prefix, monkeypatch, action):
    monkeypatch.setenv("DIFFPIR_RETRY_SECONDS", "0.5")
    uri = storage.join(s3_prefix, "x")
    with through(faulty({"slow_down": 1.0})) as proxy:
        start = time.monotonic()
        with pytest.raises(StorageError) as caught:
            action(uri)
        assert 0.5 <= time.monotonic() - start < 30
        assert proxy.counts["slow_down"] > 1
    assert caught.value.kind == "storage"
    assert uri in str(caught.value)
    assert "503" in str(caught.value) or "SlowDown" in str(caught.value)
    assert re.search(r" \(tried again for \d+ s\)$", str(caught.value))


@pytest.mark.parametrize("scheme", ["s3://bucket", "http://127.0.0.1:{port}"])
def test_where_nothing_listens(monkeypatch, scheme):
    port = free_port()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "no-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("DIFFPIR_RETRY_SECONDS", "0.5")
    forget_clients()
    start = time.monotonic()
    for read in (storage.read_bytes, read_manifest, build):
        with pytest.raises(StorageError, match=r"onnect.* \(tried again for \d+ s\)$"):
            read(f"{scheme.format(port=port)}/x.csv")
    assert 0.5 <= time.monotonic() - start < 30
    forget_clients()


def test_what_cannot_pass_fails_at_once(s3_prefix, monkeypatch):
    start = time.monotonic()
    missing = {storage.join(s3_prefix, "none"): "file", "s3://no-such-bucket-here/x": "bucket"}
    for uri, what in missing.items():
        with pytest.raises(StorageError, match=f"^no such {what}: {uri}$") as caught:
            storage.read_bytes(uri)
        assert caught.value.kind == "not_found"
    with pytest.raises(StorageError, match=r"^no such file"):
        storage.modified(storage.join(s3_prefix, "none"))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    forget_clients()
    with pytest.raises(StorageError) as caught:
        storage.write_bytes(storage.join(s3_prefix, "x"), b"x")
    assert caught.value.kind == "access_denied"
    monkeypatch.undo()
    forget_clients()
    assert time.monotonic() - start < 15


@pytest.mark.parametrize("text", ["soon", "-1", "nan", "inf"])
def test_a_time_that_is_none(monkeypatch, tmp_path, text):
    monkeypatch.setenv("DIFFPIR_RETRY_SECONDS", text)
    with pytest.raises(StorageError, match=f"DIFFPIR_RETRY_SECONDS is no number.*'{text}'"):
        storage.exists(str(tmp_path))


def test_a_server_that_is_killed_and_comes_back(s3_prefix, tmp_path_factory):
    """No operation notices that the gateway is killed and is away for seconds."""
    server = next(tmp_path_factory.getbasetemp().glob("s3[0-9]*/ceph.conf")).parent
    under_way = threading.Barrier(4)

    def work(worker: int) -> None:
        folder = storage.join(s3_prefix, str(worker))
        uris = [storage.join(folder, f"{k:02}") for k in range(40)]
        for k, uri in enumerate(uris):
            if k == 10:
                under_way.wait()
            data = random.Random(uri).randbytes(50_000)
            assert storage.create_exclusive(uri, data)
            assert not storage.create_exclusive(uri, b"late")
            assert storage.read_bytes(uri) == data
        assert len(storage.list_names(folder)) == len(uris)

    with ThreadPoolExecutor(3) as pool:
        workers = [pool.submit(work, k) for k in range(3)]
        under_way.wait(60)
        subprocess.run([SCRIPT, "restart-gateway", server, "2"], check=True)
        assert not any(worker.done() for worker in workers)
        for worker in workers:
            worker.result()
