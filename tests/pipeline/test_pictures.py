"""Pictures as cameras make them: read, and written again."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from pipeline.errors import RowError
from pipeline.fence.decoders import decode_image, decode_kernel, decode_mask, decode_picture
from pipeline.pictures.colour import grey_profile, srgb_profile
from pipeline.pictures.encode import encode_picture
from pipeline.pictures.metadata import MAX_EXIF_BYTES, SOFTWARE, Metadata
from pipeline.spec.picture import PictureFile
from tests.pictures import decoded, decoding_takes, photograph

RNG = np.random.default_rng(0)
PHOTO = np.asarray(photograph())
ADOBE = imagecodecs.cms_profile("adobergb")
# sRGB's curve, but what is called red is green and so on: xy of the primaries, turned by one.
SWAPPED = imagecodecs.cms_profile(
    "rgb",
    whitepoint=[0.3127, 0.3290],
    primaries=[0.30, 0.60, 0.15, 0.06, 0.64, 0.33],
    transferfunction=np.round(
        65535
        * np.where(
            (v := np.linspace(0, 1, 4096)) <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4
        )
    ).astype(np.uint16),
)
GAMMA_18 = imagecodecs.cms_profile("gray", whitepoint=[0.3457, 0.3585], gamma=1.8)


def saved(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(*shape, bits=8):
    return RNG.integers(0, 2**bits, shape).astype(f"u{bits // 8}")


def chunk(name, content):
    body = name + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


def with_chunk(png, name, content):
    return png[:33] + chunk(name, content) + png[33:]


def tiff16(samples, **options):
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, photometric="rgb", **options)
    return buffer.getvalue()


def curve(linear):
    """sRGB's, from light to values, both on [0, 1]."""
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def kind_of(data, **options):
    with pytest.raises(RowError) as e:
        decode_picture(data, **options)
    return e.value.kind


# Colours of 16 bits


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_of_16_bits_is_read_with_all_of_them(channels):
    samples = noise(9, 7, channels, bits=16)
    picture = decode_picture(imagecodecs.png_encode(samples))
    colours = samples[..., :3] if channels >= 3 else samples[..., 0]
    assert picture.pixels.dtype == np.uint16 and np.array_equal(picture.pixels, colours)
    if channels in (2, 4):
        assert np.array_equal(picture.alpha, samples[..., -1])
    else:
        assert picture.alpha is None


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byteorder": ">"},
        {"compression": "zlib", "predictor": True},
        {"compression": "lzw", "rowsperstrip": 3},
        {"compression": "zlib", "tile": (16, 16)},
        {"compression": "zstd"},
        {"bigtiff": True},
    ],
)
def test_a_tiff_of_16_bits_is_read_with_all_of_them(options):
    samples = noise(40, 30, 3, bits=16)
    picture = decode_picture(tiff16(samples, **options))
    assert np.array_equal(picture.pixels, samples) and picture.alpha is None
    planes = tiff16(np.moveaxis(samples, 2, 0), planarconfig="separate", **options)
    assert np.array_equal(decode_image(planes), samples)


def test_the_fourth_channel_of_a_tiff_is_what_its_tag_says():
    samples = noise(40, 30, 4, bits=16)
    for name, has_alpha in (("unassalpha", True), ("unspecified", False)):
        picture = decode_picture(tiff16(samples, extrasamples=[name]))
        assert np.array_equal(picture.pixels, samples[..., :3])
        assert (picture.alpha is not None) == has_alpha
    samples[..., 3] |= 0x4000
    share = samples[..., 3:] / 65535
    multiplied = np.concatenate([np.round(samples[..., :3] * share), samples[..., 3:]], axis=2)
    picture = decode_picture(tiff16(multiplied.astype(np.uint16), extrasamples=["assocalpha"]))
    assert np.abs(picture.pixels.astype(int) - samples[..., :3]).max() <= 2  # 0.5 / 0.25
    assert np.array_equal(picture.alpha, samples[..., 3])


