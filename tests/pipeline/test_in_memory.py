"""Images restored in one call, in this process: the results of jobs, and nothing of Ray."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
from PIL import Image

from diffpir.kernels import gaussian_kernel
from manifests.build import build, write_manifest
from pipeline import PipelineError, RestoredImages, RowError, restore_images
from pipeline.in_memory.given import inputs_of
from pipeline.in_memory.restore import OF_JOB
from pipeline.pictures.jpeg import compressed
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from pipeline.tasks import TASKS
from tests.pictures import photograph, save_kinds

# A network with random weights explains nothing.
pytestmark = pytest.mark.filterwarnings("ignore:.*(do not explain what was|have less noise than)")
PHOTO = np.asarray(photograph())
KERNEL = gaussian_kernel(5, 1.0)
MASK = np.random.default_rng(0).random(PHOTO.shape[:2]) < 0.6


class Halves:
    """The left half of a scene."""

    def forward(self, x):
        return x[..., : x.shape[-1] // 2]

    def adjoint(self, y):
        return torch.nn.functional.pad(y, (0, y.shape[-1]))


# What is given for each task: an image, and the settings.
GIVEN = {
    "denoise": (PHOTO, {"noise_level": 0.1}),
    "deblur": (PHOTO, {"kernel": KERNEL, "noise_level": 0.02}),
    "sr": (PHOTO[::2, ::2], {"factor": 2, "noise_level": 0.02}),
    "inpaint": (PHOTO, {"mask": MASK}),
    "colorize": (PHOTO[..., 1], {}),
    "demosaic": (PHOTO[..., 1], {"noise_level": 0.01}),
    "jpeg": (compressed(PHOTO, quality=20, sampling="4:2:0"), {}),
    "declip": (PHOTO, {}),
    "dequantize": (PHOTO // 64 * 64, {}),
    "linear": (PHOTO, {"operator": Halves(), "noise_level": 0.01}),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_task_restores(task, tiny_model):
    image, settings = GIVEN[task]
    result = restore_images(image, task, model=tiny_model, nfe=2, device="cpu", **settings)
    height, width = PHOTO.shape[:2]
    assert result.image.shape == (height, 2 * width if task == "linear" else width, 3)
    assert result.image.dtype == np.uint8 and result.residual >= 0
    assert not result.metrics  # without a reference


def test_results_are_those_of_a_job(ray_cluster, tiny_model, tmp_path):
    kinds = save_kinds(tmp_path / "photos")
    kept = ("rgb.png", "grey.png", "jpeg.jpg", "turned.jpg", "cmyk.jpg", "sixteen.tif")
    for name in kinds.keys() - {*kept}:
        kinds.pop(name).unlink()
    kinds["wide.png"] = tmp_path / "photos" / "wide.png"
    photograph(64, 56).save(kinds["wide.png"])
    np.save(tmp_path / "k.npy", KERNEL)
    sampler = {"nfe": 3, "zeta": 0.7}
    spec = JobSpec.model_validate(
        {
            "manifest": str(tmp_path / "m.parquet"),
            "output": str(tmp_path / "out"),
            "task": {"kind": "deblur", "kernel": str(tmp_path / "k.npy"), "noise_level": "auto"},
            "model": tiny_model,
            "sampler": sampler,
            "seed": 7,
            "samples": 2,
            "shard_rows": len(kinds),
        }
    )
    write_manifest(build(str(tmp_path / "photos")), spec.manifest)
    run_job(spec)
    rows = ds.dataset(tmp_path / "out" / "results").to_table().to_pylist()
    done = {row["id"]: row for row in rows}
    assert all(row["status"] == "ok" for row in rows) and len(done) == len(kinds)

    # In the order of the manifest: sums are rounded as in the job where batches are the same.
    kinds = dict(sorted(kinds.items()))
    ids = [path.stem if path.stem in done else path.name for path in kinds.values()]
    settings = {"model": tiny_model, "seed": 7, "samples": 2, "noise_level": "auto", **sampler}
    settings |= {"kernel": KERNEL, "device": "cpu"}
    from_files = restore_images(list(kinds.values()), "deblur", ids=ids, **settings)
    opened = [Image.open(path) for path in kinds.values()]
    from_memory = restore_images(opened, "deblur", ids=ids, **settings)
    for name, file, memory in zip(ids, from_files, from_memory, strict=True):
        stored = np.asarray(Image.open(io.BytesIO(done[name]["restored"]["bytes"])))
        assert np.array_equal(file.image, stored), name
        assert np.array_equal(memory.image, stored), name
        assert file.residual == memory.residual == done[name]["residual"]
    one = restore_images(opened[0], "deblur", ids=ids[:1], **settings)
    assert np.abs(one.image.astype(int) - from_files[0].image).max() <= 1
    other = restore_images(opened[0], "deblur", ids=ids[:1], **settings | {"seed": 8})
    assert np.abs(other.image.astype(int) - one.image).max() > 1


def test_an_image_is_the_same_however_it_is_given(tmp_path):
    task = {"kind": "denoise", "noise_level": 0.1}
    spec = JobSpec.model_validate({"manifest": "m", "output": "o", "task": task})
    for name, path in save_kinds(tmp_path).items():
        expected = inputs_of(str(path), {}, spec, 3).image
        with Image.open(path) as image:
            given = [path.read_bytes(), path, image, expected]
            found = [inputs_of(one, {}, spec, 3).image for one in given]
        if expected.ndim == 3:
            found.append(inputs_of(torch.tensor(expected).permute(2, 0, 1), {}, spec, 3).image)
        assert all(np.array_equal(one, expected) for one in found), name
        assert all(one.dtype == expected.dtype for one in found), name


def test_several_images_of_any_sizes_with_kernels_and_masks_of_their_own(tiny_model):
    images = [PHOTO, PHOTO[:32], PHOTO[:, :24]]
    masks = [MASK, torch.from_numpy(MASK[:32]), Image.fromarray(MASK[:, :24])]
    settings = {"task": "inpaint", "model": tiny_model, "nfe": 2, "device": "cpu"}
    results = restore_images(images, mask=masks, reference=images, **settings)
    assert isinstance(results, RestoredImages)
    assert [image.shape for image in results.images] == [image.shape for image in images]
    for image, mask, result in zip(images, masks, results, strict=True):
        known = np.asarray(mask)
        assert np.array_equal(result.image[known], image[known])  # without noise: kept exactly
        assert result.metrics["psnr"] > 0 and result.outcome["hidden"] == pytest.approx(
            1 - known.mean()
        )
    stack = np.stack([PHOTO, PHOTO])
    assert len(restore_images(stack, mask=MASK, **settings)) == 2
    assert restore_images([], "denoise") == []


@pytest.mark.parametrize("method", ["diffpir", "diffpir-spectral", "hqs", "ddrm", "daps", "dps"])
def test_progress_counts_the_evaluations_of_each_image(method):
    calls = []
    restore_images(
        PHOTO,
        noise_level=0.1,
        method=method,
        nfe=5,
        samples=2,
        device="cpu",
        progress=lambda done, total: calls.append((done, total)),
    )
    assert [done for done, _ in calls] == [2, 4, 6, 8, 10]
    assert {total for _, total in calls} == {10}


def test_every_setting_of_a_job_that_concerns_an_image_can_be_given():
    of_datasets = {
        "manifest", "columns", "output", "task", "model", "sampler", "perceptual", "images",
        "actors", "gpus", "cpus", "memory", "resources", "autoscaling", "step_cpus", "shard_rows",
        "fetch", "decode_seconds", "max_manifest_bytes", "allowed_schemes", "allowed_hosts",
    }  # fmt: skip
    assert {*OF_JOB} == JobSpec.model_fields.keys() - of_datasets


def test_a_benchmark_degrades_restores_and_scores():
    result = restore_images(PHOTO, mode="benchmark", noise_level=0.2, device="cpu", nfe=6)
    assert np.array_equal(result.reference, PHOTO)
    assert not np.array_equal(result.before, PHOTO)
    assert result.metrics["psnr"] > result.metrics["baseline_psnr"] + 3
    assert "psnr" in repr(result)


@pytest.mark.parametrize(
    "images, settings, error, words",
    [
        (PHOTO, {"task": "blur"}, PipelineError, "task: 'blur' is none of"),
        (PHOTO, {"noise_levl": 0.1}, PipelineError, "did you mean noise_level"),
        (PHOTO, {"noise_level": 25}, PipelineError, "noise_level: .* 0.098"),
        (PHOTO, {"noise_level": 0.1, "nfe": 1}, PipelineError, "nfe"),
        (PHOTO, {"task": "sr", "noise_level": 0}, PipelineError, "factor: required"),
        (PHOTO, {"task": "inpaint"}, PipelineError, "mask: required"),
        (PHOTO, {"noise_level": 0.1, "model": "no.pt"}, PipelineError, "model: .*no.pt"),
        (PHOTO, {"noise_level": 0.1, "ids": "ab"}, PipelineError, "ids: 2 .* 1 images"),
        ([PHOTO] * 2, {"task": "inpaint", "mask": [MASK]}, PipelineError, "mask: 1 .* 2 images"),
        ([PHOTO, PHOTO / 2.0], {"noise_level": 0.1}, RowError, r"images\[1\]: .*range"),
        ([PHOTO, "no.png"], {"noise_level": 0.1}, RowError, r"images\[1\]: .*no.png"),
        ([PHOTO, None], {"noise_level": 0.1}, RowError, r"images\[1\]: NoneType is no image"),
        (PHOTO[..., :2], {"noise_level": 0.1}, RowError, "2 channels"),
        (PHOTO, {"task": "jpeg"}, RowError, "path, or its bytes"),
        (PHOTO, {"task": "inpaint", "mask": MASK[1:]}, RowError, "the mask is 48 x 39"),
        (PHOTO, {"task": "inpaint", "mask": [b"no"]}, RowError, r"images\[0\]: mask: .*image"),
        (PHOTO, {"noise_level": 0, "reference": "no.png"}, RowError, "reference: .*no.png"),
        (
            PHOTO, {"task": "deblur", "noise_level": 0, "kernel": -KERNEL}, RowError, "negative",
        ),
        (PHOTO, {"task": "linear", "noise_level": 0, "operator": 3}, PipelineError, "forward"),
    ],
)  # fmt: skip
def test_faults_are_told_in_words_before_any_work(images, settings, error, words, tiny_model):
    calls = []
    settings = {"model": tiny_model} | settings
    with pytest.raises(error, match=words):
        restore_images(images, progress=lambda *told: calls.append(told), **settings)
    assert not calls


def test_what_is_doubtful_is_said_as_a_warning(tiny_model):
    with pytest.warns(UserWarning, match="next to nothing of a picture"):
        restore_images(PHOTO, noise_level=0.9, model=tiny_model, nfe=2, device="cpu")


def test_a_notebook_is_shown_before_after_and_settings(tiny_model):
    settings = {"nfe": 2, "device": "cpu", "model": tiny_model}
    results = restore_images(
        [PHOTO[::2, ::2], PHOTO[:20, :20]], "sr", factor=2, noise_level=0.02,
        reference=[PHOTO, PHOTO[:40, :40]], **settings,
    )  # fmt: skip
    page = results._repr_html_()
    data = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    sizes = [Image.open(io.BytesIO(base64.b64decode(one))).size for one in data]
    assert sizes == [(24, 20), (48, 40), (48, 40), (20, 20), (40, 40), (40, 40)]
    assert re.findall(r'alt="(\w+)"', page) == ["before", "after", "reference"] * 2
    assert f"psnr {results[0].metrics['psnr']:.4g} dB" in page and "<td>factor</td>" in page
    assert results[0]._repr_html_().count("<img") == 3
    wide = restore_images(np.zeros((16, 800), np.uint8), noise_level=0.1, **settings)
    shown = re.search(r"base64,([^\"]*)", wide._repr_html_())[1]
    assert Image.open(io.BytesIO(base64.b64decode(shown))).size == (384, 8)
