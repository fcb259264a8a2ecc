"""What the sampler saw on the way: kept of the rows watched, and never of any consequence."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from diffpir.schedule import Schedule
from jobs.specfile import JobFileError, make_job
from pipeline.arrays import pack, unpack
from pipeline.restoring.restorer import Restorer
from pipeline.schema import GENERATION, INDEX, SHARD
from pipeline.spec.job import JobSpec
from pipeline.steps.encode import Encode
from pipeline.steps.table import INPUTS
from pipeline.tasks.assets import Assets
from tests.pictures import decoded
from tests.support import versions_of

ROWS = 3


def spec_of(model: str, **sampler) -> JobSpec:
    several = sampler.pop("samples", 1)
    return JobSpec.model_validate(
        {
            "manifest": "m.csv",
            "output": "out",
            "precision": "fp32",
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": model,
            "samples": several,
            "sampler": {"nfe": 5, "method": "diffpir", **sampler},
        }
    )


def restored(spec: JobSpec, side: int = 16) -> pa.Table:
    images = np.random.default_rng(0).integers(0, 255, (ROWS, side, side, 3), np.uint8)
    none = pack([None] * ROWS)
    table = pa.table(
        {
            SHARD: pa.repeat(0, ROWS),
            GENERATION: pa.repeat(0, ROWS),
            INDEX: pa.array(range(ROWS), pa.int64()),
            "row": pa.array([{"id": f"id/{i}", "image": "x"} for i in range(ROWS)]),
            "error": pa.repeat("", ROWS),
            "error_kind": pa.repeat("", ROWS),
            "image": pack(list(images)),
            **dict.fromkeys((*INPUTS[1:], "alpha"), none),
            "metadata": pa.nulls(ROWS, pa.struct([("exif", pa.binary())])),
        }
    )
    model = spec.model.path
    return Restorer(spec, Assets(), model, versions_of(model), 4 * side**2, 1)(table)


@pytest.mark.parametrize("samples", [1, 3])
def test_steps_of_the_rows_watched_are_kept_and_change_no_result(tiny_model, samples):
    plain = restored(spec_of(tiny_model, samples=samples))
    spec = spec_of(tiny_model, samples=samples, save_steps=3, watch_ids=["id/1", "elsewhere"])
    watched = restored(spec)
    for name in ("pixels", "error"):
        assert watched[name].equals(plain[name])
    assert unpack(plain["step_pixels"]) == [None] * ROWS
    results = Encode(None, spec.picture)(watched)
    assert results["restored"].equals(Encode(None, spec.picture)(plain)["restored"])
    first, steps, last = results["steps"].to_pylist()
    assert first is None and last is None
    paths = [step["path"] for step in steps]
    timesteps = spec.sampler_config(spectral=False).timesteps(Schedule.linear())
    moments = [timesteps[i] for i in (0, len(timesteps) // 2, -1)]
    names = [f"id/1/t{t:03d}-{kind}.png" for t in moments for kind in ("denoised", "data")]
    assert paths == names[:-1]  # the last evaluation only denoises
    pictures = [decoded(step["bytes"]) for step in steps]
    assert not np.array_equal(pictures[0], pictures[1])
    if samples == 1:  # what is restored is what the last evaluation gave
        assert np.array_equal(pictures[-1], decoded(results["restored"][1]["bytes"].as_py()))


def test_no_identity_of_a_run_hangs_on_what_is_watched(tiny_model):
    plain, watched = spec_of(tiny_model), spec_of(tiny_model, save_steps=2, watch_ids=["a"])
    config = plain.sampler_config(spectral=False)
    assert watched.sampler_config(spectral=False) == config
    assert watched.resolved(config) == plain.resolved(config)


def test_ids_to_watch_without_steps_to_save_are_refused():
    job = {"manifest": "m", "output": "o", "task": {"kind": "denoise", "noise_level": 0.1}}
    with pytest.raises(JobFileError, match="set save_steps"):
        make_job({**job, "sampler": {"watch_ids": ["a"]}}, "job.yaml")


@pytest.mark.parametrize("method", ["hqs", "daps"])
def test_methods_without_timesteps_save_no_steps(method):
    spec = {
        "manifest": "m.csv",
        "output": "out",
        "task": {"kind": "denoise", "noise_level": 0.1},
        "sampler": {"preset": method, "save_steps": 3},
    }
    with pytest.raises(ValidationError, match=r"save_steps.*has no timesteps"):
        JobSpec.model_validate(spec)