# Hostile files of 16 bits, and profiles


def test_files_of_16_bits_are_compared_with_what_is_allowed_before_they_are_decoded():
    png = bytearray(imagecodecs.png_encode(noise(4, 4, 3, bits=16)))
    struct.pack_into(">II", png, 16, 2**31 - 1, 2**31 - 1)
    struct.pack_into(">I", png, 29, zlib.crc32(png[12:29]))
    assert kind_of(bytes(png)) == "too_large"
    bomb = tiff16(np.zeros((4096, 4096, 3), np.uint16), compression="zlib")
    assert len(bomb) < 2**20
    with decoding_takes(16, 0.2):
        assert kind_of(bomb, max_pixels=2**20) == "too_large"


def test_truncated_and_damaged_files_of_16_bits_are_errors():
    samples = noise(40, 30, 3, bits=16)
    files = [
        imagecodecs.png_encode(samples),
        tiff16(samples, compression="zlib"),
        tiff16(samples),
        tiff16(samples, compression="zlib", tile=(16, 16)),
    ]
    for data in files:
        for end in (len(data) // 2, len(data) * 3 // 4):
            assert kind_of(data[:end]) == "damaged"
    middle = len(files[0]) // 2
    assert kind_of(files[0][:middle] + bytes(20) + files[0][middle + 20 :]) == "damaged"


def test_a_tiff_that_says_two_sizes_is_refused():
    data = encode_picture(noise(16, 16, 3, bits=16), PictureFile(format="tiff", bits=16))
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    entries = [data[start + 2 + 12 * i :][:12] for i in range(count)]
    twice = [struct.pack("<HHII", 256, 4, 1, 2**30), *entries]
    directory = struct.pack("<H", count + 1) + b"".join(twice) + bytes(4)
    forged = data[:4] + struct.pack("<I", len(data)) + data[8:] + directory
    with decoding_takes(100), pytest.raises(RowError, match=r"cannot be decoded|too large"):
        decode_picture(forged)


@pytest.mark.parametrize(
    "profile",
    [
        b"",
        b"x" * 3000,
        ADOBE[:200],
        ADOBE[:128] + bytes(len(ADOBE) - 128),
        ADOBE[:128] + b"\xff" * (len(ADOBE) - 128),
        GAMMA_18,  # of greys, in a file of colours
        ADOBE[:12] + b"link" + ADOBE[16:],
        ADOBE + bytes(2**24),
    ],
)
def test_a_profile_that_does_not_fit_is_left_out_of_account(profile):
    for picture in (Image.fromarray(PHOTO), Image.fromarray(PHOTO).convert("CMYK")):
        plain = saved(picture, "TIFF", compression="tiff_lzw")
        read = decode_picture(saved(picture, "TIFF", compression="tiff_lzw", icc_profile=profile))
        assert np.array_equal(read.pixels, decode_image(plain)) and not read.metadata.srgb
    deep = tiff16(noise(9, 9, 3, bits=16), iccprofile=profile or None)
    assert not decode_picture(deep).metadata.srgb


def test_a_profile_that_inflates_to_more_than_it_may_is_no_crash():
    png = imagecodecs.png_encode(noise(4, 4, 3))
    bomb = b"icc\0\0" + zlib.compress(bytes(2**28))
    with decoding_takes(64, 0.5):
        assert kind_of(with_chunk(png, b"iCCP", bomb)) == "damaged"
    broken = with_chunk(png, b"iCCP", b"icc\0\0" + b"no zlib stream")
    assert np.array_equal(decode_image(broken), decode_image(png))


def test_a_profile_of_many_stages_that_share_their_bytes_is_left_out_of_account():
    stages = 100_000  # lcms takes minutes for them
    matrix = b"matf" + bytes(4) + struct.pack(">HH", 3, 3) + np.eye(4, 3, dtype=">f4").tobytes()
    place = 16 + 8 * stages
    tag = b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, stages)
    tag += struct.pack(">II", place, len(matrix)) * stages + matrix
    count = int.from_bytes(ADOBE[128:132], "big")
    shift, end = 24, len(ADOBE) + 24
    entries = b""
    for i in range(count):
        name, start, size = struct.unpack_from(">4sII", ADOBE, 132 + 12 * i)
        entries += struct.pack(">4sII", name, start + shift, size)
    for name in (b"D2B0", b"D2B1"):
        entries += struct.pack(">4sII", name, end, len(tag))
    body = ADOBE[132 + 12 * count :] + tag
    head = struct.pack(">I", 132 + len(entries) + len(body)) + ADOBE[4:8] + b"\x04\x40\0\0"
    profile = head + ADOBE[12:128] + struct.pack(">I", count + 2) + entries + body
    data = saved(Image.fromarray(PHOTO), "PNG", icc_profile=profile)
    with decoding_takes(64):
        read = decode_picture(data)
    assert np.array_equal(read.pixels, PHOTO) and not read.metadata.srgb


