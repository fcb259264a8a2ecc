"""What changes while a run is at work: models and code. No result may name what did not make it."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow.dataset as ds
import pytest
import ray

from diffpir.checkpoints.checkpoint import file_digest, save_model
from manifests.build import build, write_manifest
from pipeline.errors import JobStopped, PipelineError
from pipeline.restoring.restorer import Restorer
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.users_code import code_digests, source_digest
from pipeline.versions import digest_of
from tests.chaos import processes
from tests.chaos.cluster import raylet_of
from tests.pictures import photograph
from tests.support import make_net, versions_of

IMAGES = 8
ACTOR = "ray::MapWorker"  # begins the title of an actor's process


@pytest.fixture
def job(tmp_path):
    """Makes jobs over a few small images, each a shard of its own, for one actor."""
    (tmp_path / "in").mkdir()
    for i in range(IMAGES):
        photograph(40, 32).rotate(i).save(tmp_path / "in" / f"{i:02d}.png")
    write_manifest(build(str(tmp_path / "in")), str(tmp_path / "m.parquet"))
    shutil.copy(
        save_model(make_net(seed=0), tmp_path / "a.safetensors"), tmp_path / "m.safetensors"
    )
    save_model(make_net(seed=1), tmp_path / "b.safetensors")

    def make(**settings) -> JobSpec:
        usual = {
            "manifest": str(tmp_path / "m.parquet"),
            "output": str(tmp_path / "out"),
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": str(tmp_path / "m.safetensors"),
            "sampler": {"nfe": 30},
            "actors": 1,
            "shard_rows": 1,
        }
        return JobSpec.model_validate(usual | settings)

    return make


class Once:
    """Does something as soon as some rows are done."""

    def __init__(self, done: int, act):
        self.done, self.act, self.acted = done, act, False

    def __call__(self, progress) -> None:
        if progress.done >= self.done and not self.acted:
            self.acted = True
            self.act()


def signal_actors(number: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to each actor of this process's own Ray."""
    for pid in processes.descendants([raylet_of(ray._private.worker._global_node)]):
        if processes.title(pid).startswith(ACTOR):
            processes.send(pid, number)


def rows(folder: Path) -> list[dict]:
    return ds.dataset(folder / "out" / "results", format="parquet").to_table().to_pylist()


def test_other_weights_on_the_models_path_stop_the_run(ray_cluster, job, tmp_path, capfd):
    digest = file_digest(tmp_path / "m.safetensors")

    def swap() -> None:
        os.replace(tmp_path / "b.safetensors", tmp_path / "m.safetensors")
        signal_actors()

    swapped = Once(3, swap)
    with pytest.raises(JobStopped, match=r"model: .*m\.safetensors has changed since the run"):
        run_job(job(), swapped)
    assert swapped.acted
    assert "Traceback" not in "".join(capfd.readouterr())
    before = rows(tmp_path)
    assert 3 <= len(before) < IMAGES and {row["model"] for row in before} == {digest}
    with pytest.raises(PipelineError, match="model_digest was"):  # nor is it resumed with them
        run_job(job())
    shutil.copy(tmp_path / "a.safetensors", tmp_path / "m.safetensors")
    assert run_job(job()).ok == IMAGES

    assert {row["model"] for row in rows(tmp_path)} == {digest}


def test_a_model_that_is_written_over_in_place_stops_the_run(ray_cluster, job, tmp_path):
    def write_over() -> None:
        data = (tmp_path / "b.safetensors").read_bytes()
        with (tmp_path / "m.safetensors").open("r+b") as f:
            f.write(data)

    over = Once(2, write_over)
    with pytest.raises(JobStopped, match=r"m\.safetensors was written over while it was in use"):
        run_job(job(), over)
    assert over.acted and len(rows(tmp_path)) < IMAGES


OPERATOR = """
from diffpir import Linear

def make():
    return Linear(lambda x: {gain} * x, lambda y: {gain} * y)
"""


