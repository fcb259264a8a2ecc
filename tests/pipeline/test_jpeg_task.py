"""The task ``jpeg``: from files as they are to pictures that honour them."""

from __future__ import annotations

import io

import numpy as np
import pyarrow.dataset as ds
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms, ImageOps
from pydantic import ValidationError

from diffpir.config import SamplerConfig
from diffpir.schedule import Schedule
from manifests.build import build, write_manifest
from pipeline.fence.decoders import read_jpeg
from pipeline.pictures.jpeg import compressed
from pipeline.pictures.jpeg_array import from_array, to_array
from pipeline.restoring.problem import baseline_of, build_problem, operator_of
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.tasks.row import Inputs, to_tensor
from tests.pictures import photograph

SAMPLINGS = ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1")


def job(**given) -> JobSpec:
    usual = {"manifest": "m.parquet", "output": "out", "task": {"kind": "jpeg"}}
    return JobSpec.model_validate(usual | given)


def benchmark(picture: np.ndarray, **task):
    spec = job(mode="benchmark", task={"kind": "jpeg", **task})
    return build_problem({"id": "a", "image": "x"}, Inputs(picture), spec, Assets())


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(SAMPLINGS), st.integers(1, 100), st.integers(8, 50), st.integers(8, 50),
    st.booleans(),
)  # fmt: skip
def test_the_true_picture_honours_its_file(sampling, quality, width, height, grey):
    picture = photograph(width, height)
    pixels = np.asarray(picture.convert("L") if grey else picture)
    problem = benchmark(pixels, quality=quality, sampling=sampling)
    operator = operator_of([problem])
    # Encoders round colours before they transform them; and continue pictures in their own way.
    share = operator.kept(to_tensor(pixels)).item()
    assert share > (0.98 if width % 32 == height % 32 == 0 else 0.9)
    # And what is shown without a prior is what libjpeg decodes.
    data = compressed(pixels, quality=quality, sampling=sampling)
    decoded = np.asarray(Image.open(io.BytesIO(data)))
    assert torch.equal(baseline_of(problem), to_tensor(decoded))


@settings(deadline=None)
@given(st.integers(0, 2**32))
def test_arrays_of_files_come_back(seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (*rng.integers(1, 40, 2), 3), np.uint8)
    jpeg = read_jpeg(compressed(pixels, quality=int(rng.integers(1, 101))), max_pixels=10**6)
    back = from_array(to_array(jpeg))
    assert (back.sampling, back.size, back.orientation) == (jpeg.sampling, jpeg.size, 1)
    for one, other in zip(
        (*back.coefficients, *back.tables), (*jpeg.coefficients, *jpeg.tables), strict=True
    ):
        assert np.array_equal(one, other)


def test_coarser_tables_start_from_more_noise():
    scales = [benchmark(np.asarray(photograph(32, 32)), quality=q).scale for q in (5, 20, 60, 95)]
    assert scales == sorted(scales, reverse=True) and scales[0] > 5 * scales[-1]


@given(st.floats(1e-4, 10), st.integers(2, 50))
def test_scaled_settings_are_sound(factor, nfe):
    schedule = Schedule.linear()
    config = SamplerConfig(nfe=nfe, spacing="karras", sigma_max=3.0, sigma_min=0.3)
    scaled = config.scaled(factor, schedule)
    steps = scaled.timesteps(schedule)
    assert 2 <= len(steps) <= nfe and steps == sorted(steps, reverse=True)
    assert len(steps) == nfe or steps[0] - steps[-1] < nfe
    quad = SamplerConfig(nfe=nfe)
    assert quad.scaled(factor, schedule) == quad


@pytest.mark.parametrize(
    "given, words",
    [
        ({"task": {"kind": "jpeg", "noise_level": 0.1}}, "jpeg takes none"),
        ({"task": {"kind": "jpeg", "quality": 10}}, "it belongs to mode benchmark"),
        ({"mode": "benchmark"}, "a benchmark compresses with one"),
        ({"sampler": {"method": "diffpir-spectral"}}, "has no data step for jpeg"),
    ],
)
def test_what_does_not_go_together_is_refused(given, words):
    with pytest.raises(ValidationError, match=words):
        job(**given)