# Colour profiles


def test_colours_are_converted_from_their_profile_to_srgb():
    """Adobe RGB of 1998: its curve is a power of 563/256, its matrix to XYZ is in its standard."""
    to_xyz = np.array(
        [[0.57667, 0.18556, 0.18823], [0.29734, 0.62736, 0.07529], [0.02703, 0.07069, 0.99134]]
    )
    to_srgb = np.array(
        [[3.24063, -1.53721, -0.49863], [-0.96893, 1.87576, 0.04152], [0.05571, -0.20402, 1.05700]]
    )
    colours = np.array([[[100, 120, 90], [200, 180, 190], [60, 70, 110], [255, 255, 255]]])
    linear = (colours / 255) ** (563 / 256)
    expected = curve(np.clip(linear @ to_xyz.T @ to_srgb.T, 0, 1))
    eight = saved(Image.fromarray(colours.astype(np.uint8)), "PNG", icc_profile=ADOBE)
    sixteen = tiff16(np.tile(colours * 257, (2, 1, 1)).astype(np.uint16), iccprofile=ADOBE)
    for data, most in ((eight, 255), (sixteen, 65535)):
        read = decode_picture(data)
        assert np.abs(read.pixels[:1] / most - expected).max() < 0.004 and read.metadata.srgb
    assert read.pixels.dtype == np.uint16
    # More than 8 bits went through.
    assert np.abs(read.pixels[0] / 257 - np.round(read.pixels[0] / 257)).max() > 0.1


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_a_profile_of_swapped_colours_swaps_them_back_in_every_format(kind):
    picture = Image.fromarray(PHOTO // 2 + 64)  # no format is to meet the ends of its range
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    plain = decoded(saved(picture, kind, **options))
    read = decode_image(saved(picture, kind, icc_profile=SWAPPED, **options))
    # Its first primary is sRGB's green, its second blue, its third red.
    assert np.abs(read.astype(int) - plain[..., [2, 0, 1]]).max() <= 2


def test_greys_stay_grey_and_get_the_curve_of_srgb():
    levels = np.arange(256, dtype=np.uint8)[None].repeat(2, axis=0)
    expected = curve((np.arange(256) / 255) ** 1.8)
    for values, kind, most in (
        (levels, "PNG", 255),
        (levels, "JPEG", 255),
        (levels.astype(np.uint16) * 257, "PNG", 65535),
    ):
        options = {"quality": 100} if kind == "JPEG" else {}
        data = saved(Image.fromarray(values), kind, icc_profile=GAMMA_18, **options)
        read = decode_picture(data)
        assert read.pixels.ndim == 2 and read.pixels.dtype == values.dtype
        # lcms's black point compensation and table of the curve cost little but for the darkest.
        assert np.abs(read.pixels[0] / most - expected)[8:].max() < (
            0.01 if kind == "PNG" else 0.02
        )


def cmyk_profile():
    """Of a press whose C, M, Y each take a share of light, and K all of it: a table of L*a*b*."""
    nodes = np.stack(np.meshgrid(*[[0, 1]] * 4, indexing="ij"), axis=-1).reshape(-1, 4)
    lightness = 100 * (1 - nodes[:, :3].mean(axis=1) * 0.6) * (1 - nodes[:, 3])
    lab = np.stack([lightness * 2.55, *[np.full(16, 128)] * 2], axis=1)
    identity = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0])
    table += struct.pack(">9i", *(np.eye(3).ravel() * 65536).astype(int))
    table += identity * 4 + np.round(lab).astype(np.uint8).tobytes() + identity * 3
    body = struct.pack(">I4sII", 1, b"A2B0", 144, len(table)) + table
    header = bytearray(128)
    struct.pack_into(
        ">I4xI4s4s4s", header, 0, 128 + len(body), 0x02400000, b"prtr", b"CMYK", b"Lab "
    )
    header[36:40] = b"acsp"
    struct.pack_into(">3I", header, 68, 0xF6D6, 0x10000, 0xD32D)
    return bytes(header) + body


