"""How the files of rows are fetched: a job's settings, and rows of servers that fail."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from jobs.restore import restore_job
from manifests.storage import FetchPolicy, retries
from manifests.storage.dead_hosts import DEAD_HOSTS
from pipeline.errors import ERROR_KINDS
from pipeline.spec.fetch import Fetch
from pipeline.spec.job import JobSpec
from pipeline.steps.load import FETCH_THREADS, Load
from pipeline.steps.table import errors_of
from tests import web as tests_web
from tests.pictures import photograph
from tests.web import WebServer, dead_port


@pytest.fixture(autouse=True)
def short_pauses_and_no_time(monkeypatch):
    monkeypatch.setattr(retries, "_FIRST_PAUSE_OF_FEW", 0.01)
    monkeypatch.setattr(DEAD_HOSTS, "_clock", lambda: 0.0)


@pytest.fixture
def web(monkeypatch):
    picture = io.BytesIO()
    photograph(16, 16).save(picture, "png")
    monkeypatch.setattr(tests_web, "CONTENT", picture.getvalue())
    with WebServer() as web:
        yield web


def job(**settings) -> JobSpec:
    task = {"kind": "denoise", "noise_level": 0.1}
    schemes = {"allowed_schemes": ["http", "file"]}
    return JobSpec.model_validate(
        {"manifest": "/m.csv", "output": "/out", "task": task, **schemes, **settings}
    )


def load(spec: JobSpec, *images: str) -> list[tuple[str, str]]:
    """Error and error kind of rows with these images."""
    rows = pa.array([{"id": str(i), "image": image} for i, image in enumerate(images)])
    none = pa.repeat("", len(images))
    table = pa.table({"row": rows, "error": none, "error_kind": none})
    return errors_of(Load.of(spec, "/", ("image",), beside=False, channels=3)(table))


def test_limits_depend_on_the_storage_unless_the_job_says_them():
    rows = {"guarded": True, "allowed_hosts": ("h",)}
    web = FetchPolicy(timeout=60, retries=3, retry_seconds=20, **rows)
    other = FetchPolicy(timeout=300, **rows)
    policies = {
        scheme: Fetch().policy(scheme, ("h",)) for scheme in ("http", "https", "s3", "file")
    }
    assert policies == {"http": web, "https": web, "s3": other, "file": other}
    asked = Fetch(timeout=5, retries=0, retry_seconds=0)
    said = FetchPolicy(timeout=5, retries=0, retry_seconds=0, **rows)
    assert asked.policy("http", ("h",)) == asked.policy("s3", ("h",)) == said


def test_rows_of_a_dead_host_do_not_each_wait_for_it(web):
    """After three files that were tried in vain, only files under way go on."""
    spec = job(allowed_hosts=["127.0.0.1"])
    found = load(spec, *(f"{web.url}/status/503?{k}" for k in range(100)))
    kinds = Counter(kind for _, kind in found)
    assert kinds.keys() == {"storage", "host_down"} and kinds["storage"] <= FETCH_THREADS + 3
    assert web.asked["/status/503"] <= (FETCH_THREADS + 3) * 4
    words = {error.partition("/status/503: ")[2] for error, kind in found if kind == "host_down"}
    assert all(f"{web.url} failed to deliver the last" in text for text in words)
    # Neither do later rows of the process; other hosts are asked as before.
    asked = web.asked["/status/503"]
    with WebServer() as other:
        errors = load(spec, f"{web.url}/ok", f"{other.url}/ok")
    assert [kind for _, kind in errors] == ["host_down", ""] and web.asked["/ok"] == 0
    assert web.asked["/status/503"] == asked


def test_rows_of_a_port_where_nothing_listens():
    with dead_port() as port:
        found = load(
            job(allowed_hosts=["localhost"], fetch={"retries": 0}),
            *(f"http://localhost:{port}/{k}.png" for k in range(100)),
        )
    kinds = Counter(kind for _, kind in found)
    assert kinds.keys() == {"storage", "host_down"} and kinds["storage"] <= FETCH_THREADS + 3


def test_rows_are_fetched_from_public_hosts_and_those_that_the_job_allows(web):
    uris = [f"{web.url}/ok", f"http://localhost:{web.server_port}/ok"]
    for error, kind in load(job(), *uris):
        assert kind == "host_not_allowed" and "allowed_hosts (none)" in error
    assert not web.asked
    assert load(job(allowed_hosts=["127.0.0.0/8"]), *uris) == [("", "")] * 2
    assert [kind for _, kind in load(job(allowed_hosts=["localhost"]), *uris)] == [
        "host_not_allowed", ""
    ]  # fmt: skip


def test_errors_of_web_servers_have_kinds(web):
    uris = ["/status/404", "/status/403", "/status/400", "/to?file:///etc/hostname", "/loop"]
    found = load(job(allowed_hosts=["127.0.0.1"]), *(web.url + uri for uri in uris))
    kinds = [kind for _, kind in found]
    assert kinds == ["not_found", "access_denied", "refused", "bad_redirect", "bad_redirect"]
    own = {"host_not_allowed", "unknown_host", "host_down", "tls", *kinds}
    assert own <= ERROR_KINDS.keys()
    (error, kind) = load(
        job(allowed_hosts=["127.0.0.1"], fetch={"timeout": 0.5}), f"{web.url}/silent"
    )[0]
    assert kind == "timeout" and error.endswith("/silent: not fetched within 0.5 s")


def test_the_source_of_restore_is_the_users_own_word(web, tmp_path: Path):
    task = {"kind": "denoise", "noise_level": 0.1}
    local = tmp_path / "local.png"
    photograph(16, 16).save(local)
    uris = [f"{web.url}/ok?{k}" for k in range(2)] + ["http://127.1/a.png", str(local)]
    (tmp_path / "list.txt").write_text("\n".join(uris))
    spec = restore_job([str(tmp_path / "list.txt")], str(tmp_path / "out"), images=None, task=task)
    assert spec.allowed_schemes == ("file", "http") and spec.allowed_hosts == ("127.0.0.1",)
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec
    assert load(spec, *uris[:2]) == [("", "")] * 2
    # What a manifest names is not.
    (tmp_path / "m.csv").write_text(f"id,image\na,{uris[0]}\n")
    spec = restore_job([str(tmp_path / "m.csv")], str(tmp_path / "out"), images=None, task=task)
    assert spec.allowed_hosts == ()
