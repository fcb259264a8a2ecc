import gzip
import io
import os
import struct
import time
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile

from pipeline.errors import RowError
from pipeline.fence.decoders import decode_image, decode_kernel, decode_mask, kernel_names
from pipeline.output.naming import MAX_PATH_BYTES, SUFFIXES, image_path
from pipeline.pictures.decode import check_kernel
from pipeline.pictures.words import reading
from tests.pictures import decoding_takes, photograph, save_broken, save_kinds


def npy(array, **kwargs):
    buffer = io.BytesIO()
    np.save(buffer, array, **kwargs)
    return buffer.getvalue()


def saved(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def archive_of(method=zipfile.ZIP_DEFLATED, **members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as z:
        for name, content in members.items():
            z.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def test_every_kind_of_picture_shows_the_same_scene(tmp_path):
    scene = np.asarray(photograph().convert("L")) / 255
    for name, path in save_kinds(tmp_path).items():
        array = decode_image(path.read_bytes())
        assert array.dtype == (np.uint16 if name.startswith(("sixteen", "float")) else np.uint8)
        level = array / np.iinfo(array.dtype).max
        level = level if level.ndim == 2 else level.mean(axis=2)
        if name == "turned.jpg":
            level = np.rot90(level)
        assert np.corrcoef(level.ravel(), scene.ravel())[0, 1] > (0.6 if "bi" in name else 0.97)


def test_broken_files_are_refused(tmp_path):
    kinds = {}
    for name, path in save_broken(tmp_path).items():
        with pytest.raises(RowError) as e:
            decode_image(path.read_bytes())
        kinds[name] = e.value.kind
    assert kinds == {
        "empty.png": "empty_file",
        "text.png": "not_an_image",
        "truncated.png": "damaged",
        "damaged.png": "damaged",
        "animated.gif": "several_frames",
    }


def test_masks_are_images_or_arrays(tmp_path):
    mask = np.zeros((4, 6), bool)
    mask[1:3] = True
    assert np.array_equal(decode_mask(npy(mask.astype(float))), mask)
    assert np.array_equal(decode_mask(saved(Image.fromarray(mask), "PNG")), mask)
    ones = npy(np.ones((1, 2), bool))
    assert decode_mask(ones[:-1] + b"\2").tolist() == [[True, True]]
    for wrong, kind in (
        (npy(np.zeros((2, 3, 4))), "bad_mask"),
        (npy(np.zeros((0, 3))), "bad_mask"),
        (npy(np.zeros((4, 6))), "bad_mask"),
        (saved(Image.fromarray(mask.astype(np.uint8)), "PNG"), "bad_mask"),  # 0 and 1 of 255
        (b"", "empty_file"),
        (b"text", "not_an_image"),
        (npy(mask)[:-1], "damaged"),
        (npy(mask)[:90], "damaged"),
    ):
        with pytest.raises(RowError) as e:
            decode_mask(wrong)
        assert e.value.kind == kind


def test_kernels_are_arrays_archives_or_images():
    k = np.array([[0.0, 1, 2], [3, 4, 5]])
    assert np.allclose(decode_kernel(npy(k)), k / 15)
    archive = io.BytesIO()
    np.savez(archive, a=k, b=k.T)
    assert kernel_names(archive.getvalue()) == ["a", "b"]
    assert decode_kernel(archive.getvalue(), "b").shape == (3, 2)
    with pytest.raises(RowError, match="holds a, b: name one of them"):
        decode_kernel(archive.getvalue())
    assert decode_kernel(saved(photograph(5, 4), "PNG")).shape == (4, 5)
    by_column = np.asfortranarray(k)
    assert np.array_equal(decode_kernel(npy(by_column)), decode_kernel(npy(k)))


def test_kernels_from_tiff_keep_their_values():
    """Those of a picture are from 0 to 1, or of 16 bits; a kernel's are not."""
    k = np.array([[0.0, 1.5, 2], [3, 70000, 5]])
    for dtype in (np.float32, np.int32):
        data = saved(Image.fromarray(k.astype(dtype)), "TIFF")
        assert np.allclose(decode_kernel(data), k.astype(dtype) / k.astype(dtype).sum())
    sixteen = saved(Image.fromarray(np.array([[1, 2], [3, 60000]], np.uint16)), "TIFF")
    assert np.allclose(decode_kernel(sixteen), np.array([[1, 2], [3, 60000]]) / 60006)
    for wrong, words in ((-k, "negative"), (k * np.nan, "NaN")):
        with pytest.raises(RowError, match=words):
            decode_kernel(saved(Image.fromarray(wrong.astype(np.float32)), "TIFF"))


@pytest.mark.parametrize(
    "kernel, words",
    [
        ([[1.0, np.nan]], "NaN"),
        ([[1.0, np.inf]], "infinity"),
        ([[1.0, -0.5]], "negative"),
        ([[0.0, 0.0]], "zero everywhere"),
        ([1.0, 2.0], "shape"),
        (np.zeros((0, 3)), "shape"),
        ([["a"]], "expected numbers"),
        ([[1j]], "expected numbers"),
    ],
)
def test_what_is_no_blur_is_refused(kernel, words):
    with pytest.raises(RowError, match=words):
        check_kernel(np.asarray(kernel))


def test_what_only_looks_like_numpy_is_refused():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("k", "text")
    for decode in (decode_kernel, decode_mask):
        with pytest.raises(RowError, match="not of numpy arrays"):
            decode(archive.getvalue())
    for values in (np.zeros((2, 2), [("a", "i4")]), np.array([["x"]]), np.array([[np.nan]])):
        with pytest.raises(RowError, match="no finite numbers"):
            decode_mask(npy(values))


def test_large_values_of_a_kernel_do_not_overflow():
    assert np.allclose(check_kernel(np.full((2, 2), 1e308)), 0.25)


def test_photographs_with_a_preview_are_taken_and_no_other_program_is_run():
    data = saved(photograph(), "MPO", save_all=True, append_images=[photograph(16, 16)])
    assert decode_image(data).shape == (40, 48, 3)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n"
    fields = {(3, 20): 9, (3, 30): 9, (3, 60): b"\1\0", (3, 120): 1, (8, 10): eps}
    iptc = b""
    for (group, field), value in fields.items():
        content = value if isinstance(value, bytes) else struct.pack(">I", value)
        iptc += struct.pack(">BBBH", 28, group, field, len(content)) + content
    assert Image.open(io.BytesIO(iptc)).format == "IPTC"  # its pixels would be read by Ghostscript
    for data in (eps, iptc):
        with pytest.raises(RowError, match="not an image of a known format"):
            decode_image(data)


def test_pickles_in_arrays_are_not_run():
    with pytest.raises(RowError, match="object values that are no finite numbers"):
        decode_kernel(npy(np.array([[object()]]), allow_pickle=True))


def tiff(width, height, values, content):
    """A little-endian TIFF of one deflated tile or raw strips, by its tags alone."""
    tags = {256: width, 257: height, 258: 8, 262: 1, 277: 1, **values}
    start = 8 + 2 + 12 * len(tags) + 4
    entries = b""
    for tag, value in sorted(tags.items()):
        count, value = value if isinstance(value, tuple) else (1, value)
        entries += struct.pack("<HHII", tag, 4, count, start if value is None else value)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + content


def many_scans():
    data = saved(photograph(), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    return data[:last] + data[last:-2] * 1001 + data[-2:]


def small_precincts():
    """Of 1 x 1 samples: OpenJPEG would take 2 GB for them."""
    data = bytearray(saved(Image.new("L", (2048, 2048)), "JPEG2000", precinct_size=(128, 128)))
    style = data.index(b"\xff\x52")
    data[style + 14 : style + 15 + data[style + 9]] = b"\x11" * data[style + 9] + b"\0"
    return bytes(data)


def small_tiles():
    data = bytearray(saved(Image.new("L", (256, 255)), "JPEG2000", no_jp2=True))
    struct.pack_into(">II", data, data.index(b"\xff\x51") + 22, 1, 1)
    return bytes(data)


def large_icon():
    icon = saved(photograph(), "ICO", sizes=[(16, 16)])
    start = 6 + 16
    return icon[:start] + saved(Image.new("L", (1024, 1024)), "PNG")


def png_header(width, height):
    header = b"IHDR" + struct.pack(">II5B", width, height, 8, 2, 0, 0, 0)
    end = struct.pack(">I", 0) + b"IEND"
    check = [struct.pack(">I", zlib.crc32(chunk)) for chunk in (header, end[4:])]
    return b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + check[0] + end + check[1]


def fits():
    """256 MiB of zeros, compressed, that are said to be 64 x 64 pixels."""

    def cards(**values):
        lines = [f"{name:8}= {value}".ljust(80) for name, value in values.items()]
        return ("".join(lines) + "END".ljust(80)).ljust(2880).encode()

    first = cards(SIMPLE="T", BITPIX=8, NAXIS=0)
    table = cards(
        XTENSION="'BINTABLE'", BITPIX=8, NAXIS=2, NAXIS1=0, NAXIS2=0, ZIMAGE="T",
        ZCMPTYPE="'GZIP_1  '", ZBITPIX=8, ZNAXIS=2, ZNAXIS1=64, ZNAXIS2=64,
    )  # fmt: skip
    return first + table + gzip.compress(bytes(2**28))


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: saved(Image.new("L", (257, 256)), "PNG"), "257 x 256 pixels, 65536 are allowed"),
        (lambda: png_header(2**31 - 1, 2**31 - 1), "pixels, 65536 are allowed"),
        (large_icon, "too large"),
    ],
)
def test_what_a_file_claims_is_compared_with_what_is_allowed(make, words):
    with pytest.raises(RowError, match=words) as e:
        decode_image(make(), max_pixels=2**16)
    assert e.value.kind == "too_large"