def test_inks_are_converted_by_their_profile():
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 255, 255, 0], [255, 0, 0, 0]]], np.uint8)
    picture = Image.frombytes("CMYK", (4, 1), inks.tobytes())
    for kind in ("TIFF", "JPEG"):
        options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
        data = saved(picture.resize((64, 16), 0), kind, icc_profile=cmyk_profile(), **options)
        read = decode_picture(data)
        assert read.metadata.srgb and read.pixels.shape == (16, 64, 3)
        luminance = (np.array([100, 0, 40, 80]) + 16) / 116
        light = np.where(luminance > 6 / 29, luminance**3, 0)
        grey = 255 * curve(light)[:, None]
        assert np.abs(read.pixels[8, 8::16] - grey).max() < 3


def test_no_profile_changes_the_numbers_of_a_kernel_or_a_mask():
    values = np.array([[10, 40, 124], [130, 80, 20]], np.uint8)
    data = saved(Image.fromarray(values), "PNG", icc_profile=GAMMA_18)
    assert not np.array_equal(decode_image(data), values)
    assert np.allclose(decode_kernel(data), values / values.sum())
    assert np.array_equal(decode_mask(data), values >= 128)


def test_what_was_written_is_read_as_it_was():
    srgb = Metadata(srgb=True)
    for pixels in (noise(9, 7), noise(9, 7, 3), noise(9, 7, bits=16), noise(9, 7, 3, bits=16)):
        bits = pixels.itemsize * 8
        for kind in ("png", "tiff"):
            data = encode_picture(pixels, PictureFile(format=kind, bits=bits), None, srgb)
            read = decode_picture(data)
            assert np.array_equal(read.pixels, pixels) and read.metadata.srgb
            stored = Image.open(io.BytesIO(data)).info["icc_profile"]
            assert stored == (grey_profile() if pixels.ndim == 2 else srgb_profile())


# Transparency


def transparent_kinds():
    rgba = noise(12, 10, 4)
    palette = Image.fromarray(PHOTO[:12, :10]).quantize(16)
    cutout = np.where(np.asarray(palette) == 3, 0, 255)
    grey = Image.fromarray(noise(12, 10))
    return {
        "RGBA.png": (Image.fromarray(rgba), {}, rgba[..., 3]),
        "RGBA.webp": (Image.fromarray(rgba), {"lossless": True, "exact": True}, rgba[..., 3]),
        "RGBA.tif": (Image.fromarray(rgba), {}, rgba[..., 3]),
        "LA.png": (Image.fromarray(rgba[..., :2]), {}, rgba[..., 1]),
        "palette.png": (palette, {"transparency": 3}, cutout),
        "palette.gif": (palette, {"transparency": 3}, cutout),
        "levels.png": (
            palette, {"transparency": bytes(range(0, 256, 16))}, np.asarray(palette) * 16,
        ),
        "grey.png": (grey, {"transparency": 7}, np.where(np.asarray(grey) == 7, 0, 255)),
    }  # fmt: skip


TRANSPARENT = transparent_kinds()