def saved(picture: Image.Image, path, **options) -> None:
    picture.save(path, "JPEG", **options)


@pytest.fixture(scope="module")
def outcome(ray_cluster, tmp_path_factory, tiny_model):
    """Rows of a job over files of many kinds, by id."""
    folder = tmp_path_factory.mktemp("jpeg")
    (folder / "in").mkdir()
    source = folder / "in"
    saved(photograph(48, 40), source / "plain.jpg", quality=20)
    saved(photograph(37, 51), source / "odd.jpg", quality=5)
    saved(photograph(48, 40).convert("L"), source / "grey.jpg", quality=30)
    saved(photograph(48, 40), source / "fine.jpg", quality=100, subsampling="4:4:4")
    saved(photograph(48, 40), source / "progressive.jpg", quality=40, progressive=True)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        saved(photograph(40, 24), source / f"turned-{orientation}.jpg", quality=50, exif=exif)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    saved(photograph(32, 32), source / "profile.jpg", quality=50, icc_profile=profile)
    photograph(48, 40).save(source / "other.png")
    photograph(48, 40).convert("CMYK").save(source / "inks.jpg")
    data = (source / "plain.jpg").read_bytes()
    (source / "cut.jpg").write_bytes(data[: len(data) // 2])
    write_manifest(build(str(source)), str(folder / "m.parquet"))
    spec = job(
        manifest=str(folder / "m.parquet"), output=str(folder / "out"), model=tiny_model,
        actors=1, shard_rows=6,
    )  # fmt: skip
    run_job(spec)
    table = ds.dataset(folder / "out" / "results", format="parquet").to_table()
    return source, {row["id"]: row for row in table.to_pylist()}


def test_files_of_many_kinds(outcome):
    source, rows = outcome
    for name in ("plain", "odd", "grey", "fine", "progressive", "profile"):
        row = rows[name]
        assert row["status"] == "ok", (name, row["error"])
        # Even a network that knows nothing can leave what the file says by clipping alone.
        assert row["residual"] > 0.9, (name, row["residual"])
        found = Image.open(io.BytesIO(row["restored"]["bytes"]))
        with Image.open(source / f"{name}.jpg") as given:
            assert (found.size, found.mode) == (given.size, given.mode)
    assert "icc_profile" in Image.open(io.BytesIO(rows["profile"]["restored"]["bytes"])).info


def test_what_is_no_such_file_is_its_rows_error(outcome):
    _, rows = outcome
    kinds = {name: rows[name]["error_kind"] for name in ("other", "inks", "cut")}
    assert kinds == {"other": "wrong_format", "inks": "wrong_format", "cut": "damaged"}
    assert "PNG" in rows["other"]["error"]


def test_turned_files_come_out_upright(outcome):
    source, rows = outcome
    for orientation in range(1, 9):
        row = rows[f"turned-{orientation}"]
        found = Image.open(io.BytesIO(row["restored"]["bytes"]))
        with Image.open(source / f"turned-{orientation}.jpg") as given:
            upright = ImageOps.exif_transpose(given)
        assert found.size == upright.size
        pixels = (np.asarray(picture, float).ravel() for picture in (found, upright))
        assert np.corrcoef(*pixels)[0, 1] > 0.8, orientation  # the same scene, the same way up


def test_the_embedded_prior_takes_compression_away(ray_cluster, tmp_path):
    photograph(96, 96, "coffee").save(tmp_path / "a.png")
    write_manifest(build(str(tmp_path / "a.png")), str(tmp_path / "m.parquet"))
    spec = job(
        manifest=str(tmp_path / "m.parquet"), output=str(tmp_path / "out"), mode="benchmark",
        task={"kind": "jpeg", "quality": 10}, actors=1,
    )  # fmt: skip
    assert run_job(spec).ok == 1
    (row,) = ds.dataset(tmp_path / "out" / "results", format="parquet").to_table().to_pylist()
    assert row["psnr"] > row["baseline_psnr"] + 0.5
    assert row["residual"] > 0.99
