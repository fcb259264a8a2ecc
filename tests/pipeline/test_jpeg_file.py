"""What is read of JPEG files: coefficients, tables and sampling, exactly; or an error in words."""

from __future__ import annotations

import io
import os
import re

import imagecodecs
import jpeglib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from pipeline.errors import ERROR_KINDS, RowError
from pipeline.fence import decoders
from pipeline.pictures.jpeg import compressed
from pipeline.pictures.jpeg_markers import ZIGZAG
from tests.jpeg_files import (
    encoded,
    enlarged,
    plain,
    planes,
    quantised,
    rewritten,
    saved,
    segment,
    segments,
    to_rgb,
    to_ycbcr,
    with_segment,
    without,
    written,
)
from tests.pictures import photograph

FACTORS = {  # vertical and horizontal, of Y, Cb and Cr
    "4:4:4": [[1, 1], [1, 1], [1, 1]],
    "4:2:2": [[1, 2], [1, 1], [1, 1]],
    "4:2:0": [[2, 2], [1, 1], [1, 1]],
    "4:4:0": [[2, 1], [1, 1], [1, 1]],
    "4:1:1": [[1, 4], [1, 1], [1, 1]],
}
ODD_FACTORS = {
    "3x1": [[1, 3], [1, 1], [1, 1]],
    "2x2 and 1x2": [[2, 2], [1, 2], [1, 2]],
    "2x2 and 2x1": [[2, 2], [2, 1], [2, 1]],
    "Cb finer than Y": [[1, 1], [2, 2], [1, 1]],
    "Cb unlike Cr": [[2, 2], [2, 1], [1, 2]],
    "all 2x1": [[1, 2], [1, 2], [1, 2]],
    "4:1:0": [[2, 4], [1, 1], [1, 1]],
}
PIXELS = np.asarray(photograph(45, 37))
GREY = np.asarray(photograph(45, 37).convert("L"))
WHOLE = compressed(PIXELS, 80)
TRUNCATED = "truncated|ends before|ends within"


def read(data, max_pixels=2**20, **options):
    return decoders.read_jpeg(data, max_pixels=max_pixels, **options)


def check(data):
    """The coefficients say what libjpeg decodes, and another file of them is decoded alike."""
    jpeg = read(data)
    most = np.max(jpeg.sampling, axis=0)
    for coefficients, table, factors in zip(
        jpeg.coefficients, jpeg.tables, jpeg.sampling, strict=True
    ):
        assert coefficients.dtype == np.int16 and table.dtype == np.int32
        samples = [
            -(-n * f // m) for n, f, m in zip(jpeg.size, factors, most.tolist(), strict=True)
        ]
        assert coefficients.shape == (*(-(-n // 8) for n in samples), 8, 8)
        assert table.shape == (8, 8) and table.min() >= 1
    grey = len(jpeg.coefficients) == 1
    components = enlarged(jpeg)
    decoded = plain(data, jpeglib.JCS_GRAYSCALE if grey else jpeglib.JCS_YCbCr)
    assert decoded.shape[:2] == jpeg.size
    assert abs((components[..., 0] if grey else components) - decoded).max() <= 1
    if not grey:
        assert abs(to_rgb(components) - plain(data, jpeglib.JCS_RGB)).max() <= 2.5
    with Image.open(io.BytesIO(data)) as first, Image.open(io.BytesIO(written(jpeg))) as second:
        assert np.array_equal(np.asarray(first), np.asarray(second))
    return jpeg


@pytest.mark.parametrize("sampling", FACTORS)
def test_usual_samplings(sampling):
    jpeg = check(compressed(PIXELS, 80, sampling=sampling))
    assert np.array_equal(jpeg.sampling, FACTORS[sampling])
    assert jpeg.size == (37, 45) and jpeg.orientation == 1


@pytest.mark.parametrize("sampling", ODD_FACTORS)
def test_unusual_samplings(sampling):
    jpeg = check(encoded(PIXELS, ODD_FACTORS[sampling]))
    assert np.array_equal(jpeg.sampling, ODD_FACTORS[sampling])


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 100),
    st.sampled_from([*FACTORS, "grey"]),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=60, deadline=None)
def test_all_sizes_and_qualities(height, width, quality, sampling, progressive, seed):
    rng = np.random.default_rng(seed)
    grey = sampling == "grey"
    pixels = rng.integers(0, 256, (height, width, *([] if grey else [3])), dtype=np.uint8)
    data = compressed(pixels, quality, sampling="4:4:4" if grey else sampling)
    if progressive:
        with Image.open(io.BytesIO(data)) as picture:
            data = saved(picture, quality="keep", progressive=True)
    jpeg = check(data)
    with Image.open(io.BytesIO(data)) as picture:
        for table, layer in zip(jpeg.tables, picture.layer, strict=True):
            assert np.array_equal(table.ravel(), picture.quantization[layer[3]])


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 90, 95, 100])
def test_coefficients_are_those_of_the_encoded_picture(quality):
    pixels = np.asarray(photograph(64, 48))
    for data, components in (
        (compressed(pixels, quality, sampling="4:4:4"), to_ycbcr(pixels)),
        (compressed(pixels[..., 1], quality), pixels[..., 1:2]),
    ):
        jpeg = check(data)
        values = components - 128.0
        for i, (coefficients, table) in enumerate(zip(jpeg.coefficients, jpeg.tables, strict=True)):
            error = abs(coefficients - quantised(values[..., i], table))
            # libjpeg's forward DCT is off by a unit or so before it is divided.
            assert (error <= 0.5 + 1.5 / table).all()
            assert (error <= 0.5 + 0.2 / table).mean() > 0.98