@pytest.mark.parametrize("name", TRANSPARENT)
def test_transparency_is_read_apart_bit_by_bit(name):
    picture, options, alpha = TRANSPARENT[name]
    kind = {"tif": "TIFF"}.get(name.split(".")[1], name.split(".")[1].upper())
    read = decode_picture(saved(picture, kind, **options))
    assert read.alpha.dtype == read.pixels.dtype == np.uint8
    assert np.array_equal(read.alpha, alpha)
    mode = "L" if picture.mode in ("L", "LA") else "RGB"
    assert np.array_equal(read.pixels, np.asarray(picture.convert("RGBA").convert(mode)))


def test_a_clear_value_of_16_bits_is_transparent():
    colours, greys = noise(6, 5, 3, bits=16), noise(6, 5, bits=16)
    colours[2, 1], greys[3, 2] = (1, 2, 3), 5
    for samples, clear, place in ((colours, (1, 2, 3), (2, 1)), (greys, (5,), (3, 2))):
        content = struct.pack(f">{len(clear)}H", *clear)
        read = decode_picture(with_chunk(imagecodecs.png_encode(samples), b"tRNS", content))
        assert np.array_equal(read.pixels, samples)
        assert read.alpha[place] == 0 and (read.alpha == 0).sum() == 1
        assert read.alpha.dtype == np.uint16 and read.alpha.max() == 65535


@pytest.mark.parametrize("kind", ["png", "webp", "tiff"])
@pytest.mark.parametrize("channels", [1, 3])
def test_transparency_is_written_beside_the_colours(kind, channels):
    pixels = noise(9, 7, 3) if channels == 3 else noise(9, 7)
    alpha = noise(9, 7)
    alpha[:3] = 0  # colours stay where they are not seen
    data = encode_picture(pixels, PictureFile(format=kind), alpha)
    stored = np.asarray(Image.open(io.BytesIO(data)))
    colour = pixels if channels == 3 else pixels[..., None]
    assert stored.shape[2] == (4 if kind == "webp" else channels + 1)
    assert np.array_equal(stored[..., :-1], np.broadcast_to(colour, stored[..., :-1].shape))
    assert np.array_equal(stored[..., -1], alpha)


def test_transparency_takes_the_size_and_the_bits_of_the_picture():
    alpha = PHOTO[:5, :4, 0] // 2 + 64  # no overshoot is cut off on the way
    larger = Image.fromarray(alpha).resize((16, 20), Image.Resampling.BICUBIC)
    for bits in (8, 16):
        pixels = noise(20, 16, 3, bits=bits)
        data = encode_picture(pixels, PictureFile(bits=bits), alpha)
        stored = imagecodecs.png_decode(data)
        assert np.array_equal(stored[..., :3], pixels)
        scale = 257 if bits == 16 else 1
        assert np.abs(stored[..., 3] / scale - np.asarray(larger)).max() <= 1
    same = imagecodecs.png_decode(encode_picture(noise(5, 4, bits=16), PictureFile(bits=16), alpha))
    assert np.array_equal(same[..., 1], alpha.astype(np.uint16) * 257)
    deep = noise(5, 4, bits=16)
    same = imagecodecs.png_decode(encode_picture(noise(5, 4), PictureFile(), deep))
    assert np.abs(same[..., 1] - deep / 257).max() <= 0.5


def test_a_jpeg_has_no_transparency():
    data = encode_picture(PHOTO, PictureFile(format="jpeg"), noise(*PHOTO.shape[:2]))
    assert decoded(data).shape == PHOTO.shape


# Files


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("kind", ["png", "tiff"])
def test_16_bits_are_written_as_other_programs_read_them(kind, channels):
    samples = noise(9, 7, channels, bits=16)
    pixels = samples[..., :3] if channels >= 3 else samples[..., 0]
    alpha = samples[..., -1] if channels in (2, 4) else None
    data = encode_picture(pixels, PictureFile(format=kind, bits=16), alpha)
    read = imagecodecs.png_decode if kind == "png" else imagecodecs.tiff_decode
    assert np.array_equal(read(data).reshape(samples.shape), samples)
    if kind == "tiff":
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            page = file.pages.first
            assert np.array_equal(page.asarray().reshape(samples.shape), samples)
            assert page.extrasamples == ((2,) if alpha is not None else ())


