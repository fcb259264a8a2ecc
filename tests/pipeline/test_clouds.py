"""Jobs whose pictures lie in Google's and Azure's storage, by emulators of both."""

from __future__ import annotations

import io
import os

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from jobs.cli import app
from manifests import storage
from manifests.errors import StorageError
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from tests.clouds import KEY
from tests.faults import FaultyProxy
from tests.local_ray import have_ray
from tests.pictures import decoded, photograph
from tests.web import WebServer

# What aiohttp says of gcsfs's uploads; without pytest nobody sees it.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

NAMES = ("astronaut", "coffee", "rocket")


@pytest.fixture(scope="module")
def cloud(request, gs, ray_ends):
    """The URI of a bucket that pictures are read from. Ray's workers inherit its environment."""
    uri = request.getfixturevalue(request.param)
    have_ray()
    return uri


def diffpir(*arguments: object) -> str:
    result = CliRunner().invoke(app, list(map(str, arguments)))
    assert result.exit_code == 0, result.output
    return result.output


def png(name: str) -> bytes:
    buffer = io.BytesIO()
    photograph(32, 24, name).save(buffer, "PNG")
    return buffer.getvalue()


def job(manifest: str, output: str, model: str, **given: object) -> JobSpec:
    usual = {
        "manifest": manifest, "output": output, "model": model, "sampler": {"nfe": 2},
        "task": {"kind": "denoise", "noise_level": 0.1}, "actors": 1, "shard_rows": 2,
    }  # fmt: skip
    return JobSpec.model_validate(usual | given)


@pytest.mark.parametrize("cloud", ["az", "gs"], indirect=True)  # so Ray starts once
def test_from_a_bucket_to_googles(cloud, gs_prefix, tiny_model, tmp_path):
    """Loose files, then Parquet with pictures inside; model, results and pictures in buckets."""
    source, model = f"{cloud}/in", f"{cloud}/tiny.safetensors"
    for name in NAMES:
        storage.write_bytes(f"{source}/deep er/{name} %41#.png", png(name))
    storage.write_bytes(f"{source}/broken.png", b"no picture")
    with open(tiny_model, "rb") as file:
        storage.write_bytes(model, file.read())
    diffpir("manifest", "build", source, "-o", f"{cloud}/m.parquet")
    loose = job(f"{cloud}/m.parquet", f"{gs_prefix}/1", model, images=f"{gs_prefix}/images")
    summary = run_job(loose)
    assert (summary.ok, summary.failed) == (len(NAMES), 1)

    # Two of the three row groups are larger than what a reader fetches of a file's end.
    rows = [{"id": name, "image": {"bytes": png(name), "path": None}} for name in NAMES]
    rows = [row | {"filler": bytes(i << 16)} for i, row in enumerate(reversed(rows))]
    sink = io.BytesIO()
    options = {"row_group_size": 1, "compression": "none", "use_dictionary": False}
    pq.write_table(pa.Table.from_pylist(rows), sink, **options)
    storage.write_bytes(f"{cloud}/d.parquet", sink.getvalue())
    assert run_job(job(f"{cloud}/d.parquet", f"{gs_prefix}/2", model)).ok == len(NAMES)

    for output in (1, 2):
        diffpir("verify", f"{gs_prefix}/{output}")
        assert "nfe" in diffpir("metrics", f"{gs_prefix}/{output}", "--by", "sampler.nfe")
    storage.remove(f"{gs_prefix}/1/results/{storage.list_names(f'{gs_prefix}/1/results')[0]}")
    assert run_job(loose).ok == len(NAMES)  # it restores what is missing
    diffpir("export", f"{gs_prefix}/1", f"{gs_prefix}/d", "--with-measured")
    (file,) = storage.list_names(f"{gs_prefix}/d/data")
    table = pq.read_table(io.BytesIO(storage.read_bytes(f"{gs_prefix}/d/data/{file}")))
    for row in table.to_pylist():
        if row["id"] == "broken":
            continue
        assert row["measured"]["bytes"] == png(row["id"].removeprefix("deep er/").split()[0])
        picture = storage.read_bytes(f"{gs_prefix}/images/{row['restored']['path']}")
        assert picture == row["restored"]["bytes"] and decoded(picture).shape[:2] == (24, 32)


@pytest.mark.parametrize("bucket", ["gs", "az"])
def test_reading_in_parts_and_what_is_missing(bucket, request):
    uri = f"{request.getfixturevalue(bucket)}/parts.bin"
    storage.write_bytes(uri, bytes(range(100)))
    assert storage.read_range(uri, 90, 20) == bytes(range(90, 100))
    assert storage.read_range(uri, 200, 20) == b""
    assert storage.read_tail(uri, 3) == bytes((97, 98, 99))
    mark = storage.mark_of(uri)
    storage.write_bytes(uri, bytes(100))
    assert mark is not None and storage.mark_of(uri) != mark
    storage.write_bytes(uri, b"")
    assert storage.read_tail(uri, 3) == b""
    storage.remove(uri)
    storage.remove(uri)  # no complaint
    for read in (storage.read_bytes, storage.size_of, lambda uri: storage.read_range(uri, 0, 9)):
        with pytest.raises(StorageError, match=rf"^no such file: {uri}$"):
            read(uri)


def test_a_large_file_is_created_by_one_of_two(gs_prefix):
    """Larger than what gcsfs sends in one request: of parts, both would succeed."""
    large = bytes(51 << 20)
    assert storage.create_exclusive(f"{gs_prefix}/a", large)
    assert not storage.create_exclusive(f"{gs_prefix}/a", large)


def test_a_lost_reply_does_not_change_who_created_a_file(gs, gs_prefix, monkeypatch):
    kind = fsspec.get_filesystem_class("gs")
    with FaultyProxy(kind().base.partition("/storage/")[0], {"lost_reply": 0.4}, seed=1) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        kind.clear_instance_cache()
        assert all(storage.create_exclusive(f"{gs_prefix}/{i}", b"ours") for i in range(3))
        assert not storage.create_exclusive(f"{gs_prefix}/0", b"another's")
        assert proxy.counts["lost_reply"] >= 2
    kind.clear_instance_cache()


def refused(uri: str, match: str) -> None:
    fsspec.get_filesystem_class(uri.partition(":")[0]).clear_instance_cache()
    for read in (storage.read_bytes, storage.exists, storage.list_names, storage.size_of):
        with pytest.raises(StorageError, match=match) as caught:
            read(uri)
        assert caught.value.kind == "access_denied"


def test_no_access_to_googles_is_said_in_words(gs, monkeypatch, capfd):
    with WebServer() as web:
        for status in (401, 403):
            monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"{web.url}/status/{status}")
            refused("gs://b/x", "^access denied: gs://b/x$")
    fsspec.get_filesystem_class("gs").clear_instance_cache()
    assert "Traceback" not in "".join(capfd.readouterr())


def test_no_access_to_azures_is_said_in_words(az, monkeypatch):
    account = "AZURE_STORAGE_CONNECTION_STRING"
    monkeypatch.setenv(account, os.environ[account].replace(KEY, f"{'A' * 86}=="))
    refused(f"{az}/x", f"^access denied: {az}/x$")
    monkeypatch.delenv(account)
    refused(f"{az}/x", f"^access denied: {az}/x: no storage account is known: set {account}, or ")
    fsspec.get_filesystem_class("az").clear_instance_cache()