@pytest.mark.parametrize(
    "make, max_pixels, kind",
    [
        (
            lambda: tiff(64, 64, {259: 8, 322: 30000, 323: 30000, 324: 999, 325: 9}, b""),
            2**16,
            "out_of_memory",
        ),
        (small_tiles, 2**16, "damaged"),  # which OpenJPEG says
        (small_precincts, 2**22, "damaged"),  # it gets no memory for them
    ],
    ids=["TIFF tile", "JPEG 2000 tiles", "JPEG 2000 precincts"],
)
def test_what_would_take_more_memory_than_its_pixels_is_an_error(make, max_pixels, kind):
    with decoding_takes(2**10), pytest.raises(RowError, match="decode") as e:
        decode_image(make(), max_pixels=max_pixels)
    assert e.value.kind == kind


def test_structures_that_are_many_for_their_pixels_are_read():
    """Each costs Python objects, or a pass over the pixels."""
    strips = tiff(64, 64, {259: 1, 273: (2**18 + 1, None), 278: 1}, bytes(2**20 + 4))
    for data in (strips, many_scans()):
        with decoding_takes(100):
            decode_image(data)


def test_decoding_ends_at_its_deadline():
    picture = saved(photograph(4000, 3000), "JPEG", progressive=True)
    last = picture.rfind(b"\xff\xda")
    scans = picture[:last] + picture[last:-2] * 1000 + picture[-2:]
    began = time.monotonic()
    with pytest.raises(RowError, match="took longer than 1 s") as e:
        decode_image(scans, seconds=1)
    assert e.value.kind == "timeout" and time.monotonic() - began < 30