def test_what_loses_loses_as_little_as_was_asked_for():
    errors = {}
    for how in (
        "jpeg",
        {"format": "jpeg", "quality": 30},
        "webp",
        {"format": "webp", "quality": 30},
    ):
        data = encode_picture(PHOTO, PictureFile.model_validate(how))
        errors[str(how)] = np.abs(decoded(data).astype(int) - PHOTO).mean()
    jpeg, poor_jpeg, webp, poor_webp = errors.values()
    assert webp == 0 and 0 < jpeg < 3 < poor_jpeg and poor_webp > 3


def test_a_side_that_a_format_cannot_have_is_an_error_in_words():
    pixels = np.zeros((1, 16384, 3), np.uint8)
    with pytest.raises(RowError, match="16384 x 1 pixels, 16383 a side are the most") as e:
        encode_picture(pixels, PictureFile(format="webp"))
    assert e.value.kind == "too_large"
    assert decoded(encode_picture(pixels, PictureFile(format="jpeg"))).shape == pixels.shape


# Metadata

CAMERA, PLACE = ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo
KEPT = {
    0x010E: "a view", 0x010F: "Maker", 0x0110: "Model 5", 0x0132: "2024:05:06 07:08:09",
    0x013B: "Somebody", 0x8298: "(c) Somebody",
}  # fmt: skip
KEPT_CAMERA = {0x9003: "2024:05:06 07:08:09", 0x8827: 400, 0xA434: "50 mm f/1.8"}
KEPT_PLACE = {1: "N", 2: (48.0, 8.0, 1.5), 3: "E", 4: (11.0, 34.0, 30.25)}
DROPPED_CAMERA = {0xA002: 48, 0xA003: 40, 0x927C: b"maker's note" * 9, 0x9286: b"comment"}


def camera_exif(orientation=1):
    exif = Image.Exif()
    for tag, value in KEPT.items():
        exif[tag] = value
    exif[0x0112] = orientation
    exif.get_ifd(CAMERA).update(KEPT_CAMERA | DROPPED_CAMERA)
    exif.get_ifd(PLACE).update(KEPT_PLACE)
    for directory in (CAMERA, PLACE):
        exif[directory] = exif.get_ifd(directory)  # without it, Pillow leaves them out of a TIFF
    return exif