def test_a_picture_that_has_changed_since_the_manifest_was_made_is_its_rows_error(
    ray_cluster, job, tmp_path
):
    with (tmp_path / "in" / "03.png").open("ab") as f:
        f.write(b"another byte")
    summary = run_job(job(sampler={"nfe": 2}))
    assert summary.failures == {"changed": 1}
    (row,) = (row for row in rows(tmp_path) if row["status"] == "error")
    assert row["id"] == "03" and "the manifest says" in row["error"]


def test_an_actor_refuses_an_operator_whose_source_has_changed(job, tmp_path, monkeypatch):
    source = tmp_path / "an_operator.py"
    source.write_text(OPERATOR.format(gain=1.0))
    monkeypatch.syspath_prepend(str(tmp_path))
    task = {"kind": "linear", "operator": "an_operator:make", "noise_level": 0.1}
    spec = job(task=task)
    model = spec.model.path
    versions = dataclasses.replace(versions_of(model), code=code_digests(spec))
    assert list(versions.code) == ["task.operator"]
    Restorer(spec, Assets(), model, versions, batch_pixels=1)
    # A process that starts later finds another file.
    source.write_text(OPERATOR.format(gain=0.5))
    monkeypatch.delitem(sys.modules, "an_operator")
    source_digest.cache_clear()
    with pytest.raises(PipelineError, match=r"task\.operator: an_operator:make has changed since"):
        Restorer(spec, Assets(), model, versions, batch_pixels=1)
    source_digest.cache_clear()


def test_code_runs_only_where_it_was_allowed(job, tmp_path):
    proof = tmp_path / "proof"
    options = {"args": f"touch {proof}", "shell": True}
    task = {"kind": "linear", "operator": "subprocess:check_output", "options": options}
    spec = job(task={**task, "noise_level": 0.1})
    for allowed in ([], ["subproc"], ["subprocess.x"], [""]):
        with pytest.raises(PipelineError, match="add --allow-code subprocess to the command"):
            run_job(spec, allow_code=allowed)
    assert not proof.exists() and not (tmp_path / "out").exists()
    with pytest.raises(PipelineError, match=r"perceptual\.features: os:system is Python code"):
        run_job(job(perceptual={"features": "os:system"}))


def test_an_actor_that_is_stopped_for_good_is_replaced(ray_cluster, job, tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.flow.pulse.SILENT_SECONDS", 12.0)
    stopped = Once(2, lambda: signal_actors(signal.SIGSTOP))
    assert run_job(job(), stopped).ok == IMAGES and stopped.acted


def test_an_output_that_is_moved_away_is_not_begun_anew_and_goes_on_when_it_is_back(
    ray_cluster, job, tmp_path
):
    moved = Once(2, lambda: (tmp_path / "out").rename(tmp_path / "moved"))
    with pytest.raises(JobStopped, match=r"out/run\.json is gone: the output was moved or removed"):
        run_job(job(), moved)
    assert not (tmp_path / "out").exists()
    (tmp_path / "moved").rename(tmp_path / "out")
    assert run_job(job()).ok == IMAGES


def test_a_digest_is_computed_anew_when_its_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPIR_CACHE", str(tmp_path / "cache"))
    file, reads = tmp_path / "file", []
    monkeypatch.setattr(
        "pipeline.versions.file_digest", lambda path: reads.append(path) or file_digest(path)
    )
    for content in (b"a" * 99, b"b" * 99):
        file.write_bytes(content)
        os.utime(file, ns=(len(reads), len(reads)))
        assert digest_of(file) == digest_of(file) == file_digest(file)
    assert len(reads) == 2
    other = tmp_path / "other"
    other.write_bytes(b"c" * 99)
    os.utime(other, ns=(1, 1))  # as old, and as long
    os.replace(other, file)
    assert digest_of(file) == file_digest(file) and len(reads) == 3
    monkeypatch.setenv("DIFFPIR_CACHE", "/dev/null/cache")
    assert digest_of(file) == file_digest(file)
