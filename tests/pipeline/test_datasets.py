"""Datasets as people keep them, through whole jobs: Parquet with pictures inside, WebDataset, and
the results of another job."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import webdataset
from typer.testing import CliRunner

import pipeline.run
from jobs.cli import app
from jobs.verify import verify_output
from manifests import storage
from pipeline.errors import JobStopped, PipelineError
from pipeline.output.layout import Layout
from pipeline.output.run_folder import RunFolder
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from tests.pictures import photograph

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
ROWS = 7


@pytest.fixture(scope="module")
def cluster(s3, ray_cluster):
    """Ray after the S3 server: its workers inherit the environment that names the server."""


def png(number: int) -> bytes:
    buffer = io.BytesIO()
    photograph(32, 24, NAMES[number % 4]).rotate(number).save(buffer, "PNG")
    return buffer.getvalue()


def hugging_face(group: int = 3) -> bytes:
    rows = [{"image": {"bytes": png(i), "path": f"{i}.png"}, "label": i % 3} for i in range(ROWS)]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink, row_group_size=group)
    return sink.getvalue()


def job(manifest, output, model, **given) -> JobSpec:
    usual = {
        "manifest": str(manifest),
        "output": str(output),
        "task": {"kind": "denoise", "noise_level": 0.1},
        "model": model,
        "sampler": {"nfe": 2},
        "actors": 1,
        "shard_rows": 2,
    }
    return JobSpec.model_validate(usual | given)


def results(output) -> list[dict]:
    fs, path = storage.filesystem(f"{output}/results")
    table = ds.dataset(path, filesystem=fs, format="parquet").to_table()
    return table.sort_by("id").to_pylist()


def measured_in(output, dest) -> dict[str, dict]:
    """The measured pictures by their rows' ids, as an export has them."""
    result = CliRunner().invoke(app, ["export", output, str(dest), "--with-measured"])
    assert result.exit_code == 0, result.output
    table = pq.read_table(dest / "data")
    return dict(zip(table["id"].to_pylist(), table["measured"].to_pylist(), strict=True))


def test_parquet_with_pictures_from_bucket_to_bucket(cluster, s3_prefix, tiny_model, tmp_path):
    for part in range(2):
        storage.write_bytes(f"{s3_prefix}/data/train-{part:05d}-of-00002.parquet", hugging_face())
    notes = []
    spec = job(f"{s3_prefix}/data/train-*.parquet", f"{s3_prefix}/out", tiny_model)
    summary = run_job(spec, on_note=notes.append)
    assert summary.ok == 2 * ROWS and len(notes) == 1
    rows = results(f"{s3_prefix}/out")
    assert [row["label"] for row in rows] == [i % 3 for i in range(ROWS)] * 2
    assert rows[0]["id"] == "train-00000-of-00002/000000"
    # No shard has pictures of two row groups.
    assert [s.rows for s in RunFolder.open(f"{s3_prefix}/out").shards] == [2, 1, 2, 1, 1] * 2
    assert verify_output(f"{s3_prefix}/out")[0] == []
    # Nothing is left to do, and nothing is said twice; nor are the pictures read again.
    assert run_job(spec, on_note=notes.append).ok == 2 * ROWS and len(notes) == 1

    # What was measured is found in the row groups once more.
    measured = measured_in(f"{s3_prefix}/out", tmp_path / "d")
    assert list(measured) == [row["id"] for row in rows]
    assert [cell["bytes"] for cell in measured.values()] == [png(i) for i in range(ROWS)] * 2
    assert [cell["path"] for cell in measured.values()] == [f"{row['id']}.png" for row in rows]


def test_webdataset_from_bucket_to_bucket(cluster, s3_prefix, tiny_model, tmp_path):
    for part in range(2):
        sink = io.BytesIO()
        with webdataset.TarWriter(sink) as writer:
            for i in range(ROWS):
                sample = {"__key__": f"{i:06d}", "png": png(i), "json": {"label": i, "txt": "x"}}
                writer.write(sample)
        storage.write_bytes(f"{s3_prefix}/data/{part:03d}.tar", sink.getvalue())
    spec = job(f"{s3_prefix}/data/{{000..001}}.tar", f"{s3_prefix}/out", tiny_model)
    assert run_job(spec).ok == 2 * ROWS
    rows = results(f"{s3_prefix}/out")
    assert [row["label"] for row in rows] == [*range(ROWS)] * 2
    assert rows[0]["id"] == "000/000000" and rows[-1]["id"] == f"001/00000{ROWS - 1}"
    storage.remove(f"{s3_prefix}/data/000.tar")
    measured = measured_in(f"{s3_prefix}/out", tmp_path / "d")
    assert list(measured.values())[:ROWS] == [None] * ROWS
    assert [measured[f"001/{i:06d}"]["bytes"] for i in range(ROWS)] == [png(i) for i in range(ROWS)]


