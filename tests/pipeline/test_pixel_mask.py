"""Masks from the pixels themselves: from files of every kind to restored and written pictures."""

from __future__ import annotations

import io
import re

import imagecodecs
import numpy as np
import pyarrow as pa
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pydantic import ValidationError

from diffpir.masks import grown
from pipeline.fence.decoders import decode_picture
from pipeline.pictures.decode import UPRIGHT
from pipeline.pictures.pixel_mask import PixelMask, known_pixels
from pipeline.restoring.restorer import Restorer
from pipeline.schema import GENERATION, HIDDEN, INDEX, SHARD
from pipeline.spec.job import JobSpec
from pipeline.steps.encode import Encode
from pipeline.steps.load import Load
from pipeline.tasks.assets import Assets
from pipeline.tasks.masks import Mask
from tests.pictures import photograph
from tests.support import versions_of

FEW = settings(max_examples=60, deadline=None)
PLACES = ([3, 5, 11, 20], [4, 30, 7, 1])  # of damage: rows and columns of pixels
COLOUR = np.array([255, 0, 255])


def scene(grey: bool = False, deep: bool = False) -> np.ndarray:
    """A photograph without the values 0 and 255 (65535)."""
    values = np.asarray(photograph(40, 32).convert("L" if grey else "RGB")).clip(9, 240)
    return values.astype(np.uint16) * 257 + 3 if deep else values