@pytest.mark.parametrize("written", ["png", "webp", "jpeg", "tiff"])
@pytest.mark.parametrize("read", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_what_stays_true_is_kept_from_format_to_format(read, written):
    data = saved(
        Image.fromarray(PHOTO), read, exif=camera_exif(6), dpi=(300, 150), icc_profile=SWAPPED
    )
    picture = decode_picture(data)
    assert picture.pixels.shape == (48, 40, 3)
    how = PictureFile(format=written)
    twice = picture.pixels.repeat(2, axis=0).repeat(2, axis=1)
    data = encode_picture(twice, how, None, picture.metadata)
    stored = Image.open(io.BytesIO(data))
    exif = stored.getexif()
    assert {tag: exif[tag] for tag in KEPT} == KEPT and exif[0x0131] == SOFTWARE
    camera = exif.get_ifd(CAMERA)
    assert {tag: camera[tag] for tag in KEPT_CAMERA} == KEPT_CAMERA
    assert not camera.keys() & DROPPED_CAMERA.keys() and camera[0xA001] == 1
    assert exif.get_ifd(PLACE) == KEPT_PLACE
    assert exif.get(0x0112, 1) == 1 and not exif.get_ifd(ExifTags.IFD.IFD1)
    assert stored.size == (80, 96) == decode_image(data).shape[1::-1]
    assert stored.info["icc_profile"] == srgb_profile()
    if read != "WEBP":  # which has no place for it that is read
        # Turned by a quarter, and of twice as many pixels to the inch.
        assert (float(exif[0x011A]), float(exif[0x011B])) == pytest.approx((300, 600), rel=1e-3)
        if written != "webp":
            assert stored.info["dpi"] == pytest.approx((300, 600), rel=1e-3)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "deep TIFF", "deep PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_applied_once(kind, orientation):
    """What the tag means, by its standard: where row 0 and column 0 of the file are seen."""
    scene = PHOTO[:32, :24].repeat(2, axis=0).repeat(2, axis=1)
    stored = {
        1: scene, 2: scene[:, ::-1], 3: scene[::-1, ::-1], 4: scene[::-1],
        5: scene.swapaxes(0, 1), 6: scene.swapaxes(0, 1)[::-1],
        7: scene[::-1, ::-1].swapaxes(0, 1), 8: scene.swapaxes(0, 1)[:, ::-1],
    }[orientation]  # fmt: skip
    stored = np.ascontiguousarray(stored)
    exif = camera_exif(orientation)
    if kind == "deep TIFF":
        data = tiff16(stored.astype(np.uint16) * 257, extratags=[(274, 3, 1, orientation, True)])
    elif kind == "deep PNG":
        png = imagecodecs.png_encode(stored.astype(np.uint16) * 257)
        data = with_chunk(png, b"eXIf", exif.tobytes()[6:])
    else:
        options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
        data = saved(Image.fromarray(stored), kind, exif=exif, **options)
    picture = decode_picture(data)
    scale = 257 if "deep" in kind else 1
    assert picture.pixels.shape == scene.shape
    difference = np.abs(picture.pixels.astype(int) - scene.astype(int) * scale)
    assert difference.mean() < 4 if kind == "JPEG" else not difference.any()
    pixels = (picture.pixels // scale).astype(np.uint8)
    again = encode_picture(pixels, PictureFile(), None, picture.metadata)
    assert np.array_equal(decode_image(again), pixels)


def test_broken_exif_never_costs_the_picture():
    whole = camera_exif().tobytes()
    for i in range(300):
        broken = bytearray(whole)
        for place in RNG.integers(6, len(whole), 1 + i % 20):
            broken[place] = RNG.integers(256)
        data = saved(Image.fromarray(PHOTO[:8, :8]), "PNG", exif=bytes(broken[: len(whole) - i]))
        picture = decode_picture(data)
        for kind in ("png", "jpeg", "tiff"):
            stored = encode_picture(
                picture.pixels, PictureFile(format=kind), None, picture.metadata
            )
            assert decoded(stored).shape == picture.pixels.shape


def test_exif_that_is_too_long_for_a_jpeg_loses_its_longest_values():
    exif = camera_exif()
    for tag in range(0xA430, 0xA436):
        exif.get_ifd(CAMERA)[tag] = "x" * 4000
    exif.get_ifd(PLACE).update({tag: "z" * 3000 for tag in (8, 9, 10, 12, 14, 16, 18, 19)})
    exif[0x010E] = "y" * 5000  # longer than any value is kept
    data = saved(Image.fromarray(PHOTO), "PNG", exif=exif)
    metadata = decode_picture(data).metadata
    assert len(metadata.exif) <= MAX_EXIF_BYTES
    stored = encode_picture(PHOTO, PictureFile(format="jpeg"), None, metadata)
    kept = Image.open(io.BytesIO(stored)).getexif()
    assert kept[0x0110] == KEPT[0x0110] and 0x010E not in kept


def test_a_picture_that_says_nothing_gets_nothing_said_of_it():
    for kind in ("png", "jpeg", "webp", "tiff"):
        info = Image.open(io.BytesIO(encode_picture(PHOTO, PictureFile(format=kind)))).info
        assert not info.keys() & {"exif", "icc_profile"}
        assert info.get("dpi", (1, 1)) == (1, 1)  # Pillow's word for none in a TIFF