def test_the_stored_numbers_are_read():
    """A file whose coefficients are chosen, each another one."""
    rng = np.random.default_rng(0)
    chosen = rng.integers(-40, 41, (2, 3, 8, 8)).astype(np.int16)
    table = np.arange(1, 65, dtype=np.int32).reshape(8, 8)
    jpeg = read(WHOLE)
    jpeg = type(jpeg)((chosen,), (table,), ((1, 1),), (16, 24))
    found = read(written(jpeg))
    assert np.array_equal(found.coefficients[0], chosen)
    assert np.array_equal(found.tables[0], table)


def test_vertical_frequencies_are_rows():
    stripes = np.repeat(np.array([[0], [255]] * 8, np.uint8), 16, axis=1)
    coefficients = read(compressed(stripes, 90)).coefficients[0]
    assert coefficients[..., 7, 0].any() and not coefficients[..., 1:].any()
    assert ZIGZAG.T[:6].tolist() == [[0, 0], [0, 1], [1, 0], [2, 0], [1, 1], [0, 2]]
    assert ZIGZAG.T[-2:].tolist() == [[7, 6], [7, 7]] and len({*map(tuple, ZIGZAG.T)}) == 64


def test_tables_of_ones_own():
    tables = [np.arange(1, 65).reshape(8, 8), np.full((8, 8), 7)]
    jpeg = check(compressed(PIXELS, None, tables))
    for table, chosen in zip(jpeg.tables, (tables[0], tables[1], tables[1]), strict=True):
        assert np.array_equal(table, chosen)
    jpeg = check(compressed(GREY, None, tables[:1]))
    assert np.array_equal(jpeg.tables, tables[:1])


def test_tables_of_16_bits():
    wide = np.arange(1, 65).reshape(8, 8) * 300
    jpeg = check(encoded(GREY, [[1, 1]], quality=wide[None].astype(np.uint16)))
    assert np.array_equal(jpeg.tables[0], wide)


def test_a_table_that_changes_between_scans_holds_for_the_scans_that_follow():
    """Each component has a scan of its own; before the third, the second's table is replaced."""
    three = compressed(GREY, 80), compressed(GREY, 40), compressed(GREY, 10)
    frame = next(three[0][a:b] for code, a, b in segments(three[0]) if code == 0xC0)
    parts = [b"\xff\xd8", frame[:2] + b"\0\x11" + frame[4:9] + b"\3\1\x11\0\2\x11\1\3\x11\1"]
    for i, data in enumerate(three):
        for code, start, end in segments(data):
            if code == 0xDB:
                parts.append(segment(0xDB, bytes([i > 0]) + data[start + 5 : end]))
            elif code == 0xC4:
                parts.append(data[start:end])
            elif code == 0xDA:
                parts.append(segment(0xDA, bytes([1, i + 1, 0, 0, 63, 0])) + data[end:-2])
    jpeg = read(b"".join(parts) + b"\xff\xd9")
    for i, data in enumerate(three):
        alone = read(data)
        assert np.array_equal(jpeg.tables[i], alone.tables[0])
        assert np.array_equal(jpeg.coefficients[i], alone.coefficients[0])


