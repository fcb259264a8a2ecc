"""The whole flow on a real S3 server that answers badly: at 5 % each, every fault of the proxy."""

from __future__ import annotations

import os

import pyarrow.dataset as ds
import pytest

from jobs.verify import verify_output
from manifests import storage
from manifests.build import build, write_manifest
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from tests.faults import KINDS, FaultyProxy
from tests.local_ray import have_ray
from tests.pictures import photograph
from tests.s3 import forget_clients

IMAGES = 12


@pytest.fixture(scope="module")
def bad_s3(s3, ray_ends):
    """The server's faulty proxy, and a Ray whose workers know no other way to the server."""
    good = os.environ["AWS_ENDPOINT_URL"]
    rates = dict.fromkeys(KINDS, 0.05)
    with pytest.MonkeyPatch.context() as patch, FaultyProxy(good, rates, stall_seconds=3) as proxy:
        patch.setenv("AWS_ENDPOINT_URL", proxy.url)
        patch.setenv("DIFFPIR_RETRY_SECONDS", "120")
        forget_clients()
        have_ray()
        yield proxy
    forget_clients()


def test_a_job_on_a_storage_full_of_faults_loses_nothing(bad_s3, s3_prefix, tiny_model, tmp_path):
    for i in range(IMAGES):
        photograph(32, 24, ("astronaut", "chelsea", "coffee")[i % 3]).save(tmp_path / f"{i}.png")
        storage.write_bytes(f"{s3_prefix}/in/{i}.png", (tmp_path / f"{i}.png").read_bytes())
    table = build(f"{s3_prefix}/in")
    assert len(table) == IMAGES
    write_manifest(table, f"{s3_prefix}/m.parquet")
    spec = JobSpec.model_validate(
        {
            "manifest": f"{s3_prefix}/m.parquet",
            "output": f"{s3_prefix}/out",
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": tiny_model,
            "sampler": {"nfe": 2},
            "actors": 1,
            "shard_rows": 1,
        }
    )
    summary = run_job(spec)
    assert (summary.rows, summary.ok, summary.failures) == (IMAGES, IMAGES, {})
    injected = sum(bad_s3.counts[kind] for kind in KINDS)
    assert injected >= 5, bad_s3.counts
    assert verify_output(f"{s3_prefix}/out")[0] == []
    fs, path = storage.filesystem(f"{s3_prefix}/out/results")
    bad_s3.rates.clear()
    ids = ds.dataset(path, filesystem=fs, format="parquet").to_table(["id"])["id"].to_pylist()
    assert sorted(ids) == sorted(table["id"].to_pylist())
