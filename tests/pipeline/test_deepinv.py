"""Operators of the real library deepinv in jobs; where it is absent, what is said of that."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
from PIL import Image

from diffpir.operators.linear import check_adjoint
from manifests.build import build, write_manifest
from pipeline.errors import PipelineError
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from pipeline.tasks.linear import users_operator
from pipeline.users_code import code_digests, source_digest
from tests.pictures import decoded, photograph
from tests.pipeline.test_tasks import restored, spec_of

try:
    importlib.import_module("deepinv")
    ABSENT = ""
except Exception as e:  # whatever a library for other versions raises
    ABSENT = f"deepinv cannot be imported ({type(e).__name__}: {e})"
real = pytest.mark.skipif(bool(ABSENT), reason=ABSENT or "it is there")

BLUR = {"gaussian_blur": {"sigma": [1.5, 1.0]}}
OPERATORS = {
    "Blur": {"filter": BLUR, "padding": "circular"},
    "BlurFFT": {"filter": {"tensor": [[[[0.0, 0.2], [0.3, 0.5]]]]}},
    "Downsampling": {"filter": "gaussian", "factor": 2},
    "Inpainting": {"mask": 0.6},
    "Denoising": {},
    "Demosaicing": {},
}


def task(name: str, **options) -> dict:
    return {"kind": "linear", "operator": f"deepinv:{name}", "options": options}


def operator(name: str, **options):
    return users_operator(spec_of(task(name, **options)).task)


@real
@pytest.mark.parametrize("name", OPERATORS)
def test_the_library_s_operators_are_ours(name):
    """Any size, two images with a rho each: the adjoint, and the data step's normal equations."""
    A = operator(name, **OPERATORS[name])
    g = torch.Generator().manual_seed(0)
    for height, width in ((16, 24), (20, 12)):
        x = torch.rand(2, 3, height, width, generator=g)
        y = A.forward(torch.rand(x.shape, generator=g))
        check_adjoint(A.forward, A.adjoint, y)
        for rho in (0.1, torch.tensor([0.5, 0.02]), torch.tensor([1.0, 1e-6]), 1e-7):
            z = A.prox(x, y, rho)
            weight = torch.as_tensor(rho).reshape(-1, 1, 1, 1)
            left = A.adjoint(A.forward(z) - y) + weight * (z - x)
            # Of a blur next to nothing is left of the finest detail: iterations end before that.
            assert left.abs().max() < (2e-4 if weight.min() > 1e-3 else 1e-2), (name, rho)
        again = operator(name, **OPERATORS[name]).forward(x)
        assert torch.equal(again, A.forward(x))  # what is random in it is the same everywhere


@real
def test_a_job_restores_what_the_library_measured(ray_cluster, tmp_path, tiny_model):
    import deepinv

    physics = deepinv.physics.Downsampling(img_size=(3, 48, 64), filter="gaussian", factor=2)
    clean = np.asarray(photograph(64, 48))
    x = torch.from_numpy(clean.copy()).permute(2, 0, 1)[None] / 255
    small = (physics.A(x)[0].permute(1, 2, 0).clamp(0, 1) * 255).round().byte().numpy()
    (tmp_path / "in").mkdir()
    Image.fromarray(small).save(tmp_path / "in" / "a.png")
    write_manifest(build(str(tmp_path / "in")), str(tmp_path / "m.parquet"))
    content = {
        "manifest": str(tmp_path / "m.parquet"),
        "output": str(tmp_path / "out"),
        "task": {**task("Downsampling", filter="gaussian", factor=2), "noise_level": 0.01},
        "sampler": {"nfe": 8},
        "actors": 1,
    }
    spec = JobSpec.model_validate(content)
    with pytest.raises(PipelineError, match="add --allow-code deepinv"):
        run_job(spec)
    assert run_job(spec, allow_code=["deepinv"]).ok == 1
    (row,) = ds.dataset(tmp_path / "out" / "results", format="parquet").to_table().to_pylist()
    found = decoded(row["restored"]["bytes"])
    assert found.shape == clean.shape and row["residual"] < 1.5
    again = physics.A(torch.from_numpy(found.copy()).permute(2, 0, 1)[None] / 255)
    assert np.abs(again[0].permute(1, 2, 0).numpy() * 255 - small).mean() < 4
    enlarged = np.abs(small.repeat(2, 0).repeat(2, 1).astype(int) - clean).mean()
    assert np.abs(found.astype(int) - clean).mean() < enlarged
    benchmark = spec_of(task("Blur", filter=BLUR, padding="circular"), mode="benchmark")
    (picture,), _ = restored(benchmark, tiny_model, [{"image": clean}])
    assert picture.shape == clean.shape


@real
@pytest.mark.parametrize(
    "name, options, words",
    [
        ("Haze", {}, "deepinv:Haze is no linear operator; expected a linear one"),
        ("NoSuch", {}, "deepinv:NoSuch is not there"),
        ("Blur", {"filter": {"os.system": {}}}, r"task\.options\.filter: expected a value"),
        ("Blur", {"filter": {"gaussian_blur": {"std": 2}}}, "unexpected keyword argument 'std'"),
        ("Blur", {"filter": {}}, r"task\.options\.filter: expected a value"),
    ],
)
def test_what_is_no_operator_is_refused_in_words(name, options, words):
    with pytest.raises(PipelineError, match=words):
        operator(name, **options)


def test_a_job_that_wants_an_absent_library_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "deepinv", None)
    source_digest.cache_clear()
    spec = spec_of(task("Blur"))
    with pytest.raises(PipelineError, match=r"task\.operator: deepinv:Blur: .*deepinv.*install it"):
        code_digests(spec)
    source_digest.cache_clear()