def saved(pixels: np.ndarray | Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def wanted() -> np.ndarray:
    known = np.ones((32, 40), bool)
    known[PLACES] = False
    return known


def transparent(pixels: np.ndarray) -> np.ndarray:
    """With a channel of opacity: just below and above the half, and none."""
    most = np.iinfo(pixels.dtype).max
    alpha = np.full(pixels.shape[:2], most, pixels.dtype)
    alpha[PLACES] = [0, 1, most // 2, most // 2]
    alpha[8, 8] = most // 2 + 1
    return np.dstack([pixels, alpha])


def damaged(pixels: np.ndarray, *values) -> np.ndarray:
    pixels = pixels.copy()
    pixels[PLACES] = np.resize(values, 4) if pixels.ndim == 2 else np.resize(values, 4)[:, None]
    return pixels


def marked(pixels: np.ndarray, colour: np.ndarray = COLOUR) -> np.ndarray:
    pixels = pixels.copy()
    pixels[PLACES] = colour
    return pixels


def palette() -> Image.Image:
    """Its last colour marks the damage."""
    picture = Image.fromarray(scene()).quantize(63)
    colours = [*picture.getpalette()[: 63 * 3], *COLOUR.tolist()]
    indices = damaged(np.asarray(picture), 63)
    picture = Image.fromarray(indices)
    picture.putpalette(colours)
    return picture


FLOATS = scene(grey=True).astype(np.float32) / 255
FILES = {  # the file, and the mask
    "grey": (saved(damaged(scene(grey=True), 0, 255)), "values:0,255"),
    "colours": (saved(damaged(scene(), 0, 255)), "values:0,255"),
    "16 bits of grey": (saved(damaged(scene(True, deep=True), 0, 65535)), "values:0,65535"),
    "16 bits of colours": (
        bytes(imagecodecs.png_encode(damaged(scene(deep=True), 0, 65535))),
        "values:0,65535",
    ),
    "floats": (saved(damaged(FLOATS, 0, 1), "TIFF"), "values:0,1"),
    "floats in between": (saved(damaged(FLOATS, 0.3127, 0.9871), "TIFF"), "values:0.3127,0.9871"),
    "bilevel": (saved(Image.fromarray(wanted())), "values:0"),
    "opacity of colours": (saved(transparent(scene())), "alpha"),
    "opacity of grey": (saved(transparent(scene(grey=True))), "alpha"),
    "opacity of 16 bits": (bytes(imagecodecs.png_encode(transparent(scene(deep=True)))), "alpha"),
    "opacity of grey, 16 bits": (
        bytes(imagecodecs.png_encode(transparent(scene(True, deep=True)))),
        "alpha",
    ),
    "opacity, WebP": (saved(transparent(scene()), "WEBP", lossless=True, exact=True), "alpha"),
    "opacity of a palette": (saved(palette(), transparency=63), "alpha"),
    "a colour of a palette": (saved(palette()), "colour:#ff00ff"),
    "a colour of a GIF": (saved(palette(), "GIF"), "colour:#FF00FF"),
    "a colour": (saved(marked(scene(), COLOUR - [4, -4, 0])), "{colour: '#ff00ff', tolerance: 4}"),
    "a colour in 16 bits": (
        bytes(imagecodecs.png_encode(marked(scene(deep=True), COLOUR * 257 - [0, 0, 4 * 257]))),
        "{colour: '#ff00ff', tolerance: 4}",
    ),
    "a grey that is marked": (saved(damaged(scene(grey=True), 255)), "colour:#ffffff"),
    "a colour before its profile": (
        saved(marked(scene()), icc_profile=imagecodecs.cms_profile("adobergb")),
        "colour:#ff00ff",
    ),
    "what a JPEG made of it": (
        saved(np.kron(marked(scene()), np.ones((8, 8, 1), np.uint8)), "JPEG", subsampling=0),
        "{colour: '#ff00ff', tolerance: 12}",
    ),
    "CMYK": (saved(Image.fromarray(damaged(scene(), 255)).convert("CMYK"), "TIFF"), "values:255"),
}


@pytest.mark.parametrize("name", FILES)
def test_the_files_own_pixels_tell_what_is_hidden(name):
    data, text = FILES[name]
    known = decode_picture(data, mask=Mask.model_validate(text).pixel_mask).known
    if name == "what a JPEG made of it":
        known = known[4::8, 4::8]
    assert known.dtype == bool and np.array_equal(known, wanted())


def test_what_is_partly_transparent():
    rgba = np.dstack([scene(), np.full((32, 40), 255, np.uint8)])
    rgba[0, :4, 3] = [76, 77, 254, 255]
    shares = {0.3: [0, 1, 1, 1], 1.0: [0, 0, 0, 1]}
    for alpha, known in shares.items():
        mask = Mask.model_validate({"alpha": alpha}).pixel_mask
        assert decode_picture(saved(rgba), mask=mask).known[0, :4].tolist() == known


@pytest.mark.parametrize("turn_by", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "TIFF of 16 bits"])
def test_a_mask_is_turned_as_its_picture_is(turn_by, kind):
    pixels = damaged(scene(deep=kind.endswith("bits")), 0)
    pixels[9, 2, 1] = 0
    mask = PixelMask(values=(0.0,), channels="each")
    if kind.endswith("bits"):
        buffer = io.BytesIO()
        orientation = (274, 3, 1, turn_by, True)
        tifffile.imwrite(buffer, pixels, photometric="rgb", extratags=[orientation])
        data = buffer.getvalue()
    else:
        exif = Image.Exif()
        exif[0x0112] = turn_by
        data = saved(pixels, kind, exif=exif)
    read = decode_picture(data, mask=mask)
    assert np.array_equal(read.known, read.pixels != 0) and (~read.known).sum() == 13
    if turn_by in UPRIGHT:
        assert np.array_equal(read.pixels, UPRIGHT[turn_by](pixels))


levels = arrays(
    np.uint8, st.tuples(*[st.integers(1, 9)] * 2, st.just(3)), elements=st.integers(0, 3)
)
values = st.lists(st.integers(0, 3), min_size=1, max_size=3).map(tuple)


@FEW
@given(levels, values, st.integers(0, 1), st.booleans())
def test_channels_tolerance_and_areas(picture, values, tolerance, areas):
    def hidden(channels):
        how = PixelMask(values=values, tolerance=float(tolerance), channels=channels, areas=areas)
        return ~known_pixels(how, picture, None)

    def damage(near):
        """From its definition: outside of any 3 x 3 pixels that all are near."""
        height, width = near.shape
        found = near.copy()
        for i in range(height - 2):
            for j in range(width - 2):
                if near[i : i + 3, j : j + 3].all():
                    found[i : i + 3, j : j + 3] = False
        return near if areas else found

    near = np.abs(picture.astype(int)[None] - np.reshape(values, (-1, 1, 1, 1))) <= tolerance
    each = np.stack([[damage(n[..., c]) for c in range(3)] for n in near]).any(axis=0)
    assert np.array_equal(hidden("each"), each.transpose(1, 2, 0))
    assert np.array_equal(hidden("any"), each.any(axis=0))
    together = np.stack([damage(n.all(axis=2)) for n in near]).any(axis=0)
    assert np.array_equal(hidden("all"), together)


def test_a_white_sky_is_no_damage_but_a_dead_column_is():
    picture = scene(grey=True).copy()
    picture[:12] = 255  # the sky
    picture[:, 20:22] = 0  # columns
    picture[12, 5] = picture[25, 7] = 255  # salt, once beside the sky
    known = known_pixels(PixelMask(values=(0.0, 255.0)), picture, None)
    expected = np.ones_like(known)
    expected[:, 20:22] = expected[12, 5] = expected[25, 7] = False
    assert np.array_equal(known, expected)


@FEW
@given(arrays(bool, st.tuples(*[st.integers(1, 12)] * 2)), st.integers(0, 4))
def test_a_grown_mask_hides_all_within_reach(known, pixels):
    rows, columns = np.nonzero(~known)
    i, j = np.indices(known.shape)
    expected = np.ones(known.shape, bool)
    for row, column in zip(rows, columns, strict=True):
        expected &= np.maximum(abs(i - row), abs(j - column)) > pixels
    planes = np.stack([known, np.ones_like(known)]).astype(np.float32)
    found = grown(planes, pixels)
    assert np.array_equal(found[0] == 1, expected) and (found[1] == 1).all()


@pytest.mark.parametrize(
    "mask, words",
    [
        ("values:0,x", "expected numbers, as in values:0,255"),
        ({"values": []}, "values"),
        ({"values": [-1]}, "values.0"),
        ({"alpha": False}, "must be true, or the opacity"),
        ({"alpha": 0}, "alpha"),
        ({"colour": "magenta"}, "colour"),
        ({"alpha": True, "values": [0]}, "given: alpha, values"),
        ({"grow": 2}, "given: none"),
        ({"alpha": True, "tolerance": 1}, "tolerance goes with values or colour"),
        ({"colour": "#000000", "channels": "each"}, "channels goes with values"),
        ({"file": "m.png", "areas": True}, "areas goes with values"),
        ({"alpha": True, "grow": -1}, "grow"),
    ],
)
def test_masks_that_mean_nothing_are_refused(mask, words):
    with pytest.raises(ValidationError, match=words):
        Mask.model_validate(mask)


def spec_of(task: dict) -> JobSpec:
    task = {"kind": "inpaint", "noise_level": 0, **task}
    content = {"manifest": "m.csv", "output": "o", "sampler": {"nfe": 2}, "precision": "fp32"}
    return JobSpec.model_validate(content | {"task": task})


def test_a_benchmark_makes_its_damage_itself():
    content = {"manifest": "m.csv", "output": "o", "mode": "benchmark"}
    with pytest.raises(ValidationError, match="belongs to mode restore"):
        JobSpec.model_validate(content | {"task": {"kind": "inpaint", "mask": "alpha"}})
    spec = spec_of({"mask": "{values: [0], tolerance: 1, channels: each, grow: 1}"})
    assert JobSpec.model_validate(spec.model_dump(mode="json")) == spec


def restored(spec: JobSpec, model: str, folder, files: dict[str, bytes], **columns) -> list[dict]:
    """Each file from its bytes to its result's row, through the steps of the flow."""
    rows = []
    for i, (name, data) in enumerate(files.items()):
        (folder / name).write_bytes(data)
        rows.append({"id": name, "image": name} | {k: v[i] for k, v in columns.items()})
    count = len(rows)
    table = pa.table(
        {
            **{name: pa.repeat(0, count) for name in (SHARD, GENERATION)},
            INDEX: pa.array(range(count), pa.int64()),
            "row": pa.array(rows),
            "error": pa.repeat("", count),
            "error_kind": pa.repeat("", count),
        }
    )
    load = Load.of(spec, str(folder), ("image", *columns), beside=True, channels=3)
    restore = Restorer(spec, Assets(), model, versions_of(model), batch_pixels=2**17, threads=1)
    opaque = spec.task.pixel_mask.alpha is not None
    done = Encode(None, spec.picture, opaque=opaque)(restore(load(table)))
    return done.drop_columns(list(HIDDEN)).to_pylist()


def pixels_of(row: dict) -> np.ndarray:
    assert row["status"] == "ok", row["error"]
    return np.asarray(Image.open(io.BytesIO(row["restored"]["bytes"])))


@pytest.mark.parametrize("kind", ["inpaint", "deblur"])
@pytest.mark.parametrize("channels", ["all", "each"])
def test_what_is_hidden_does_not_matter_and_the_rest_is_kept(tiny_model, tmp_path, kind, channels):
    hidden = np.random.default_rng(0).random((32, 40, 1 if channels == "all" else 3)) < 0.2
    files = [saved(np.where(hidden, v, scene()).astype(np.uint8)) for v in (0, 255)]
    task = {"kind": kind, "mask": {"values": [0, 255], "channels": channels, "areas": True}}
    if kind == "deblur":
        task |= {"kernel": {"gaussian": {"std": 1}}, "noise_level": 0.02}
    rows = [restored(spec_of(task), tiny_model, tmp_path, {"a": data})[0] for data in files]
    black, white = map(pixels_of, rows)
    assert np.array_equal(black, white)
    for row in rows:
        assert row["hidden"] == pytest.approx(hidden.mean())
    if kind == "inpaint":
        hidden = np.broadcast_to(hidden, black.shape)
        assert np.array_equal(black[~hidden], scene()[~hidden])
        assert (black[hidden] % 255 != 0).mean() > 0.9 and rows[0]["residual"] < 1


def test_transparent_parts_are_written_opaque_but_of_rows_with_their_own_mask(tiny_model, tmp_path):
    (tmp_path / "m.png").write_bytes(saved(wanted().astype(np.uint8) * 255))
    files = {"a.png": saved(transparent(scene())), "b.png": saved(transparent(scene()))}
    spec = spec_of({"mask": {"alpha": True, "grow": 1}})
    a, b = restored(spec, tiny_model, tmp_path, files, mask=[None, "m.png"])
    assert pixels_of(a).shape == (32, 40, 3) and pixels_of(b).shape == (32, 40, 4)
    grown_share = 1 - grown(wanted(), 1).mean()
    assert a["hidden"] == pytest.approx(grown_share) and b["hidden"] == pytest.approx(4 / 1280)
    assert np.array_equal(pixels_of(a)[grown(wanted(), 1)], scene()[grown(wanted(), 1)])


def test_a_mark_in_colour_leaves_a_grey_picture_grey(tiny_model, tmp_path):
    grey = np.dstack([scene(grey=True)] * 3)
    (row,) = restored(
        spec_of({"mask": "colour:#ff00ff"}), tiny_model, tmp_path, {"a.png": saved(marked(grey))}
    )
    pixels = pixels_of(row)
    assert (pixels == pixels[..., :1]).all() and np.array_equal(pixels[wanted()], grey[wanted()])


def test_pictures_of_which_nothing_or_everything_is_hidden(tiny_model, tmp_path):
    white = np.full((32, 40, 3), 255, np.uint8)
    no_blue = scene().copy()
    no_blue[..., 2] = 0
    cases = {
        "clean": (scene(), {"values": [0]}, "nothing_hidden", "values are 9 to 240 of 255"),
        "opaque": (scene(), {"alpha": True}, "nothing_hidden", "less opaque than 0.5"),
        "sky": (white, {"values": [255]}, "nothing_hidden", "not where they fill 3 x 3 pixels"),
        "gone": (white, {"colour": "#ffffff"}, "bad_mask", "every pixel: .* #ffffff"),
        "grown": (marked(scene()), {"colour": "#ff00ff", "grow": 40}, "bad_mask", "grown by 40"),
        "no-blue": (
            no_blue,
            {"values": [0], "channels": "each", "areas": True},
            "bad_mask",
            "hides every value of blue",
        ),
    }
    for name, (pixels, mask, kind, words) in cases.items():
        files = {f"{name}.png": saved(pixels)}
        (row,) = restored(spec_of({"mask": mask}), tiny_model, tmp_path, files)
        assert row["error_kind"] == kind and row["restored"] is None
        assert re.search(words, row["error"]), row["error"]
    deblur = {"kind": "deblur", "kernel": {"gaussian": {"std": 1}}, "noise_level": 0.02}
    (row,) = restored(
        spec_of(deblur | {"mask": {"values": [255]}}),
        tiny_model,
        tmp_path,
        {"a.png": saved(scene())},
    )
    assert row["status"] == "ok" and row["hidden"] == 0  # the blur is to be undone all the same
