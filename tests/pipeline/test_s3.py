"""The flow from S3 to S3, on a real server."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from jobs.aggregate import metrics_of
from manifests import storage
from manifests.build import build, write_manifest
from manifests.check import check
from manifests.sources.base import Batch
from pipeline.errors import PipelineError
from pipeline.fence.decoders import file_fault
from pipeline.output.fresh import begin_anew, check_unclaimed
from pipeline.output.layout import Layout
from pipeline.output.plan import read_shard, shards_in, shards_of, write_plan
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from tests.faults import FaultyProxy
from tests.pictures import decoded, photograph, save_broken
from tests.s3 import forget_clients


@pytest.fixture(scope="module")
def cluster(s3, ray_cluster):
    """Ray after the S3 server: its workers inherit the environment that names the server."""


def test_a_job_lives_wholly_in_a_bucket(cluster, s3_prefix, tiny_model, tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPIR_CACHE", str(tmp_path / "cache"))
    for i, name in enumerate(("astronaut", "coffee", "rocket")):
        photograph(32, 24 + 8 * i, name).save(tmp_path / f"{name}.png")
        data = (tmp_path / f"{name}.png").read_bytes()
        storage.write_bytes(f"{s3_prefix}/in/deep er/{name} %41#.png", data)
    broken = save_broken(tmp_path / "broken")["truncated.png"].read_bytes()
    storage.write_bytes(f"{s3_prefix}/in/broken.png", broken)
    with open(tiny_model, "rb") as f:
        storage.write_bytes(f"{s3_prefix}/models/tiny.safetensors", f.read())

    manifest = f"{s3_prefix}/manifest.parquet"
    write_manifest(build(f"{s3_prefix}/in"), manifest)
    assert [f.id for f in check(manifest, file_fault=file_fault)] == ["broken"]
    spec = JobSpec.model_validate(
        {
            "manifest": manifest,
            "output": f"{s3_prefix}/out",
            "images": f"{s3_prefix}/png",
            "mode": "benchmark",
            "task": {"kind": "inpaint", "mask": {"random": 0.4}},
            "model": f"{s3_prefix}/models/tiny.safetensors",
            "sampler": {"nfe": 3},
            "actors": 1,
            "shard_rows": 1,
        }
    )
    summary = run_job(spec)
    assert (summary.ok, summary.failed) == (3, 1)
    assert json.loads(storage.read_bytes(f"{s3_prefix}/out/summary.json"))["rows"] == 4
    fs, path = storage.filesystem(f"{s3_prefix}/out/results")
    table = ds.dataset(path, filesystem=fs, format="parquet").to_table().sort_by("id")
    names = ["broken", *(f"deep er/{n} %41#" for n in ("astronaut", "coffee", "rocket"))]
    assert table["id"].to_pylist() == names
    for row in table.to_pylist()[1:]:
        png = storage.read_bytes(f"{s3_prefix}/png/{row['restored']['path']}")
        assert png == row["restored"]["bytes"] and decoded(png).shape[1] == 32
    assert "cannot be decoded" in table["error"][0].as_py()

    # A part that was never created is made by the next run.
    first = storage.list_names(f"{s3_prefix}/out/results")[0]
    storage.remove(f"{s3_prefix}/out/results/{first}")
    again = run_job(spec)
    assert (again.ok, again.failed) == (3, 1)
    assert len(storage.list_names(f"{s3_prefix}/out/results", ".parquet")) == 4
    record = next(r for r in metrics_of(f"{s3_prefix}/out", None))
    assert (record["rows"], record["failed"], record["metric"]) == (4, 1, "psnr")


def test_what_is_not_a_runs_stays_in_a_bucket(s3_prefix):
    layout = Layout(s3_prefix)
    kept = ["results/thesis.csv", "plan/plan.md", "drivers/nvidia.json"]
    made = ["results/000000000-000-0a.parquet", "plan/00000-0123456789ab.parquet", "run.json"]
    for name in (*kept, *made):
        storage.write_bytes(storage.join(s3_prefix, name), b"")
    storage.write_bytes(layout.run, b'{"id": "", "identity": {}, "plan": []}')
    begin_anew(layout, overwrite=True)
    assert not any(storage.exists(storage.join(s3_prefix, name)) for name in made)
    assert all(storage.exists(storage.join(s3_prefix, name)) for name in kept)
    check_unclaimed(layout)
    theirs = storage.join(s3_prefix, "results", "b.parquet", "c")  # as other tools write one
    storage.write_bytes(theirs, b"")
    for begin in (check_unclaimed, lambda layout: begin_anew(layout, overwrite=True)):
        with pytest.raises(PipelineError, match=f"{s3_prefix} holds results/b.parquet, but no"):
            begin(layout)
    assert storage.exists(theirs)


def test_no_such_bucket_is_said_in_words(cluster, s3_prefix, tiny_model):
    spec = JobSpec.model_validate(
        {
            "manifest": "s3://no-such-bucket-here/m.parquet",
            "output": f"{s3_prefix}/out",
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": tiny_model,
        }
    )
    with pytest.raises(PipelineError, match=r"manifest: .*s3://no-such-bucket-here/m\.parquet"):
        run_job(spec)


def test_reading_a_shard_of_a_large_plan_fetches_little_more_than_the_shard(s3_prefix):
    rows = 40_000
    noise = np.random.default_rng(0).bytes(100 * rows)
    table = pa.table(
        {
            "id": [f"photographs/{i:09d}" for i in range(rows)],
            "image": [f"s3://bucket/photographs/{i:09d}.jpg" for i in range(rows)],
            "note": pa.array(noise[100 * i :][:100] for i in range(rows)),
        }
    )
    layout = Layout(s3_prefix)
    shards = list(shards_of(write_plan(shards_in([Batch(table)], 256), layout)))
    server = os.environ["AWS_ENDPOINT_URL"]
    try:
        with pytest.MonkeyPatch.context() as patch, FaultyProxy(server, rates={}) as proxy:
            patch.setenv("AWS_ENDPOINT_URL", proxy.url)
            forget_clients()
            read = read_shard(shards[100], layout)
            fetched = proxy.bytes_sent
            whole = len(storage.read_bytes(layout.plan(shards[100].file)))
    finally:
        forget_clients()  # or every later test would ask a proxy that is gone
    assert read.equals(table.slice(100 * 256, 256))
    print(f"{fetched} bytes fetched of a plan file of {whole}")
    assert whole > 3_000_000 and 0 < fetched < 120_000