def test_usual_jpeg_2000_files_are_read():
    usual = [{}, {"precinct_size": (32, 32)}, {"tile_size": (64, 64), "precinct_size": (64, 64)}]
    for options in usual:
        picture = saved(photograph(300, 200), "JPEG2000", **options)
        assert decode_image(picture).shape == (200, 300, 3)


def test_an_indexed_png_without_a_palette_is_said_to_be_one():
    data = saved(photograph().convert("P"), "PNG")
    start = data.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    with pytest.raises(RowError, match="an indexed PNG without a palette") as e:
        decode_image(data[:start] + data[end:])
    assert e.value.kind == "damaged"


def test_an_exception_without_words_becomes_words():
    with pytest.raises(RowError, match="the decoder gives no reason"), reading("mask"):
        raise AssertionError


def test_no_more_is_inflated_than_the_header_says():
    data = fits()
    with decoding_takes(16):
        decode_image(data)


def test_many_frames_are_not_counted():
    frame = b"\x2c" + struct.pack("<HHHH", 0, 0, 1, 1) + b"\0\x02\x02\x44\x01\0"
    data = saved(Image.new("P", (64, 64)), "GIF")[:-1]
    with pytest.raises(RowError, match="holds 101 frames"):
        decode_image(data + frame * 100 + b";")
    with decoding_takes(100, 1), pytest.raises(RowError, match="holds several frames") as e:
        decode_image(data + frame * 1_000_000 + b";")
    assert e.value.kind == "several_frames"
    pages = saved(photograph(), "TIFF", save_all=True, append_images=[photograph()] * 3)
    with pytest.raises(RowError, match="several frames or pages"):
        decode_image(pages)


