"""The speed of a job is measured on crops that its task can be done on."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from jobs.specfile import make_job
from manifests.build import build, write_manifest
from manifests.read import read_manifest
from pipeline.arrays import unpack
from pipeline.flow.flow import encoding, loading, restoring
from pipeline.flow.resources import Resources
from pipeline.flow.source import block_of
from pipeline.outlook.crops import cropped
from pipeline.outlook.speed import _measured, _shortened
from pipeline.pictures.jpeg_array import from_array
from pipeline.prepare import check
from tests.pictures import photograph

RESOURCES = Resources(1, 1, 2**17, 1, {"CPU": 0.2}, {"num_cpus": 0.5})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    (folder / "in").mkdir()
    for name in ("a", "b", "c"):
        photograph(180, 150).save(folder / "in" / f"{name}.jpg", quality=80)
    write_manifest(build(str(folder / "in")), str(folder / "m.parquet"))
    mask = np.ones((150, 180), np.uint8)
    mask[145:148, 160:163] = 0  # far from where a crop begins
    np.save(folder / "mask.npy", mask)
    np.save(folder / "kernel.npy", np.ones((140, 3)))  # larger than the first crop
    return folder


def job(folder, model, **settings):
    values = {"manifest": f"{folder}/m.parquet", "output": f"{folder}/out", "model": model}
    return check(make_job(values | {"sampler": {"nfe": 2}} | settings, "job"))


@pytest.mark.parametrize(
    "task, enlarged",
    [
        ({"kind": "inpaint", "mask": "MASK", "noise_level": 0.1}, 1),
        ({"kind": "deblur", "kernel": "KERNEL", "boundary": "circular", "noise_level": 0.1}, 1),
        ({"kind": "sr", "factor": 2, "boundary": "circular", "noise_level": 0.1}, 2),
        ({"kind": "jpeg"}, 1),
    ],
)
def test_parts_of_the_images_are_restored_whatever_the_task(folder, tiny_model, task, enlarged):
    files = {"MASK": f"{folder}/mask.npy", "KERNEL": f"{folder}/kernel.npy"}
    task = {name: files.get(value, value) for name, value in task.items()}
    checked = job(folder, tiny_model, task=task)
    spec, scale = _shortened(checked.spec, 2)
    rows = read_manifest(checked.spec.manifest).slice(0, 1)
    steps = loading(checked), restoring(checked, spec, RESOURCES), encoding(spec)
    speed, spent = _measured(*steps, rows, enlarged)
    assert (scale, speed.device, speed.images) == (1, "1 CPU thread", 1)
    assert speed.pixels == 180 * 150 * enlarged**2
    assert 0 < speed.restoring * 128**2 * enlarged**2 < spent
    assert speed.seconds(1e6, 2) < speed.seconds(1e6, 1)


def test_many_evaluations_and_samples_are_measured_on_few(folder, tiny_model):
    settings = {"samples": 3, "uncertainty": True, "sampler": {"nfe": 100}}
    checked = job(folder, tiny_model, task={"kind": "denoise", "noise_level": 0.1}, **settings)
    spec, scale = _shortened(checked.spec, 100)
    assert (spec.samples, spec.sampler.nfe, scale) == (1, 25, 12)


def test_a_crop_of_a_jpeg_file_is_what_a_smaller_file_would_store(folder, tiny_model):
    checked = job(folder, tiny_model, task={"kind": "jpeg"})
    loaded = loading(checked)(block_of(read_manifest(checked.spec.manifest)))
    crops, _ = cropped(loaded, 128)
    whole, part = (from_array(unpack(table["stored"])[0]) for table in (loaded, crops))
    assert part.size == (128, 128) and len(part.coefficients) == 3
    for blocks, all_blocks, shape in zip(
        part.coefficients, whole.coefficients, [(16, 16), (8, 8), (8, 8)], strict=True
    ):
        assert blocks.shape[:2] == shape
        np.testing.assert_array_equal(blocks, all_blocks[: shape[0], : shape[1]])
    with io.BytesIO() as file:
        Image.fromarray(unpack(crops["image"])[0]).save(file, "JPEG", quality=80)
        assert Image.open(file).size == (128, 128)
