"""Images of any channels and numbers: read, posed as problems, restored and written again."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from diffpir.checkpoints.checkpoint import save_model
from manifests.build import build
from pipeline.arrays import pack, unpack
from pipeline.errors import PipelineError, RowError
from pipeline.pictures.decode import decode_picture
from pipeline.pictures.encode import encode_picture
from pipeline.pictures.metadata import Metadata
from pipeline.pictures.pixel_mask import PixelMask
from pipeline.pictures.values import Values
from pipeline.prepare import check_channels, check_model
from pipeline.restoring.restorer import Restorer
from pipeline.schema import GENERATION, INDEX, SHARD
from pipeline.spec.job import JobSpec
from pipeline.spec.picture import PictureFile
from pipeline.steps.table import INPUTS
from pipeline.tasks.assets import Assets
from tests.pictures import photograph
from tests.support import TINY, make_net, versions_of

LUMA = np.array([0.299, 0.587, 0.114])
TYPES = {8: np.uint8, 16: np.uint16, 32: np.float32}


def numbers(bits: int, *shape: int) -> np.ndarray:
    drawn = np.random.default_rng(sum(shape)).random(shape)
    return drawn.astype(np.float32) if bits == 32 else (drawn * (2**bits - 1)).astype(TYPES[bits])


CONTIG = numbers(16, 60, 60, 5)


def as_tiff(values: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, **options)
    return buffer.getvalue()


def as_npy(values: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, values)
    return buffer.getvalue()


@given(
    st.sampled_from((1, 2, 3, 4, 5, 7)),
    st.sampled_from((8, 16, 32)),
    st.sampled_from(("tiff", "npy")),
    st.sampled_from(("", "first", "pages")),
)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_what_libraries_and_this_project_read(channels, bits, format, layout):
    image = numbers(bits, 24, 31, channels)
    image = image[:, :, 0] if channels == 1 else image
    data = encode_picture(
        image, PictureFile(format=format, bits=bits), None, Metadata(layout=layout)
    )
    assert data == encode_picture(
        image, PictureFile(format=format, bits=bits), None, Metadata(layout=layout)
    )
    pages = channels > 1 and (layout == "pages" or (layout == "first" and format == "npy"))
    read = np.load(io.BytesIO(data)) if format == "npy" else tifffile.imread(io.BytesIO(data))
    assert read.dtype == image.dtype
    assert np.array_equal(np.moveaxis(read, 0, 2) if pages else read, image)
    if format == "tiff" and pages and channels == 3:
        with pytest.raises(RowError, match="several frames or pages"):
            decode_picture(data)
        return
    again = decode_picture(data, channels=channels, numbers=bits == 32)
    assert np.array_equal(again.pixels, image)
    assert (again.metadata.layout != "") == pages


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("compression", [None, "lzw", "zlib"])
def test_tiffs_of_other_programs_are_read(planar, compression):
    options = {"photometric": "minisblack", "compression": compression, "bigtiff": True}
    image = numbers(16, 24, 31, 5)
    stored = image if planar == "contig" else np.moveaxis(image, 2, 0)
    data = as_tiff(stored, planarconfig=planar, resolution=(300, 600), resolutionunit=2, **options)
    picture = decode_picture(data, channels=5)
    assert np.array_equal(picture.pixels, image)
    assert picture.metadata.inches == pytest.approx((31 / 300, 24 / 600))


def test_four_samples_are_colours_for_a_prior_of_colours_and_channels_for_one_of_four():
    image = numbers(8, 12, 10, 4)
    data = as_tiff(image, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(decode_picture(data).pixels, image[:, :, :3])
    assert np.array_equal(decode_picture(data, channels=4).pixels, image)
    turned = as_tiff(image, photometric="rgb", extratags=[(274, 3, 1, 6, True)])
    assert np.array_equal(decode_picture(turned, channels=4).pixels, np.rot90(image, -1))


@pytest.mark.parametrize(
    "data, kind, text",
    [
        (as_npy(numbers(16, 40, 40))[:-200], "damaged", "the image cannot be read"),
        (b"\x93NUMPY\x01\x00 \x00nonsense", "damaged", "the image cannot be read"),
        (as_npy(np.array([None])), "bad_pixels", "expected integers or floating-point numbers"),
        (as_npy(np.full((9, 9), 1j)), "bad_pixels", "complex128"),
        (as_npy(np.zeros((2, 9, 9, 3))), "bad_pixels", r"the shape \(2, 9, 9, 3\)"),
        (as_npy(np.zeros((9, 0))), "bad_pixels", "an empty array"),
        (as_npy(np.full((9, 9), np.nan)), "bad_pixels", "NaN or infinity"),
        (as_npy(numbers(8, 200, 60)), "too_large", "60 x 200 pixels of 1 channels; 10000 pixels"),
        (as_npy(numbers(8, 60, 60, 20)), "too_large", "60 x 60 pixels of 20 channels"),
        (as_npy(numbers(8, 1, 1001, 1002)), "too_large", "1002"),
        (as_tiff(numbers(16, 5, 60, 60))[:-9000], "damaged", "cut short after page"),
        (as_tiff(CONTIG, planarconfig="contig")[:-9000], "damaged", "the image cannot be read"),
        (as_tiff(numbers(16, 5, 200, 60)), "too_large", "60 x 200 pixels of 5 channels"),
    ],
)
def test_what_is_wrong_with_an_array_is_said(data, kind, text):
    with pytest.raises(RowError, match=text) as e:
        decode_picture(data, channels=5, max_pixels=10_000)
    assert e.value.kind == kind


def test_the_hidden_values_of_an_array_are_told_by_its_numbers():
    image = numbers(16, 12, 10, 5) // 2
    image[3, 4, 1] = image[5, 6] = 60_000
    each = decode_picture(
        as_npy(image), channels=5, mask=PixelMask(values=(60_000,), channels="each")
    )
    assert np.array_equal(each.known, image != 60_000)
    floats = as_npy(image.astype(np.float32))
    whole = decode_picture(floats, channels=5, mask=PixelMask(values=(60_000,))).known
    assert whole.sum() == 119 and not whole[5, 6]
    with pytest.raises(RowError, match="names a colour, and the image has 5 channels") as e:
        decode_picture(as_npy(image), mask=PixelMask(colour=(1, 2, 3)))
    assert e.value.kind == "wrong_format"


def test_pages_of_different_sizes_are_no_channels():
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for height in (20, 30):
            file.write(numbers(8, height, 20), metadata=None)
    with pytest.raises(RowError, match="pages of different sizes") as e:
        decode_picture(buffer.getvalue(), channels=2)
    assert e.value.kind == "several_frames"


@given(
    st.sampled_from((8, 16, 32)),
    st.sampled_from((None, (0.0, 4095.0), (-3.5, 1200.0), (10.0, 90.0))),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_numbers_come_back_as_they_were(bits, range, seed):
    black, white = range or (0, {8: 255, 16: 65535, 32: 1}[bits])
    whole = bits < 32
    drawn = np.random.default_rng(seed).random((5, 6)) * (white - black) + black
    kind = TYPES[bits] if whole and black >= 0 and white < 2**bits else np.float32
    image = (drawn.round() if whole else drawn).astype(kind)
    values = Values(range, bits if kind != np.float32 else 32, kept=True)
    x = values.read(image)
    assert x.dtype == np.float32 and x.min() > -1e-6 and x.max() < 1 + 1e-6
    assert np.allclose(values.stored(x), image, rtol=1e-6, atol=(white - black) * 2e-7)
    assert values.stored(x).dtype == kind


@pytest.mark.parametrize(
    "range, image, text",
    [
        (None, np.float32([[0, 700.5]]), r"from 0 to 700.5; say in the job .* range: \[0, 700.5\]"),
        (None, np.int32([[5, 80]]), "int32 numbers from 5 to 80"),
        ((0, 255), np.uint16([[100, 3000, 4000]]), r"67% of them outside of the job's range"),
    ],
)
def test_numbers_of_an_unknown_range_are_an_error_in_words(range, image, text):
    with pytest.raises(RowError, match=text) as e:
        Values(range).read(image)
    assert e.value.kind == "bad_pixels"


@pytest.fixture(scope="module")
def priors(tmp_path_factory) -> dict[int, str]:
    folder = tmp_path_factory.mktemp("priors")
    return {
        c: str(
            save_model(
                make_net(replace(TINY, in_channels=c, out_channels=c)), folder / f"{c}.safetensors"
            )
        )
        for c in (1, 3, 5)
    }


def spec_of(model: str = "builtin", **settings) -> JobSpec:
    return JobSpec.model_validate(
        {
            "manifest": "m.csv",
            "output": "out",
            "task": {"kind": "denoise", "noise_level": 0.05},
            "model": model,
            "sampler": {"nfe": 3, "method": "diffpir", "first_timestep": 200},
            "precision": "fp32",
            **settings,
        }
    )


def restored(spec: JobSpec, images: list[np.ndarray], **columns) -> list[dict]:
    """The outcome of each image, with its picture and its error."""
    count = len(images)
    files = {"image": images, **columns}
    given = {name: pack(files.get(name, [None] * count)) for name in INPUTS}
    table = pa.table(
        {
            SHARD: pa.repeat(0, count),
            GENERATION: pa.repeat(0, count),
            INDEX: pa.array(range(count), pa.int64()),
            "row": pa.array([{"id": str(i), "image": "x"} for i in range(count)]),
            "error": pa.repeat("", count),
            "error_kind": pa.repeat("", count),
            **given,
        }
    )
    model = spec.model.path
    done = Restorer(spec, Assets(), model, versions_of(model), 2**16, 1)(table)
    pictures = zip(unpack(done["pixels"]), unpack(done["uncertainty_pixels"]), strict=True)
    return [
        {**row["outcome"], "error": row["error"], "kind": row["error_kind"], "picture": p, "std": u}
        for row, (p, u) in zip(
            done.select(["outcome", "error", "error_kind"]).to_pylist(), pictures, strict=True
        )
    ]


PHOTO = np.asarray(photograph(40, 32))
GREY = np.round(PHOTO @ LUMA).astype(np.uint8)


def test_a_grey_prior_keeps_pictures_as_they_are_grey_or_in_colours(priors):
    spec = spec_of(priors[1])
    same = np.repeat(GREY[:, :, None], 3, axis=2)
    grey, equal, colours, many = restored(spec, [GREY, same, PHOTO, np.dstack([PHOTO, PHOTO])])
    assert grey["picture"].shape == (32, 40) and colours["picture"].shape == (32, 40, 3)
    # Three equal channels are a grey picture, whose draws are those of its id.
    assert equal["picture"].shape == (32, 40, 3) and (np.ptp(equal["picture"], axis=2) == 0).all()
    (alone,) = restored(spec, [GREY])
    assert np.array_equal(alone["picture"], grey["picture"])
    assert np.ptp(colours["picture"], axis=2).max() > 20
    assert many["picture"] is not None or "png" in many["error"]


def test_the_noise_of_a_grey_picture_is_told_to_a_prior_of_colours_as_it_is():
    """It is the same in three equal channels, so that their sum has more than of independent ones.

    Taken for those, it was left in the picture: 0.76 of it, and 3 dB less.
    """
    picture = np.asarray(photograph(96, 96, "moon"))
    task = {"kind": "denoise", "noise_level": 0.1}
    spec = spec_of("builtin", task=task, sampler={"nfe": 5}, mode="benchmark", seed=1)
    (found,) = restored(spec, [picture])
    assert found["residual"] == pytest.approx(1, abs=0.08)


def test_luma_alone_is_restored_and_the_chroma_stays(priors):
    spec = spec_of(priors[1], channels="luma", picture={"format": "tiff", "bits": 32})
    (found,) = restored(spec, [PHOTO], reference=[PHOTO])
    picture = found["picture"]
    change = picture - PHOTO / 255
    inside = (picture > 0).all(axis=2) & (picture < 1).all(axis=2)
    assert inside.mean() > 0.5
    assert np.ptp(change, axis=2)[inside].max() < 1e-5  # the same for red, green and blue
    assert np.abs(change).max() > 0.01
    # The noise of a weighted sum of three channels is weaker than theirs; what is told is theirs.
    assert found["noise_level"] == 0.05 and found["psnr_y"] is not None
    samples = spec_of(priors[1], channels="luma", samples=2, uncertainty=True)
    several, grey = restored(samples, [PHOTO, GREY], reference=[PHOTO, GREY])
    assert several["std"].shape == (32, 40) and 0 <= several["within_2_std"] <= 1
    assert grey["picture"].shape == (32, 40) and grey["psnr_y"] is None


def test_luma_of_an_enlarged_picture_has_the_chroma_of_its_bicubic_enlargement(priors):
    task = {"kind": "sr", "factor": 2, "noise_level": 0.02}
    output = {"format": "tiff", "bits": 32}
    spec = spec_of(priors[1], channels="luma", task=task, picture=output)
    (found,) = restored(spec, [PHOTO])
    assert found["picture"].shape == (64, 80, 3)
    chroma = found["picture"] - (found["picture"] @ LUMA)[:, :, None]
    small = PHOTO / 255 - (PHOTO / 255 @ LUMA)[:, :, None]
    assert np.abs(chroma[::2, ::2] - small)[2:-2, 2:-2].mean() < 0.03


@pytest.mark.parametrize(
    "task",
    [
        {"kind": "jpeg", "quality": 40},
        {"kind": "denoise", "noise_level": 0.02, "then": "jpeg", "quality": 60},
        {"kind": "declip", "clipped": 0.2},
        {"kind": "dequantize", "levels": 8},
    ],
)
def test_bounds_hold_for_a_grey_prior_too(task, priors):
    settings = {"sampler": {}, "mode": "benchmark", "task": task}
    same = np.repeat(GREY[:, :, None], 3, axis=2)
    found = restored(spec_of(priors[1], **settings), [GREY, PHOTO, same])
    for row, image in zip(found, (GREY, PHOTO, same), strict=True):
        assert row["error"] == "" and row["picture"].shape == image.shape
        assert row["residual"] > 0.9


def test_thresholds_of_colours_are_for_colours(priors):
    task = {"kind": "declip", "high": (0.9, 0.8, 0.9)}
    grey, colours = restored(spec_of(priors[1], task=task, sampler={}), [GREY, PHOTO])
    assert "the image has 1 channels; expected 3" in grey["error"] and colours["error"] == ""


def test_scores_that_need_three_channels_are_null_for_others(priors):
    five = np.dstack([GREY, PHOTO, GREY])
    output = {"format": "npy", "bits": 16}
    for model, image in ((5, five), (1, five), (1, GREY)):
        (found,) = restored(spec_of(priors[model], picture=output), [image], reference=[image])
        assert found["error"] == "" and found["picture"].shape == image.shape
        assert found["psnr"] > 0 and found["ssim"] is not None and found["psnr_y"] is None
    for model in (1, 3):  # grey against colours is compared with each of them
        (found,) = restored(spec_of(priors[model]), [GREY], reference=[PHOTO])
        assert found["psnr_y"] is not None


def test_channels_that_do_not_match_are_their_rows_error(priors):
    five = np.dstack([GREY, PHOTO, GREY])
    output = {"format": "npy"}
    found = restored(spec_of(priors[5], picture=output), [five, PHOTO, GREY, five[:, :, :4]])
    assert [row["kind"] for row in found] == ["", *["wrong_format"] * 3]
    assert found[1]["error"] == "the image has 3 channels, and the prior takes 5"
    assert found[2]["error"] == "the image has 1 channel, and the prior takes 5"
    (found,) = restored(spec_of(priors[3]), [five])
    assert found["error"] == "the image has 5 channels, and the prior takes 3"
    (found,) = restored(spec_of(priors[1], channels="luma"), [five])
    assert found["error"] == "the image has 5 channels, and channels: luma is for colours (3)"
    (found,) = restored(spec_of(priors[1]), [five], reference=[PHOTO])
    assert found["error"] == "the reference has 3 channels, and the image 5"


def test_numbers_in_a_declared_range_are_restored_in_it(priors):
    spec = spec_of(
        priors[1], range=(100, 4100), picture={"format": "tiff", "bits": 16}, mode="benchmark"
    )
    image = (100 + GREY.astype(np.float64) / 255 * 4000).round().astype(np.uint16)
    usual, ranged = restored(spec_of(priors[1], mode="benchmark"), [GREY]), restored(spec, [image])
    assert ranged[0]["picture"].dtype == np.uint16
    known = usual[0]["picture"] / 255 * 4000 + 100
    assert np.abs(ranged[0]["picture"] - known).max() < 4000 / 255  # rounded to 8 bits
    assert ranged[0]["psnr"] == pytest.approx(usual[0]["psnr"], abs=0.1)


def test_a_job_that_does_not_go_with_its_priors_channels_is_refused(priors):
    refused = {
        3: [({"channels": "each"}, "channels: each is for priors of one channel")],
        1: [({"task": {"kind": "colorize"}}, "colorize gives colours, .* takes 1")],
        5: [
            ({}, "picture: png holds 1 or 3 channels, and this prior takes 5"),
            ({"task": {"kind": "jpeg"}}, "jpeg reads files of 1 or 3 channels"),
            ({"task": {"kind": "demosaic", "noise_level": 0}}, "gives colours"),
        ],
    }
    for channels, cases in refused.items():
        for changes, text in cases:
            spec = spec_of(priors[channels], sampler={}, **changes)
            with pytest.raises(PipelineError, match=text):
                check_channels(spec, channels)
    spectral = {"sampler": {"method": "diffpir-spectral"}, "picture": "tiff"}
    with pytest.raises(PipelineError, match=r"of colours \(3 channels\) or of greys \(1\)"):
        check_model(spec_of(priors[5], **spectral))
    prior = check_model(spec_of(priors[5], picture="tiff"))
    assert (prior.channels, prior.config.method) == (5, "diffpir")


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"range": (5, 5)}, "range: expected two numbers"),
        ({"range": (0, 4095), "picture": "tiff"}, r"8 bits .* write bits: 16, or 32"),
        ({"range": (0, 1), "picture": {"format": "npy", "bits": 16}}, "write bits: 32"),
        ({"range": (0, 255), "task": {"kind": "jpeg"}}, "range: it does not go with jpeg"),
        ({"channels": "luma", "task": {"kind": "jpeg"}}, "luma does not go with jpeg"),
        ({"picture": {"format": "png", "bits": 32}}, "no floating-point numbers"),
        ({"picture": {"format": "npy", "quality": 3}}, "npy is lossless"),
    ],
)
def test_a_wrong_range_or_channels_is_refused(changes, text):
    with pytest.raises(ValidationError, match=text):
        spec_of(**({"sampler": {}} | changes))


def test_a_picture_of_other_channels_does_not_fit_a_png():
    with pytest.raises(RowError, match="has 5 channels, and png holds 1 or 3") as e:
        encode_picture(numbers(8, 9, 9, 5), PictureFile())
    assert e.value.kind == "wrong_format"


def test_arrays_of_a_folder_are_images_where_nothing_else_is(tmp_path: Path):
    np.save(tmp_path / "a.npy", numbers(16, 5, 20, 30))
    np.save(tmp_path / "b.npy", numbers(16, 20, 30))
    table = build(str(tmp_path))
    assert table["id"].to_pylist() == ["a", "b"]
    assert table["width"].to_pylist() == [30, 30] and table["height"].to_pylist() == [20, 20]
    Image.fromarray(GREY).save(tmp_path / "photo.png")
    assert build(str(tmp_path))["id"].to_pylist() == ["photo"]
    assert build(f"{tmp_path}/*.npy")["id"].to_pylist() == ["a", "b"]
