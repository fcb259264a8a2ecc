"""A task that is defined here, and runs through whole jobs: nothing but its class knows of it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow.dataset as ds
import pytest
from pydantic import Field

from diffpir import Linear, SamplerConfig
from diffpir.config import PRESETS
from jobs.restore import restore_job
from jobs.sheet import write_sheet
from jobs.specfile import JobFileError, make_job
from manifests.build import build, write_manifest
from pipeline.run import run_job
from pipeline.tasks import TASKS, benchmarks, preset, register
from pipeline.tasks.defaults import Defaults
from pipeline.tasks.parts import BatchParts
from pipeline.tasks.task import Task
from tests.pictures import decoded, photograph


class Dimmed(Task):
    """A picture behind a grey filter: ``y = transmission x + n``."""

    kind: Literal["dimmed"]
    transmission: Annotated[float, Field(gt=0, le=1, examples=["0.5"])] = 0.5

    presets: ClassVar = {
        "dimmed": Defaults(PRESETS["ffhq-sr4"], SamplerConfig(nfe=4, lam=2.0, zeta=1.0))
    }
    benchmarks: ClassVar = {"dimmed-half": {"transmission": 0.5, "noise_level": 0.01}}

    def operator_for(self, batch: BatchParts) -> Linear:
        return Linear(
            lambda x: self.transmission * x,
            lambda y: self.transmission * y,
            lambda y: y / self.transmission,
        )


@pytest.fixture(autouse=True, scope="module")
def only_here():
    register(Dimmed)
    yield
    del TASKS["dimmed"]


def job(folder, **settings) -> dict:
    return {
        "manifest": str(folder / "m.parquet"),
        "output": str(folder / "out"),
        "task": {"kind": "dimmed", "transmission": 0.5, "noise_level": 0.01},
        "actors": 1,
        **settings,
    }


@pytest.mark.parametrize("mode", ["benchmark", "restore"])
def test_a_task_of_ones_own_runs_end_to_end(ray_cluster, tmp_path, mode):
    clean = photograph(40, 32)
    picture = clean.point(lambda v: v // 2) if mode == "restore" else clean
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / "a.png")
    write_manifest(build(str(tmp_path / "in")), str(tmp_path / "m.parquet"))
    spec = make_job(job(tmp_path, mode=mode), "job")
    assert run_job(spec).ok == 1
    (row,) = ds.dataset(tmp_path / "out" / "results", format="parquet").to_table().to_pylist()
    assert (row["task"], row["sampler"]["nfe"], row["sampler"]["lam"]) == ("dimmed", 4, 2.0)
    error = decoded(row["restored"]["bytes"]).astype(int) - np.asarray(clean)
    assert np.abs(error).mean() < 8
    assert (row["psnr"] is None) == (mode == "restore")
    sheet = tmp_path / "sheet.png"
    write_sheet([spec.output], str(sheet), limit=1, side=64)
    assert sheet.exists()


def test_what_is_derived_from_tasks_knows_it(tmp_path):
    assert preset("builtin-dimmed").nfe == 4
    assert benchmarks()["dimmed-half"]["kind"] == "dimmed"
    with pytest.raises(JobFileError, match=r"task\.transmision: unknown key \(did you mean 'tra"):
        make_job(job(tmp_path, task={"kind": "dimmed", "transmision": 1}), "job")
    with pytest.raises(JobFileError, match=r"task\.transmission: .* less than or equal to 1, got"):
        make_job(job(tmp_path, task={"kind": "dimmed", "transmission": 2}), "job")
    with pytest.raises(JobFileError, match=r"task\.kind: 'dimed' is none of .*'dimmed'"):
        make_job(job(tmp_path, task={"kind": "dimed"}), "job")
    photograph().save(tmp_path / "a.png")
    with pytest.raises(JobFileError, match="--noise is required to dimmed pictures"):
        restore_job([str(tmp_path)], str(tmp_path / "o"), images=None, task={"kind": "dimmed"})
