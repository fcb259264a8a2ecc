"""Resuming, retrying failed rows, starting anew, verifying: what an output goes through."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
import ray
from ray.data.exceptions import SystemException
from ray.exceptions import RayActorError

from jobs.verify import verify_output
from manifests import storage
from manifests.build import build, write_manifest
from pipeline.errors import JobStopped, PipelineError
from pipeline.flow.ray_errors import in_words as words_of
from pipeline.output.drivers import DEAD_SECONDS, Heartbeat, in_words
from pipeline.output.fresh import begin_anew, check_unclaimed
from pipeline.output.layout import Layout
from pipeline.output.parts import parse, read_tally
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from tests.pictures import photograph

CHANGED = (
    r"manifest\.rows was 6, is 5; manifest\.sha256 was .* \(its rows or columns are others, or"
)
pytestmark = pytest.mark.usefixtures("ray_cluster")


def save_photographs(folder: Path) -> Path:
    """Six photographs: five good ones, and one whose file is not there yet."""
    (folder / "in").mkdir()
    for i in range(6):
        photograph(32, 24, ("astronaut", "chelsea", "coffee")[i % 3]).save(
            folder / "in" / f"{i}.png"
        )
    # Relative paths, so that all of it can be copied elsewhere.
    table = build(str(folder / "in")).set_column(1, "image", [[f"in/{i}.png" for i in range(6)]])
    write_manifest(table, str(folder / "m.parquet"))
    os.rename(folder / "in" / "3.png", folder / "3.png")
    return folder


@pytest.fixture
def folder(tmp_path) -> Path:
    return save_photographs(tmp_path)


@pytest.fixture(scope="module")
def finished_once(tmp_path_factory, tiny_model, ray_cluster) -> Path:
    folder = save_photographs(tmp_path_factory.mktemp("finished"))
    run_job(job(folder, tiny_model))
    return folder


@pytest.fixture
def finished(finished_once, tmp_path) -> Path:
    """A folder as above, with the finished job's output in it: the test's own."""
    return shutil.copytree(finished_once, tmp_path, dirs_exist_ok=True)


def job(folder: Path, model: str, **settings) -> JobSpec:
    return JobSpec.model_validate(
        {
            "manifest": str(folder / "m.parquet"),
            "output": str(folder / "out"),
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": model,
            "sampler": {"nfe": 2},
            "shard_rows": 2,
            "precision": "fp32",
            "actors": 1,  # each takes seconds to start
            **settings,
        }
    )


def results(folder: Path) -> pa.Table:
    """As any tool reads them, that knows nothing of this project."""
    parts = sorted(map(str, (folder / "out" / "results").glob("*.parquet")))
    return ds.dataset(parts, format="parquet").to_table().sort_by("id")


def test_failed_rows_are_retried_alone_and_the_new_generation_wins(folder, tiny_model):
    pictures = folder / "pictures"
    spec = job(folder, tiny_model, images=str(pictures))
    first = run_job(spec)
    assert (first.ok, first.failed, first.failures) == (5, 1, {"not_found": 1})
    assert len(list(pictures.iterdir())) == 5
    before = results(folder)
    assert run_job(spec) == first  # nothing to do, nothing done
    assert run_job(spec, retry_failed=True).failures == {"not_found": 1}  # still not there
    with pytest.raises(PipelineError, match=rf"images was '{pictures}', is None"):
        run_job(job(folder, tiny_model), retry_failed=True)
    pictures.rename(folder / "elsewhere")
    pictures.touch()
    with pytest.raises(PipelineError, match=r"^images: cannot be written: .*Not a directory"):
        run_job(spec, retry_failed=True)
    pictures.unlink()

    os.rename(folder / "3.png", folder / "in" / "3.png")
    seen = []
    last = run_job(spec, seen.append, retry_failed=True)
    assert (last.rows, last.ok, last.failed, last.failures) == (6, 6, 0, {})
    assert seen[-1].done == 6
    after = results(folder)
    assert after["id"].to_pylist() == before["id"].to_pylist()
    kept = [i for i, row in enumerate(before["status"].to_pylist()) if row == "ok"]
    assert after.take(kept).equals(before.take(kept))
    row = after.to_pylist()[3]
    assert (row["status"], row["error"], row["error_kind"], row["width"]) == ("ok", "", "", 32)
    assert verify_output(str(folder / "out"))[0] == []
    names = [parse(p.name) for p in sorted((folder / "out" / "results").glob("*.parquet"))]
    layout = Layout(str(folder / "out"))
    rows = [(p.shard, p.generation, read_tally(layout, p).rows) for p in names]
    assert rows == [(0, 0, 2), (1, 0, 0), (1, 1, 0), (1, 2, 2), (2, 0, 2)]


def test_a_part_superseded_by_a_killed_run_is_emptied_by_the_next(finished, tiny_model):
    folder, spec = finished, job(finished, tiny_model)
    part = next(p for p in (folder / "out" / "results").glob("000000001-*"))
    os.rename(folder / "3.png", folder / "in" / "3.png")
    old = part.read_bytes()
    run_job(spec, retry_failed=True)
    part.write_bytes(old)  # as if the writer had been killed before it emptied the old part
    assert len(results(folder)) == 8
    findings, _ = verify_output(str(folder / "out"))
    assert len(findings) == 1 and "still holds rows" in findings[0]
    part.write_bytes(old[:-9])
    findings, _ = verify_output(str(folder / "out"))
    assert len(findings) == 1 and "superseded, and cannot be read" in findings[0]
    part.write_bytes(old)
    run_job(spec)
    assert len(results(folder)) == 6 and verify_output(str(folder / "out"))[0] == []


def test_fresh_refuses_what_is_there_and_overwrites_when_told(folder, tiny_model):
    pictures = folder / "pictures"
    spec = job(folder, tiny_model, images=str(pictures))
    run_job(spec, fresh=True)  # nothing there: as without it
    run_id = json.loads((folder / "out" / "run.json").read_text())["id"]
    with pytest.raises(PipelineError, match=r"holds an earlier run.*--overwrite"):
        run_job(spec, fresh=True)
    mine = [*save_users_files(folder / "out"), pictures / "mine.png", pictures / "0.png"]
    mine[-2].touch()
    # A picture that the earlier run made, and this job reads.
    rows = [{"id": i, "image": f"in/{i}.png"} for i in "12345"] + [
        {"id": "0", "image": str(mine[-1])}
    ]
    write_manifest(pa.Table.from_pylist(rows), str(folder / "m.parquet"))
    changed = job(folder, tiny_model, seed=3, images=None)
    with pytest.raises(PipelineError, match="seed was 0, is 3"):
        run_job(changed)
    with Heartbeat(Layout(str(folder / "out"))), pytest.raises(PipelineError, match="at work"):
        run_job(changed, fresh=True, overwrite=True)
    for fault in ({"actors": 99}, {"images": "/dev/null/pictures"}):
        with pytest.raises(PipelineError, match=r"^(actors|images): "):
            run_job(job(folder, tiny_model, **fault), fresh=True, overwrite=True)
    assert len(results(folder)) == 6  # of the earlier run still
    assert len(list(pictures.iterdir())) == 6
    run_job(changed, fresh=True, overwrite=True)
    assert json.loads((folder / "out" / "run.json").read_text())["id"] != run_id
    assert set(results(folder)["seed"].to_pylist()) == {3}
    assert all(file.exists() for file in mine)
    assert set(pictures.iterdir()) == set(mine[-2:])
    assert verify_output(str(folder / "out"))[0] == []


def save_users_files(output: Path) -> list[Path]:
    """What lies in an output's folders and is none of the project's."""
    names = (
        "mine.txt", ".mine.partial", "results/thesis.csv", "results/000000000-000-x.parquet.bak",
        "plan/plan.md", "plan/00000.parquet", "drivers/nvidia.run", "drivers/nvidia.json",
    )  # fmt: skip
    for name in names:
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        (output / name).write_text("not this project's")
    return [output / name for name in names]


def test_only_what_runs_made_is_cleared_away(finished, tiny_model):
    out = finished / "out"
    mine = save_users_files(out)
    part = next((out / "results").glob("*.parquet"))
    theirs = [
        out / "results" / "000000000-000-0123456789ab.parquet",
        out / "plan" / "00000-0123456789ab.parquet",
        out / "drivers" / "0123456789ab.json",
        out / f".{'0' * 32}.partial",
    ]
    for file in theirs:
        shutil.copy(part, file)
    os.utime(theirs[2], (0, 0))
    run_job(job(finished, tiny_model))
    assert all(file.exists() for file in mine) and not any(file.exists() for file in theirs)


def test_a_file_among_the_results_that_no_run_made_is_refused(finished, tiny_model):
    spec, results = job(finished, tiny_model), finished / "out" / "results"
    (results / "old.parquet").mkdir()  # as other tools write one
    for options in ({}, {"fresh": True, "overwrite": True}):
        with pytest.raises(PipelineError, match=rf"{results} holds old\.parquet, .* move them"):
            run_job(spec, **options)
    (results / "old.parquet").rmdir()
    before = sorted(results.iterdir())
    (finished / "out" / "run.json").unlink()
    (finished / "out" / "summary.json").unlink()
    with pytest.raises(PipelineError, match=r"results/0.*, but no run\.json"):
        run_job(spec)
    assert sorted(results.iterdir()) == before and len(before) == 3


@pytest.mark.parametrize("name", ["results/a.parquet", "results/b.parquet/c", "summary.json"])
def test_an_output_without_a_run_that_holds_results_is_refused(tmp_path, name):
    layout = Layout(str(tmp_path))
    save_users_files(tmp_path)
    check_unclaimed(layout)
    begin_anew(layout, overwrite=False)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("the user's")
    for begin in (check_unclaimed, lambda layout: begin_anew(layout, overwrite=True)):
        with pytest.raises(
            PipelineError, match=f"{tmp_path} holds {name.removesuffix('/c')}, but no run"
        ):
            begin(layout)
    assert (tmp_path / name).read_text() == "the user's"


RECORD = '{"id": "0123456789ab", "identity": {}, "plan": []}'
PART = "results/000000000-000-0123456789ab.parquet"


@pytest.mark.parametrize(
    "files, words",
    [
        ({"run.json": '{"mine": 1}', "summary.json": "mine"}, "run.json is not a record of a run"),
        ({"run.json": "[" * 9999, PART: ""}, "run.json is not a record of a run"),
        ({"summary.json": "mine", PART: ""}, "holds results/.*, summary.json, but no run.json"),
    ],
)
def test_a_record_or_summary_of_another_program_is_not_overwritten(tmp_path, files, words):
    (tmp_path / "results").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for overwrite in (False, True):
        with pytest.raises(PipelineError, match=words):
            begin_anew(Layout(str(tmp_path)), overwrite)
    assert {name: (tmp_path / name).read_text() for name in files} == files


def test_a_removal_that_was_killed_is_done_again(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    files = {"run.json": RECORD, "summary.json": "{}", PART: ""}
    remove = storage.remove
    for allowed in range(len(files) + 1):
        for name, text in files.items():
            (tmp_path / name).write_text(text)
        left = iter(range(allowed))
        with monkeypatch.context() as patch:
            patch.setattr(storage, "remove", lambda uri, left=left: (next(left), remove(uri)))
            with contextlib.suppress(StopIteration):
                begin_anew(Layout(str(tmp_path)), overwrite=True)
        assert sum((tmp_path / name).exists() for name in files) == len(files) - allowed
        begin_anew(Layout(str(tmp_path)), overwrite=True)
        assert not any((tmp_path / name).exists() for name in files)


def test_drivers_that_were_killed_are_not_taken_for_live(tmp_path):
    layout = Layout(str(tmp_path))

    def others() -> str:
        with Heartbeat(layout) as heartbeat:
            return in_words(heartbeat.others())

    code = (
        "import sys, time; from pipeline.output.drivers import Heartbeat; "
        "from pipeline.output.layout import Layout; Heartbeat(Layout(sys.argv[1])).__enter__(); "
        "print('at work', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as driver:
        driver.stdout.readline()
        assert others() == f"{platform.node()} (process {driver.pid})"
        driver.kill()
    assert others() == ""
    left = next((tmp_path / "drivers").iterdir())
    left.write_text(json.dumps({"host": "elsewhere", "pid": 1}))
    assert others() == "elsewhere (process 1)"
    long_ago = time.time() - DEAD_SECONDS - 60
    os.utime(left, (long_ago, long_ago))
    assert others() == ""


def test_a_changed_manifest_is_refused_by_rows_and_digest(finished, tiny_model):
    table = pq.read_table(finished / "m.parquet")
    pq.write_table(table.slice(1), finished / "m.parquet")
    with pytest.raises(PipelineError, match=CHANGED):
        run_job(job(finished, tiny_model))


def test_two_drivers_at_once_do_no_harm(folder, tiny_model):
    spec = job(folder, tiny_model, shard_rows=1)
    ended, failed = [], []

    def drive() -> None:
        try:
            ended.append(run_job(spec))
        except Exception as e:
            failed.append(e)

    threads = [threading.Thread(target=drive) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and [s.rows for s in ended] == [6, 6]
    assert results(folder)["id"].to_pylist() == [str(i) for i in range(6)]
    assert verify_output(str(folder / "out"))[0] == []


def test_verify_says_what_is_wrong(finished):
    folder = finished
    out, parts = folder / "out", sorted((folder / "out" / "results").iterdir())
    findings, text = verify_output(str(out))
    assert findings == [] and text == "6 rows (1 failed) in 3 parts: no faults"

    def damaged(change) -> str:
        copy = folder / "copy"
        shutil.copytree(out, copy)
        change(copy / "results" / parts[0].name)
        found, _ = verify_output(str(copy))
        shutil.rmtree(copy)
        return "\n".join(found)

    def flip(path: Path) -> None:  # a bit of a picture
        group = pq.read_metadata(path).row_group(0)
        columns = [group.column(i) for i in range(group.num_columns)]
        pictures = next(c for c in columns if c.path_in_schema == "restored.bytes")
        data = bytearray(path.read_bytes())
        data[pictures.data_page_offset + pictures.total_compressed_size // 2] ^= 1
        path.write_bytes(data)

    def drop_a_row(path: Path) -> None:
        table = pq.read_table(path)
        pq.write_table(table.slice(1), path)

    def twice(path: Path) -> None:
        table = pq.read_table(path)
        pq.write_table(table.take([0, 0]), path)

    assert "not finished: 1 of 3 shards (2 rows)" in damaged(Path.unlink)
    assert "cannot be read" in damaged(lambda p: p.write_bytes(p.read_bytes()[:-30]))
    assert "cannot be read" in damaged(flip)
    assert "ids are missing: 0" in damaged(drop_a_row)
    assert "stand there twice" in damaged(twice)

    def another_table(path: Path) -> None:
        pq.write_table(pa.table({"id": ["0", "1"], "status": ["ok", "ok"]}), path)

    assert "cannot be read" in damaged(another_table)
    assert "of no shard" in damaged(lambda p: shutil.copy(p, p.with_name("other.parquet")))
    with pytest.raises(PipelineError, match=r"no run\.json"):
        verify_output(str(folder / "in"))
    for record in ("{", "{}", "[]"):
        (folder / "in" / "run.json").write_text(record)
        with pytest.raises(PipelineError, match="not a record of a run"):
            verify_output(str(folder / "in"))


@pytest.fixture
def disk(tmp_path):
    """A file system of its own, and a function that mounts it again with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(*options: str) -> bool:
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", place]
        return subprocess.run(command, capture_output=True).returncode == 0

    if not mount("size=128k"):
        pytest.skip("this test mounts a small tmpfs, which is not permitted here")
    yield place, mount
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_and_a_read_only_one_end_clearly_and_the_job_resumes(folder, tiny_model, disk):
    place, mount = disk
    spec = job(folder, tiny_model, output=str(place / "out"), shard_rows=1)
    (place / "filler").write_bytes(bytes(88 * 1024))
    with pytest.raises(JobStopped, match="No space left on device"):
        run_job(spec)
    made = len(list((place / "out" / "results").glob("*.parquet")))
    assert made < 6
    assert mount("remount", "ro", "size=128k")
    with pytest.raises(JobStopped, match="Read-only file system"):
        run_job(spec)
    assert mount("remount", "rw", "size=8m")
    assert run_job(spec).rows == 6
    assert verify_output(str(place / "out"))[0] == []
    assert not list(place.rglob("*.partial"))


def test_an_output_that_cannot_be_written_stops_the_job_in_words(folder, tiny_model):
    """And the same command finishes it when it can be written again."""
    spec = job(folder, tiny_model)
    (folder / "out").mkdir()
    (folder / "out" / "results").write_text("a file where the folder should be")
    with pytest.raises((JobStopped, PipelineError), match="results"):
        run_job(spec)
    (folder / "out" / "results").unlink()
    assert run_job(spec).rows == 6


def test_what_an_actor_raised_when_it_was_made_is_told():
    @ray.remote(num_cpus=0)
    class Actor:
        def __init__(self):
            raise OSError("the model is gone")

        def ready(self):
            pass

    with pytest.raises(RayActorError) as raised:
        ray.get(Actor.remote().ready.remote())
    raised.value.__cause__ = SystemException()  # as Ray Data has it
    assert words_of(raised.value) == "an actor failed: OSError: the model is gone"