@pytest.mark.parametrize(
    "data",
    [
        saved(photograph(45, 37), progressive=True),
        saved(photograph(45, 37), optimize=True),
        saved(photograph(45, 37), restart_marker_blocks=1),
        saved(photograph(45, 37), restart_marker_rows=1, progressive=True),
        rewritten(WHOLE, ["+ARITH_CODE"]),
        bytes(imagecodecs.jpeg8_encode(PIXELS, level=85, subsampling="420", optimize=True)),
        encoded(PIXELS, None, version="6b"),
        encoded(PIXELS, None, version="9f"),
        encoded(PIXELS, None, version="mozjpeg403"),
        without(WHOLE, 0xE0),
        without(WHOLE, 0xC4),  # the usual Huffman tables, which a decoder is to know
        WHOLE + b"\xff\xd8 more than one picture" + os.urandom(999),
        WHOLE[:-2] + b"\xff\xff\xff\xd9",
        WHOLE[:-2] + bytes(3) + b"\xff\xd9",  # as some cameras pad
        with_segment(WHOLE, 0xEE, b"Adobe" + bytes([0, 100, 0, 0, 0, 0, 1])),
    ],
    ids=[
        "progressive", "optimised", "restarts", "progressive restarts", "arithmetic",
        "libjpeg-turbo 3", "libjpeg 6b", "libjpeg 9f", "mozjpeg", "no JFIF", "no Huffman tables",
        "trailing bytes", "fill bytes", "padding", "Adobe YCbCr",
    ],
)  # fmt: skip
def test_kinds_of_files(data):
    check(data)


def test_progressive_and_arithmetic_files_have_the_same_coefficients():
    expected, options = read(WHOLE), {"quality": 80, "subsampling": "4:2:0"}
    kinds = [
        saved(photograph(45, 37), **options, **kind)
        for kind in ({"progressive": True}, {"optimize": True}, {"restart_marker_blocks": 2})
    ]
    for data in (*kinds, rewritten(WHOLE, ["+ARITH_CODE"])):
        found = read(data)
        for name in ("coefficients", "tables"):
            for a, b in zip(getattr(found, name), getattr(expected, name), strict=True):
                assert np.array_equal(a, b)


def test_what_goes_before_the_picture_is_left_out_of_account():
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + bytes(200_000)
    plain_file = saved(photograph(45, 37), quality=80)
    # EXIF with another picture inside, a profile of many segments, and more segments than
    # jpeglib's own functions have room for.
    thumbnail = exif.tobytes() + saved(photograph(16, 16))
    data = saved(photograph(45, 37), quality=80, exif=thumbnail, icc_profile=profile)
    for _ in range(70):
        data = with_segment(data, 0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(60_000))
    data = with_segment(data, 0xFE, b"a comment \xff\xd9\xff\xda")
    found, expected = read(data), read(plain_file)
    assert found.orientation == 6 and expected.orientation == 1 and found.size == (37, 45)
    for a, b in zip(found.coefficients, expected.coefficients, strict=True):
        assert np.array_equal(a, b)


def test_the_first_picture_of_several_is_read():
    data = saved(photograph(), "MPO", save_all=True, append_images=[photograph(16, 16)])
    assert read(data).size == (40, 48)


def test_an_orientation_that_does_not_exist_is_none():
    exif = Image.Exif()
    exif[0x0112] = 9
    assert read(saved(photograph(), exif=exif)).orientation == 1


def marked(data, marker):
    """The file with another marker at its frame."""
    return data.replace(b"\xff\xc0", bytes([255, marker]), 1)


def twelve_bits():
    deep = PIXELS.astype(np.uint16) * 16
    return bytes(imagecodecs.jpeg8_encode(deep, level=90, bitspersample=12))


def rgb():
    return without(saved(photograph(45, 37), keep_rgb=True, subsampling=0), 0xE0)


def two_components():
    """Of which libjpeg knows no colours."""
    at, _ = next((a, b) for code, a, b in segments(WHOLE) if code == 0xC0)
    frame = (
        WHOLE[at : at + 2] + b"\0\x0e" + WHOLE[at + 4 : at + 9] + b"\2" + WHOLE[at + 10 : at + 16]
    )
    return WHOLE[:at] + frame + WHOLE[at + 19 :]


def progressive_without_its_last_scan():
    data = saved(photograph(45, 37), progressive=True)
    return data[: data.rfind(b"\xff\xda")] + b"\xff\xd9"


def cut(data, share):
    return data[: round(len(data) * share)]


def damaged_data():
    start = segments(WHOLE)[-1][2]
    return WHOLE[: start + 50] + bytes(60) + WHOLE[start + 110 :]


def zero_in_table():
    at = next(a for code, a, _ in segments(WHOLE) if code == 0xDB)
    return WHOLE[: at + 9] + b"\0" + WHOLE[at + 10 :]


