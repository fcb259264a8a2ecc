"""What a job says of its prior, and what is found out before any work."""

import numpy as np
import pytest

from diffpir import Schedule
from jobs.specfile import JobFileError, make_job, make_model
from pipeline.errors import PipelineError
from pipeline.prepare import check_model
from pipeline.prior import files_of_prior, located
from pipeline.spec.model import Model


def job(model, **sampler):
    task = {"kind": "denoise", "noise_level": 0.1}
    return make_job(
        {"manifest": "m.csv", "output": "o", "task": task, "model": model, "sampler": sampler}, "x"
    )


@pytest.mark.parametrize(
    "schedule, kind, steps",
    [
        ("cosine", "cosine", 1000),
        (
            {"kind": "linear", "steps": 4000, "beta_end": 0.005},
            "linear",
            4000,
        ),
        ({"steps": 500}, "linear", 500),
        ({"kind": "sigmoid", "zero_snr": True}, "sigmoid", 1000),
    ],
)
def test_schedules_can_be_written(schedule, kind, steps):
    model = Model(path="builtin", schedule=schedule)
    assert Model.model_validate(model.model_dump()) == model
    found = files_of_prior(model).read().diffusion.schedule
    assert (found.kind, len(found)) == (kind, steps)


@pytest.mark.parametrize(
    "schedule, words",
    [
        ("cosin", "model.schedule.kind: "),
        ({"kind": "cosine", "beta_start": 0.1}, "cosine takes no beta_start"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "expected 0 < beta_start <= beta_end < 1"),
        ({"steps": 1}, "model.schedule.steps: "),
        ({"file": "x.npy", "steps": 10}, "file says all: leave out steps"),
        ({"step": 10}, "model.schedule.step: unknown key (did you mean 'steps'?)"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(schedule, words):
    with pytest.raises(JobFileError) as refused:
        job({"path": "builtin", "schedule": schedule})
    assert words in str(refused.value)


def test_a_table_in_a_file_is_part_of_the_prior(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("s.npy", Schedule.of("linear").alpha_bar)
    spec = job({"path": "builtin", "schedule": {"file": "s.npy"}})
    assert located(spec.model).schedule.file == str(tmp_path / "s.npy")
    checked, usual = check_model(spec), check_model(job("builtin"))
    assert checked.config == usual.config and checked.digest != usual.digest
    assert usual.diffusion.identity["schedule"]["kind"] == "linear"
    assert len(checked.diffusion.identity["schedule"]["alphas_cumprod_sha256"]) == 64
    np.save("s.npy", np.arange(5.0))
    with pytest.raises(PipelineError, match=r"model: .*s\.npy: .*alphas_cumprod must lie"):
        check_model(spec)


def test_timesteps_that_the_schedule_has_not_are_refused():
    few = {"path": "builtin", "schedule": {"steps": 10}}
    with pytest.raises(PipelineError, match="sampler: first timestep must be from 1 to 9 in"):
        check_model(job(few, method="diffpir", first_timestep=300))
    with pytest.raises(PipelineError, match="sampler: nfe must be from 2 to 10, got 100"):
        check_model(job(few, method="diffpir"))


def test_a_wrong_schedule_is_doubted_before_the_job_begins():
    assert check_model(job("builtin")).notes == ()
    (note,) = check_model(
        job({"path": "builtin", "schedule": {"kind": "cosine", "steps": 4000}})
    ).notes
    assert note.startswith("model: a smooth test picture") and "with schedule: linear" in note


def test_options_take_a_model_as_a_job_has_it():
    model = make_model("{path: builtin, schedule: {kind: cosine, steps: 4000}, num_heads: 4}")
    assert (model.schedule.kind, model.num_heads) == ("cosine", 4)
    assert make_model("m.pt") == Model(path="m.pt")
