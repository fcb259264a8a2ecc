"""The methods to compare with, as jobs ask for them: what is done, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from diffpir.config import preset
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.rivals import RIVALS
from diffpir.schedule import Schedule
from jobs.specfile import JobFileError, make_job
from manifests.build import build, write_manifest
from pipeline.errors import PipelineError
from pipeline.prepare import check
from pipeline.restoring.memory import activation_bytes
from pipeline.restoring.problem import build_problem
from pipeline.restoring.restorer import Restorer
from pipeline.tasks.assets import Assets
from pipeline.tasks.row import Inputs
from tests.pictures import photograph
from tests.pipeline.test_tasks import restored, spec_of
from tests.support import make_net, versions_of

BLUR = {"kind": "deblur", "kernel": {"gaussian": {"size": 5, "std": 1.0}}}
TASKS = {
    "blur": {**BLUR, "boundary": "circular"},
    "sr": {"kind": "sr", "factor": 2},
    "mask": {"kind": "inpaint", "mask": {"random": 0.5}},
    "colour": {"kind": "colorize"},
}


@pytest.mark.parametrize("method", RIVALS)
def test_every_method_does_every_task_of_a_benchmark(method, tiny_model):
    picture = np.asarray(photograph(32, 24))
    for task in TASKS.values():
        spec = spec_of(task, mode="benchmark", sampler={"method": method, "nfe": 5})
        _, done = restored(spec, tiny_model, [{"image": picture}])
        (sampler,) = done["outcome"].combine_chunks().field("sampler").to_pylist()
        assert (sampler["method"], sampler["nfe"], sampler["spacing"]) == (method, 5, None)


def test_images_that_a_method_takes_through_other_levels_share_no_batch(tiny_model):
    """hqs ends at the noise level of each image."""
    rows = [np.asarray(photograph(32, 24)), np.asarray(photograph(32, 24, "coffee"))]
    alone = []
    for level, row in zip((0.02, 0.1), rows, strict=True):
        spec = spec_of(
            {"kind": "denoise", "noise_level": level}, sampler={"method": "hqs", "nfe": 3}
        )
        pixels, _ = restored(spec, tiny_model, [{"image": row}])
        alone += pixels
    spec = spec_of({"kind": "denoise", "noise_level": 0.05}, sampler={"method": "hqs", "nfe": 3})
    problems = [
        build_problem({"id": str(i), "noise_level": level}, Inputs(row), spec, Assets())
        for i, (level, row) in enumerate(zip((0.02, 0.1), rows, strict=True))
    ]
    restorer = Restorer(spec, Assets(), tiny_model, versions_of(tiny_model), 2**17, threads=1)
    batches = list(restorer._batches(list(enumerate(problems))))
    assert sorted(len(batch) for batch in batches) == [1, 1]
    for batch in batches:
        (result,) = restorer._restore([problem for _, problem in batch])
        difference = result.picture.astype(int) - alone[batch[0][0]]
        assert np.abs(difference).max() <= 1


def test_settings_are_the_authors_own_for_each_task():
    def config(task, **sampler):
        return spec_of(task, mode="benchmark", sampler=sampler).sampler_config(spectral=True)

    assert config(TASKS["blur"], method="ddrm") == preset("ddrm")
    assert config(TASKS["blur"], preset="ddrm", nfe=50).nfe == 50
    assert config(TASKS["blur"], method="hqs").nfe == 8
    assert config(TASKS["sr"], method="hqs").nfe == 24
    assert config(TASKS["sr"], method="dps").guidance == 0.3
    assert config(TASKS["mask"], method="dps").guidance == 0.5


@pytest.fixture
def manifest(tmp_path):
    photograph(32, 24).save(tmp_path / "a.png")
    path = str(tmp_path / "m.parquet")
    write_manifest(build(str(tmp_path)), path)
    return path


def job(manifest, tiny_model, task, **fields):
    fields = {"sampler": {"method": "ddrm"}, **fields}
    content = {"manifest": manifest, "output": f"{manifest}-out", "model": tiny_model}
    return make_job({**content, "task": {"noise_level": 0.05, **task}, **fields}, "test")


@pytest.mark.parametrize(
    "task, fields",
    [
        (BLUR, {}),
        ({**BLUR, "boundary": "reflect"}, {"mode": "benchmark"}),
        ({**BLUR, "mask": {"random": 0.5}}, {"mode": "benchmark"}),
        ({"kind": "sr", "factor": 2}, {"sampler": {"preset": "ddnm"}}),
        ({"kind": "linear", "operator": "tests.operators:halves"}, {}),
    ],
)
def test_a_task_without_singular_values_is_refused_with_the_methods_that_can(
    manifest, tiny_model, task, fields
):
    spec = job(manifest, tiny_model, task, **fields)
    with pytest.raises(PipelineError) as refused:
        check(spec, allow_code=["tests"])
    words = str(refused.value)
    assert words.startswith("sampler.method: dd") and "singular values" in words
    assert "diffpir, diffpir-spectral, hqs, red-diff, dds, daps, pigdm, dps" in words


def test_other_refusals(manifest, tiny_model):
    with pytest.raises(JobFileError, match="hqs has no data step for jpeg"):
        job(manifest, tiny_model, {"kind": "jpeg", "noise_level": 0}, sampler={"method": "hqs"})
    with pytest.raises(JobFileError, match="ddrm has no data step for denoise with then: jpeg"):
        job(manifest, tiny_model, {"kind": "denoise", "then": "jpeg"})
    with pytest.raises(JobFileError, match="ddrm takes one noise_level for each image"):
        uneven = {"gaussian": 0.01, "poisson": 0.004}
        job(manifest, tiny_model, {"kind": "denoise", "noise_level": None, "noise": uneven})
    with pytest.raises(JobFileError, match="dps differentiates the network, which is not compiled"):
        job(manifest, tiny_model, BLUR, sampler={"method": "dps"}, compile=True)
    with pytest.raises(JobFileError, match="lam does not go with the method ddrm"):
        job(manifest, tiny_model, BLUR, sampler={"method": "ddrm", "lam": 3})
    spec = job(manifest, tiny_model, {"kind": "denoise"}, sampler={"method": "dps"}, tile=256)
    wide = np.zeros((16, 2**13, 3), np.uint8)
    with pytest.raises(AssertionError, match="8192 x 16 pixels: dps differentiates"):
        restored(spec, tiny_model, [{"image": wide}])


def test_what_a_gradient_takes_is_told_before(manifest, tiny_model):
    checked = check(job(manifest, tiny_model, {"kind": "denoise"}, sampler={"method": "pigdm"}))
    assert "pigdm differentiates the network" in checked.memory_note(2**16)
    assert checked.activations == activation_bytes(EpsDenoiser(make_net(), Schedule.linear()))
    # Half a dozen tensors of 32 channels in float32 for each pixel, at least.
    assert 6 * 32 * 4 < checked.activations < 100 * 32 * 4
    assert check(job(manifest, tiny_model, {"kind": "denoise"})).activations is None