@pytest.mark.parametrize(
    "data, kind, words",
    [
        (b"", "empty_file", "empty"),
        (b"text", "not_an_image", "not an image"),
        (saved(photograph(), "PNG"), "wrong_format", "a PNG file, expected JPEG"),
        (saved(photograph(), "TIFF"), "wrong_format", "a TIFF file, expected JPEG"),
        (saved(photograph().convert("CMYK")), "wrong_format", r"four components \(CMYK or YCCK\)"),
        (rgb(), "wrong_format", "stores RGB"),
        (two_components(), "wrong_format", "two components"),
        (twelve_bits(), "wrong_format", "12 bits per sample"),
        (bytes(imagecodecs.jpeg8_encode(PIXELS, lossless=True)), "wrong_format", "without loss"),
        (marked(WHOLE, 0xC5), "wrong_format", "hierarchical"),
        (saved(Image.new("L", (1025, 1024))), "too_large", "1025 x 1024 pixels, 1048576 are"),
        (cut(WHOLE, 0.9), "damaged", TRUNCATED),
        (cut(WHOLE, 0.3), "damaged", TRUNCATED),
        (WHOLE[:4], "damaged", "ends within its segment FFE0"),
        (WHOLE[:-2], "damaged", TRUNCATED),
        (WHOLE[:3], "damaged", "no frame header"),
        (cut(saved(photograph(), progressive=True), 0.5), "damaged", TRUNCATED),
        (cut(WHOLE, 0.9) + b"\xff\xd9", "damaged", "libjpeg says 'Corrupt JPEG data"),
        (progressive_without_its_last_scan(), "damaged", "before the last scan"),
        (damaged_data(), "damaged", "libjpeg says 'Corrupt JPEG data"),
        (zero_in_table(), "damaged", "a zero"),
        (without(WHOLE, 0xDB), "damaged", "lacks a quantisation table"),
        (WHOLE[:2] + WHOLE, "damaged", "a second start"),
        (b"\xff\xd8\xff\xd9", "damaged", "no frame header"),
    ],
)  # fmt: skip
def test_what_is_refused(data, kind, words):
    with pytest.raises(RowError, match=words) as e:
        read(data)
    assert e.value.kind == kind in ERROR_KINDS and str(e.value).isprintable()


def test_sampling_that_libjpeg_cannot_enlarge_is_refused():
    data = bytearray(encoded(PIXELS, ODD_FACTORS["3x1"]))
    at = next(a for code, a, _ in segments(data) if code == 0xC0)
    data[at + 14] = 0x21
    with pytest.raises(RowError, match="no whole fraction") as e:
        read(bytes(data))
    assert e.value.kind == "wrong_format"


def test_arguments_of_compressed():
    for options in ({}, {"quality": 5, "tables": [np.ones((8, 8))]}):
        with pytest.raises(ValueError, match="either a quality or"):
            compressed(PIXELS, **options)
    with pytest.raises(ValueError, match="cannot be chosen with 4:4:0"):
        compressed(PIXELS, tables=[np.ones((8, 8))], sampling="4:4:0")
    for sampling in ("4:4:0", "4:1:1"):  # by another encoder than Pillow's
        for quality in (1, 30, 75, 100):
            tables = read(compressed(PIXELS, quality, sampling=sampling)).tables
            assert np.array_equal(tables, read(compressed(PIXELS, quality)).tables)


def fuzzed():
    """Files with bytes changed, left out, doubled or swapped; most in what precedes the scans."""
    rng = np.random.default_rng(0)
    grey = compressed(GREY, 50)
    files = [WHOLE, grey, saved(photograph(45, 37), progressive=True), compressed(PIXELS, 95)]
    for i in range(200):
        data = bytearray(files[i % len(files)])
        end = 700 if i % 3 else len(data)
        for _ in range(rng.integers(1, 5)):
            at, length = rng.integers(2, min(end, len(data) - 9)), rng.integers(1, 9)
            how = rng.integers(4)
            if how == 0:
                data[at] = rng.integers(256)
            elif how == 1:
                data[at] ^= 1 << rng.integers(8)
            elif how == 2:
                del data[at : at + length]
            else:
                data[at:at] = data[at : at + length]
        yield bytes(data)


def test_any_file_is_read_or_an_error_in_words():
    known = 0
    for data in fuzzed():
        try:
            jpeg = read(data, seconds=30)
        except RowError as e:
            assert e.kind in ERROR_KINDS and re.fullmatch(r"[\x20-\x7e]{10,400}", str(e))
            assert e.kind not in ("crash", "failed"), str(e)
        else:
            known += 1
            assert all(np.isfinite(plane).all() for plane in planes(jpeg))
    assert 10 < known < 190
    assert read(WHOLE).size == (37, 45)


def test_large_pictures_pass_to_the_parent_without_a_detour():
    """Coefficients travel beside the message, not inside it; they are read-only."""
    pixels = np.asarray(photograph(1200, 900))
    jpeg = read(compressed(pixels, 90), max_pixels=1200 * 900)
    assert not any(c.flags.writeable for c in jpeg.coefficients)
    assert sum(c.nbytes for c in jpeg.coefficients) == 2 * 64 * (113 * 150 + 2 * 57 * 75)
