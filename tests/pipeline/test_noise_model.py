"""Noise that is not the same everywhere, from what jobs and rows say of it to results."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
import torch

from diffpir import metrics
from diffpir.noise_model import NoiseModel
from manifests.schema import normalise
from pipeline.errors import RowError
from pipeline.restoring.problem import build_problem, files_of, operator_of
from pipeline.steps.load import Load
from pipeline.tasks.assets import Assets
from pipeline.tasks.noise import row_noise
from pipeline.tasks.row import Inputs
from tests.pipeline.test_tasks import photo, restored, spec_of

MODEL = {"gaussian": 0.01, "poisson": 0.02}
KERNEL = {"gaussian": {"size": 9, "std": 1.5}}
TASKS = {
    "denoise": {},
    "deblur": {"kernel": KERNEL},
    "deblur, unknown": {"kernel": KERNEL, "boundary": "unknown"},
    "sr": {"factor": 2},
    "inpaint": {"mask": {"random": 0.5}},
    "demosaic": {},
}


def problem_of(task: dict, mode="benchmark", inputs: Inputs | None = None, **row):
    spec = spec_of({"noise_level": None, **task}, mode=mode)
    inputs = inputs or Inputs(photo(64, 48))
    return build_problem({"id": "a", "image": "x", **row}, inputs, spec, Assets())


@pytest.mark.parametrize("name", TASKS)
def test_a_benchmark_makes_the_noise_that_the_task_tells(name):
    task = {"kind": name.split(",")[0], **TASKS[name]}
    problem = problem_of({**task, "noise": MODEL})
    operator = operator_of([problem])
    scene = operator.initial(problem.y).clone()
    if name == "deblur, unknown":
        return  # the scene beyond the frame is not kept
    scene[:] = problem.reference
    fit = metrics.residual(scene, operator, problem.y, problem.noise)
    assert fit.item() == pytest.approx(1, abs=0.06)
    assert problem.noise_level == pytest.approx(0.1, abs=0.05)
    assert json.loads(problem.outcome["noise"]) == MODEL


@pytest.mark.parametrize("method", ["diffpir", "diffpir-spectral"])
@pytest.mark.parametrize("name", TASKS)
def test_both_methods_restore_by_it(name, method):
    task = {"noise_level": None, "kind": name.split(",")[0], **TASKS[name], "noise": MODEL}
    spec = spec_of(task, mode="benchmark", sampler={"method": method, "nfe": 8})
    _, table = restored(spec, "builtin", [{"image": photo(64, 48)}])
    outcome = table["outcome"].to_pylist()[0]
    assert outcome["psnr"] > outcome["baseline_psnr"]
    assert 0.5 < outcome["residual"] < 1.3
    assert json.loads(outcome["noise"]) == MODEL


def test_one_level_is_one_level_however_it_is_written():
    levels = [{"noise_level": 0.05}, {"noise": {"gaussian": 0.05}}]
    pictures = [
        restored(
            spec_of({"noise_level": None, "kind": "denoise", **level}),
            "builtin",
            [{"image": photo(48, 32)}],
        )[0][0]
        for level in levels
    ]
    assert np.array_equal(*pictures)
    of_channels = problem_of({"kind": "denoise", "noise": {"gaussian": [0.1, 0.05, 0.2]}})
    noise = of_channels.y - of_channels.reference
    assert noise.std(dim=(0, 2, 3)).tolist() == pytest.approx([0.1, 0.05, 0.2], rel=0.1)


def test_a_row_says_more_than_the_job():
    job = {"kind": "denoise", "noise": {"gaussian": 0.3}}
    written = problem_of(job, noise="{gaussian: 0.01, poisson: 0.02}")
    assert written.noise == NoiseModel(0.01, 0.02)
    assert problem_of(job, noise_level=0.1).noise == 0.1
    levels = np.linspace(0, 0.5, 64 * 48, dtype=np.float32).reshape(48, 64)
    by_map = problem_of(job, inputs=Inputs(photo(64, 48), noise_map=levels))
    assert by_map.outcome["noise"] is None
    assert by_map.noise_level == pytest.approx(np.sqrt((levels**2).mean()), rel=1e-3)
    noise = (by_map.y - by_map.reference) / torch.from_numpy(levels).clamp(min=1e-6)
    assert noise[..., 4:, :].std().item() == pytest.approx(1, abs=0.05)
    with pytest.raises(RowError, match="noise_level and noise_map: a row gives one of them"):
        problem_of(job, inputs=Inputs(photo(64, 48), noise_map=levels), noise_level=0.1)
    with pytest.raises(RowError, match=r"the noise map is 64 x 48 pixels, expected 32 x 24"):
        problem_of({"kind": "sr", "factor": 2}, inputs=Inputs(photo(64, 48), noise_map=levels))


def test_images_of_different_noise_share_a_job(tiny_model):
    """Each has its own, whatever the others of its batch have."""
    spec = spec_of({"noise_level": None, "kind": "denoise", "noise": MODEL})
    rows = [{"image": photo(40, 32)}, {"image": photo(40, 32, grey=True)}]
    both, _ = restored(spec, tiny_model, rows)
    other = [{"image": photo(16, 16)}]  # so that the row has the same number, and seed
    for i, (row, picture) in enumerate(zip(rows, both, strict=True)):
        (*_, alone), _ = restored(spec, tiny_model, [*(i * other), row])
        assert np.abs(alone.astype(int) - picture).max() <= 1


@pytest.mark.parametrize(
    "text, words",
    [
        ("{gaussian: 2}", "gaussian: must be a number from 0 to 1"),
        ("{gauss: 0.1}", "gauss: unknown field"),
        ("0.1", "one number for all is noise_level"),
        ("{map: m.npy}", "column noise_map"),
        ("{gaussian: [", "in YAML or JSON"),
    ],
)
def test_what_a_row_may_not_write(text, words):
    with pytest.raises(RowError, match=words):
        row_noise(text)
    with pytest.raises(RowError, match="noise: "):
        problem_of({"kind": "denoise", "noise_level": 0.1}, noise=text)


def test_levels_of_channels_are_for_pictures_that_have_them():
    task = {"kind": "denoise", "noise": {"gaussian": [0.1, 0.2, 0.3]}}
    with pytest.raises(RowError, match="the picture is grey"):
        problem_of(task, inputs=Inputs(photo(64, 48, grey=True)))
    mosaic = problem_of({**task, "kind": "demosaic"})
    levels = mosaic.noise.gaussian[0, 0, :2, :2]
    assert levels.flatten().tolist() == pytest.approx([0.1, 0.2, 0.2, 0.3])


@pytest.mark.parametrize("kind, most", [("denoise", 0.1), ("demosaic", 0.2)])
def test_it_is_estimated_from_the_image(kind, most):
    noisy = problem_of({"kind": kind, "noise": MODEL}, inputs=Inputs(photo(256, 256)))
    image = (noisy.y[0].permute(1, 2, 0).clamp(0, 1) * 65535).round().numpy().astype(np.uint16)
    image = image[..., 0] if kind == "demosaic" else image
    auto = {"kind": kind, "noise": {"gaussian": "auto", "poisson": "auto"}}
    told = problem_of(auto, mode="restore", inputs=Inputs(image))
    assert told.noise_level == pytest.approx(noisy.noise_level, rel=most)
    assert told.noise.poisson > 0.01
    with pytest.raises(RowError, match="belongs to mode restore"):
        problem_of({"kind": kind, "noise_level": 0.1}, noise="{gaussian: auto, poisson: auto}")


def test_manifests_name_maps_and_write_models_out(tmp_path):
    def array(levels) -> bytes:
        buffer = io.BytesIO()
        np.save(buffer, levels)
        return buffer.getvalue()

    for name, content in {
        "good.npy": array(np.full((32, 40), 0.1)),
        "high.npy": array(np.full((32, 40), 25.5)),
        "flat.npy": array(np.zeros(5)),
        "picture.npy": b"\x89PNG\r\n\x1a\n",
    }.items():
        (tmp_path / name).write_bytes(content)
    from PIL import Image

    Image.fromarray(photo(40, 32)).save(tmp_path / "a.png")
    maps = ["good.npy", "high.npy", "flat.npy", "picture.npy", None]
    rows = pa.table({"id": list("abcde"), "image": ["a.png"] * 5, "noise_map": maps})
    spec = spec_of({"noise_level": None, "kind": "denoise"})
    assert "noise_map" in files_of(spec)
    table = pa.table({"row": rows.to_struct_array(), "error": [""] * 5, "error_kind": [""] * 5})
    load = Load.of(spec, str(tmp_path), tuple(n for n in files_of(spec) if n != "reference"),
                   beside=False, channels=3)  # fmt: skip
    loaded = load(table)
    kinds = ["", "bad_noise_map", "bad_noise_map", "bad_noise_map", ""]
    assert loaded["error_kind"].to_pylist() == kinds, loaded["error"].to_pylist()
    structs = pa.array([{"gaussian": 0.01, "poisson": 0.02}])
    written = normalise(pa.table({"id": ["a"], "image": ["x"], "noise": structs}), "m.parquet")
    assert row_noise(written["noise"][0].as_py()).levels == (0.01, 0.02)