def test_results_are_what_the_same_pictures_give_as_files(ray_cluster, tmp_path, tiny_model):
    """Whatever the pictures lie in, their seeds hang on the ids alone."""
    (tmp_path / "loose").mkdir()
    table = {"id": [str(i) for i in range(ROWS)], "image": [png(i) for i in range(ROWS)]}
    for i in range(ROWS):
        (tmp_path / "loose" / f"{i}.png").write_bytes(png(i))
    pq.write_table(pa.table(table), tmp_path / "d.parquet")
    paths = {**table, "image": [f"loose/{i}.png" for i in range(ROWS)]}
    pq.write_table(pa.table(paths), tmp_path / "m.parquet")
    for name in ("d", "m"):
        assert run_job(job(tmp_path / f"{name}.parquet", tmp_path / name, tiny_model)).ok == ROWS
    inside, loose = results(tmp_path / "d"), results(tmp_path / "m")
    assert [row["restored"] for row in inside] == [row["restored"] for row in loose]


def test_a_job_restores_what_another_restored(ray_cluster, tmp_path, tiny_model):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "d.parquet").write_bytes(hugging_face())
    rows = pq.read_table(tmp_path / "in" / "d.parquet").to_pylist()
    rows[2]["image"] = {"bytes": b"no picture", "path": None}
    for i, row in enumerate(rows):
        row["id"] = f"r{i}"
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "in" / "d.parquet")
    first = job(tmp_path / "in", tmp_path / "first", tiny_model)
    assert run_job(first).failed == 1
    enlarge = {"kind": "sr", "factor": 2, "noise_level": 0.05}
    second = job(tmp_path / "first", tmp_path / "second", tiny_model, task=enlarge)
    assert run_job(second).ok == ROWS - 1
    made = results(tmp_path / "second")
    kept = [row for row in rows if row["id"] != "r2"]
    assert [(row["id"], row["label"]) for row in made] == [(r["id"], r["label"]) for r in kept]
    assert {(row["width"], row["height"]) for row in made} == {(64, 48)}
    assert run_job(second).ok == ROWS - 1  # resumed: nothing to do
    # By the command, too.
    done = CliRunner().invoke(
        app,
        ["restore", str(tmp_path / "first"), "-o", str(tmp_path / "third"), "--task", "denoise",
         "--noise", "0.1", "--nfe", "2", "--actors", "1", "--model", tiny_model],
    )  # fmt: skip
    assert done.exit_code == 0 and f"{ROWS - 1} restored" in done.stdout


def test_an_unfinished_job_is_no_source(ray_cluster, tmp_path, tiny_model):
    (tmp_path / "d.parquet").write_bytes(hugging_face())
    first = job(tmp_path / "d.parquet", tmp_path / "first", tiny_model)
    assert run_job(first).ok == ROWS
    part = RunFolder.open(str(tmp_path / "first")).parts[0]
    storage.remove(Layout(str(tmp_path / "first")).part(part.name))
    with pytest.raises(PipelineError, match=r"of whose 5 shards 1 are not done; finish it first"):
        run_job(job(tmp_path / "first", tmp_path / "second", tiny_model))


def test_a_dataset_that_changes_under_a_run_is_not_resumed_as_the_same(
    ray_cluster, tmp_path, tiny_model
):
    (tmp_path / "d.parquet").write_bytes(hugging_face())
    spec = job(tmp_path / "d.parquet", tmp_path / "out", tiny_model)
    assert run_job(spec).ok == ROWS
    (tmp_path / "d.parquet").write_bytes(hugging_face(group=2))
    with pytest.raises(PipelineError, match="holds another job's results"):
        run_job(spec)


def test_what_must_be_named_is_asked_for(ray_cluster, tmp_path, tiny_model):
    table = pa.Table.from_pylist([{"img": {"bytes": png(0), "path": None}, "key": "a"}])
    pq.write_table(table, tmp_path / "d.parquet")
    arguments = [
        "restore", str(tmp_path / "d.parquet"), "-o", str(tmp_path / "out"), "--task", "denoise",
        "--noise", "0.1", "--nfe", "2", "--actors", "1", "--model", tiny_model,
    ]  # fmt: skip
    refused = CliRunner().invoke(app, arguments)
    assert refused.exit_code == 2 and "--image-column img" in refused.stderr
    done = CliRunner().invoke(app, [*arguments, "--image-column", "img", "--id-column", "key"])
    assert done.exit_code == 0, done.stderr
    assert results(tmp_path / "out")[0]["id"] == "a"
    with pytest.raises(ValueError, match="a manifest has no such column"):
        job(tmp_path / "d.parquet", tmp_path / "out", tiny_model, columns={"picture": "img"})


def test_many_shards_go_to_ray_in_waves(ray_cluster, tmp_path, tiny_model, monkeypatch):
    """Each wave is a flow of its own; what stops one leaves the earlier ones' results."""
    monkeypatch.setattr(pipeline.run, "WAVE", 2)
    (tmp_path / "d.parquet").write_bytes(hugging_face())
    spec = job(tmp_path / "d.parquet", tmp_path / "out", tiny_model)
    begun = []
    restore = pipeline.run.restore_shards

    def stops(job, folder, work, resources, ledger):
        begun.append(len(work))
        if len(begun) == 2:
            raise OSError("the machine room is under water")
        restore(job, folder, work, resources, ledger)

    monkeypatch.setattr(pipeline.run, "restore_shards", stops)
    with pytest.raises(JobStopped, match="under water"):
        run_job(spec)
    assert begun == [2, 2] and len(results(tmp_path / "out")) == 3
    assert run_job(spec).ok == ROWS and begun == [2, 2, 2, 1]
