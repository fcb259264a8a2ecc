"""Hosts that failed for several files in a row."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from manifests import storage
from manifests.errors import StorageError
from manifests.storage import FetchPolicy, dead_hosts
from manifests.storage.dead_hosts import FAILURES, PAUSE_SECONDS, DeadHosts
from tests.web import CONTENT, WebServer


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def hosts(clock) -> DeadHosts:
    return DeadHosts(clock)


def ask(hosts: DeadHosts, uri: str, error: StorageError | None = None) -> str | None:
    """The kind of what a file fails with, which raises ``error`` if its host is asked at all."""
    try:
        with hosts.asking(uri):
            if error:
                raise error
    except StorageError as e:
        return e.kind
    return None


DEAD = StorageError("no answer", host_failed=True)
MISSING = StorageError("no such file", "not_found")


def test_a_host_is_taken_for_dead_and_asked_again_by_one_file(hosts, clock):
    for k in range(FAILURES):
        assert ask(hosts, f"http://h/{k}", DEAD) == "storage"
    clock.now += 12.5
    with pytest.raises(StorageError) as caught, hosts.asking("http://me:pw@h:80/a.png?sig=x"):
        pytest.fail("it is not asked")
    assert str(caught.value) == (
        "http://h:80/a.png: http://h failed to deliver the last 3 files; it is not asked again "
        "for another 48 s"
    )
    assert ask(hosts, "https://h/a") is None and ask(hosts, "http://h:81/a") is None
    assert ask(hosts, "s3://h/a") is None
    clock.now += PAUSE_SECONDS
    with pytest.raises(StorageError, match="no answer"), hosts.asking("http://h/a"):
        assert ask(hosts, "http://h/b") == "host_down"  # the others wait for what it finds
        raise DEAD
    assert ask(hosts, "http://h/b") == "host_down"
    clock.now += PAUSE_SECONDS
    with hosts.asking("http://h/a"):
        assert ask(hosts, "http://h/b") == "host_down"
    assert [ask(hosts, "http://h/b", DEAD) for _ in range(2)] == ["storage"] * 2
    assert ask(hosts, "http://h/b") is None


@pytest.mark.parametrize("answer", [None, MISSING])
def test_an_answer_of_any_kind_shows_that_a_host_is_alive(hosts, answer):
    for _ in range(5):
        assert [ask(hosts, "http://h/a", DEAD) for _ in range(FAILURES - 1)] == ["storage"] * 2
        assert ask(hosts, "http://h/a", answer) == (answer and answer.kind)


def test_hosts_are_not_remembered_without_end(hosts, monkeypatch):
    monkeypatch.setattr(dead_hosts, "_MOST_HOSTS", 10)
    for k in range(100):
        for _ in range(FAILURES):
            ask(hosts, f"http://h{k}/a", DEAD)
    kinds = [ask(hosts, f"http://h{k}/a") for k in range(100)]
    assert kinds == [None] * 90 + ["host_down"] * 10


def test_threads_count_together(hosts):
    gate = threading.Barrier(16)

    def fail(_: int) -> None:
        with hosts.asking("http://h/a"):
            gate.wait()
            raise DEAD

    with ThreadPoolExecutor(16) as pool:
        done = [pool.submit(fail, k) for k in range(16)]
        assert {str(one.exception()) for one in done} == {"no answer"}
    with pytest.raises(StorageError, match="the last 16 files"), hosts.asking("http://h/a"):
        pass


def test_a_host_that_comes_back(monkeypatch, clock):
    monkeypatch.setattr(dead_hosts.DEAD_HOSTS, "_clock", clock)
    policy = FetchPolicy(retries=0, guarded=True, allowed_hosts=("127.0.0.1",))

    def read(path: str) -> str:
        try:
            assert storage.read_bytes(f"{web.url}{path}", policy=policy) == CONTENT
        except StorageError as e:
            return e.kind
        return "read"

    with WebServer() as web:
        assert [read("/status/404") for _ in range(5)] == ["not_found"] * 5
        assert [read("/status/429") for _ in range(5)] == ["storage"] * 5
        assert [read("/status/503") for _ in range(5)] == ["storage"] * 3 + ["host_down"] * 2
        assert web.asked["/status/503"] == 3 and read("/ok") == "host_down"
        assert storage.read_bytes(f"{web.url}/ok") == CONTENT  # of the job itself: not guarded
        clock.now += PAUSE_SECONDS
        assert [read("/ok") for _ in range(2)] == ["read"] * 2
        assert [read("/status/503") for _ in range(2)] == ["storage"] * 2
        assert read("/ok") == "read"