def test_settings_of_the_process_are_neither_used_nor_changed(monkeypatch):
    whole = saved(photograph(), "JPEG")
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    assert decode_image(whole).shape == (40, 48, 3)
    with pytest.raises(RowError, match="truncated") as e:
        decode_image(whole[: len(whole) // 2])
    assert e.value.kind == "damaged"
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True and Image.MAX_IMAGE_PIXELS == 5


def test_exif_that_is_broken_does_no_harm():
    picture = saved(photograph(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + bytes(9))
    assert decode_image(picture).shape == (40, 48, 3)


@pytest.mark.parametrize(
    "array, kind",
    [
        (np.array([[70000]], np.int32), "bad_pixels"),
        (np.array([[1.5]], np.float32), "bad_pixels"),
        (np.array([[np.nan]], np.float32), "bad_pixels"),
    ],
)
def test_pixels_out_of_range_are_refused(array, kind):
    with pytest.raises(RowError, match="outside") as e:
        decode_image(saved(Image.fromarray(array), "TIFF"))
    assert e.value.kind == kind


def claimed(shape, content=b""):
    """A .npy file whose header says this shape."""
    buffer = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + content


@pytest.mark.parametrize(
    "shape, kind, words",
    [
        ((2**20, 2**20), "too_large", "65536 values are allowed"),
        ((-1, 5), "too_large", "shape"),
        ((2**62, 0), "too_large", "shape"),
        ((100, 100), "damaged", "expected 80000 bytes got 0"),
        ((10**200, 10**200), "too_large", "shape"),
        ((1,) * 1000, "bad_kernel", "expected the shape"),
    ],
)
def test_the_shape_that_an_array_claims_is_checked_before_memory_is_taken(shape, kind, words):
    for data in (claimed(shape), archive_of(k=claimed(shape))):
        with pytest.raises(RowError, match=words) as e:
            decode_kernel(data, max_pixels=2**16)
        assert e.value.kind == kind and len(str(e.value)) < 300


def test_a_kernel_has_its_own_limit():
    with pytest.raises(RowError, match="1048576 values are allowed"):
        decode_kernel(claimed((1025, 1024)))
    assert decode_kernel(npy(np.ones((1024, 1024), np.uint8))).shape == (1024, 1024)


def test_an_archive_is_not_inflated_beyond_what_its_header_says():
    data = archive_of(k=claimed((2, 2), np.ones(4).tobytes() + bytes(2**28)))
    assert len(data) < 2**20
    with decoding_takes(16):
        assert np.array_equal(decode_kernel(data), np.full((2, 2), 0.25))


@pytest.mark.parametrize(
    "data, kind, words",
    [
        (archive_of(**{f"k{i}": b"" for i in range(1001)}), "too_large", "more than 1000 arrays"),
        (archive_of(**{f"k{i}": b"" for i in range(900)}), "bad_kernel", "k0, k1, .* ...: name"),
        (archive_of(), "bad_kernel", "no array of numbers"),
        (archive_of(k=npy(np.ones((2, 2))))[:-9], "damaged", "not a zip file"),
        (b"PK\3\4" + os.urandom(99), "damaged", "not a zip file"),
        (b"\x93NUMPY\7\7" + bytes(99), "damaged", "cannot be read"),
        (b"\x93NUMPY\1\0\x20\x4e" + b"[" * 20000, "damaged", "cannot be read"),
        (b"\x93NUMPY\1\0\x0f\x27" + b"(" * 9999, "damaged", "cannot be read|not the memory"),
    ],
)
def test_broken_archives_and_headers_are_refused(data, kind, words):
    with pytest.raises(RowError, match=words) as e:
        decode_kernel(data)
    assert e.value.kind in (kind, "out_of_memory") and len(str(e.value)) < 400


def test_a_member_that_is_damaged_is_noticed():
    data = bytearray(archive_of(zipfile.ZIP_STORED, k=npy(np.ones((2, 2)))))
    data[data.index(np.ones(1).tobytes()) + 3] ^= 1
    with pytest.raises(RowError, match="CRC") as e:
        decode_kernel(bytes(data))
    assert e.value.kind == "damaged"


PARTS = ["a", "a.png", "a.jpg", "a.tif", ".", "..", "", "%", "é" * 150, "b" * 190, "con:", "x\n"]
IDS = st.text(min_size=1, max_size=300) | st.lists(st.sampled_from(PARTS), min_size=1).map("/".join)


SUFFIX = st.sampled_from(list(SUFFIXES.values()))


@given(IDS, SUFFIX)
def test_an_id_never_leads_outside_the_output(image_id, suffix):
    path = image_path(image_id, suffix)
    parts = path.split("/")
    assert path.endswith(suffix) and not path.startswith("/")
    assert len(path.encode()) <= MAX_PATH_BYTES
    for part in parts:
        assert part not in ("", ".", "..") and "\0" not in part and "\\" not in part
        assert len(part.encode()) <= 255


@given(st.lists(IDS, min_size=2, max_size=8, unique=True), SUFFIX)
def test_different_ids_have_different_paths_and_no_file_is_a_folder(ids, suffix):
    paths = [image_path(i, suffix) for i in ids]
    assert len(set(paths)) == len(ids)
    folders = {p.rsplit("/", n)[0] for p in paths for n in range(1, p.count("/") + 1)}
    assert not folders & set(paths)
