"""What Pillow must not do with a file that may be anyone's."""

from __future__ import annotations

import contextlib
import re
import struct
import threading
import warnings

from PIL import Image, ImageFile

from pipeline.errors import RowError

FIRST_IS_WHOLE = ("MPO", "PSD")  # formats whose further frames are previews or layers
COUNTED_BYTES = 2**17  # of a file that is walked through to count its frames
MAX_SCANS = 1000  # of a JPEG: some bytes of each cost a pass over all pixels; cameras make 10
MAX_TIFF_VALUES = 2**18  # of one tag: strips, tiles, colours; each becomes Python objects
TIFF_SIZES = {256, 257, 322, 323, 32997}  # tags of widths, heights and depths
MIN_TILE_PIXELS = 2**22  # that a tile may have, however few are allowed for the image
# Tiles of a JPEG 2000 (some 10 KB each) and precincts (some 2 KB each): beside a number of them
# that is always allowed, one for so many pixels.
MIN_TILES, TILE_PIXELS = 1024, 2**12
MIN_PRECINCTS, PRECINCT_PIXELS = 8192, 2**8
MAX_CODESTREAMS = 64  # of JPEG 2000, in one file
CODESTREAM = b"\xff\x4f\xff\x51"
CODING_STYLE = re.compile(rb"\xff[\x52\x53]\x00[\x09-\x2d]")  # its marker and length
SIGNATURES = {
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\xff\x4f\xff\x51": "JPEG 2000",
    b"\0\0\0\x0cjP  ": "JPEG 2000",
    b"BM": "BMP",
    b"8BPS": "PSD",
}
_lock = threading.Lock()


def known_signature(data: bytes) -> str | None:
    """The format that the bytes begin like, among the common ones."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "AVIF"
    return next((name for start, name in SIGNATURES.items() if data.startswith(start)), None)


@contextlib.contextmanager
def strict_pillow(max_pixels: int):
    """Pillow's settings of the process as untrusted files need them; put back at the end.

    Only one thread at a time can have them.
    """
    with _lock, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they warn of is checked or is no fault
        before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
        # Pillow refuses images within files (icons, animations) of twice as many pixels.
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, max_pixels
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def check_size(picture: Image.Image, max_pixels: int) -> None:
    """Raise RowError ``too_large`` for a picture of more pixels."""
    width, height = picture.size
    if width * height > max_pixels:
        raise RowError(
            f"the image is too large: {width} x {height} pixels, {max_pixels} are allowed",
            "too_large",
        )


def check_bytes(data: bytes) -> None:
    """Raise RowError ``too_large`` for what already costs too much to be opened."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    with contextlib.suppress(struct.error, OverflowError):  # a broken one: Pillow finds out
        if order and struct.unpack_from(order + "H", data, 2)[0] in (42, 43):
            _check_tiff(data, order)


def _check_tiff(data: bytes, order: str) -> None:
    if struct.unpack_from(order + "H", data, 2)[0] == 43:  # BigTIFF
        (start,) = struct.unpack_from(order + "Q", data, 8)
        (entries,) = struct.unpack_from(order + "Q", data, start)
        start, entry = start + 8, struct.Struct(order + "HHQ8x")
    else:
        (start,) = struct.unpack_from(order + "I", data, 4)
        (entries,) = struct.unpack_from(order + "H", data, start)
        start, entry = start + 2, struct.Struct(order + "HHI4x")
    sizes = set()
    for i in range(entries):
        tag, kind, count = entry.unpack_from(data, start + i * entry.size)
        if tag in sizes:  # Pillow heeds the last of them, libtiff the first
            raise RowError(f"the TIFF says twice what its tag {tag} is", "damaged")
        sizes |= {tag} & TIFF_SIZES
        if count > MAX_TIFF_VALUES and kind not in (1, 2, 6, 7):  # bytes stay bytes
            text = f"the TIFF has {count} values of tag {tag}, {MAX_TIFF_VALUES} are allowed"
            raise RowError(text, "too_large")


def check_opened(picture: ImageFile.ImageFile, data: bytes, max_pixels: int) -> None:
    """Raise RowError for a file of several frames, or one whose decoding costs too much.

    That is more than the image's pixels and the file's bytes explain.
    """
    if picture.format == "TIFF":
        tile = picture.tag_v2.get(322, 0), picture.tag_v2.get(323, 0)  # its width and height
        if tile[0] * tile[1] > max(max_pixels, MIN_TILE_PIXELS):
            text = f"the TIFF's tiles are too large: {tile[0]} x {tile[1]} pixels"
            raise RowError(text, "too_large")
    if picture.format in ("JPEG2000", "ICNS"):
        _check_jpeg2000(data, max_pixels)
    if picture.format in ("JPEG", "MPO", "BLP") and data.count(b"\xff\xda") > MAX_SCANS:
        raise RowError(f"the JPEG has more than {MAX_SCANS} scans", "too_large")
    if picture.format not in FIRST_IS_WHOLE and getattr(picture, "is_animated", False):
        frames = picture.n_frames if _counted(picture, data) else "several"
        text = f"the file holds {frames} frames or pages, not one image"
        raise RowError(text, "several_frames")


def _counted(picture: Image.Image, data: bytes) -> bool:
    """Whether it is cheap to count the frames: that the header tells, or a short walk does."""
    told = not hasattr(type(picture), "n_frames")
    return told or (picture.format != "TIFF" and len(data) <= COUNTED_BYTES)


def _check_jpeg2000(data: bytes, max_pixels: int) -> None:
    """Compare what OpenJPEG takes memory for with the number of pixels.

    The markers are looked for wherever they may be: one that is not where it belongs, and not
    seen here, may yet be found by the decoder.
    """
    if data.count(CODESTREAM) > MAX_CODESTREAMS:
        raise RowError(f"the file holds more than {MAX_CODESTREAMS} JPEG 2000 images", "too_large")
    start = data.find(CODESTREAM)
    while start >= 0:
        _check_codestream(data, start, max_pixels)
        start = data.find(CODESTREAM, start + 1)


def _check_codestream(data: bytes, start: int, max_pixels: int) -> None:
    try:
        right, bottom, left, top, tile_width, tile_height = struct.unpack_from(
            ">6I", data, start + 8
        )
        (components,) = struct.unpack_from(">H", data, start + 40)
    except struct.error:
        raise RowError("the JPEG 2000 image is truncated", "damaged") from None
    width, height = right - left, bottom - top
    if min(width, height, tile_width, tile_height) < 1 or not 1 <= components <= 4:
        raise RowError("the JPEG 2000 image has no valid size", "damaged")
    if width * height > max_pixels:
        raise RowError(
            f"the image is too large: {width} x {height} pixels, {max_pixels} are allowed",
            "too_large",
        )
    # The first tile may begin outside the image: one more in each direction.
    tiles = (-(-width // tile_width) + 1) * (-(-height // tile_height) + 1)
    if tiles > MIN_TILES + width * height // TILE_PIXELS:
        raise RowError(f"the JPEG 2000 image is cut into too many ({tiles}) tiles", "too_large")
    tile = min(width, tile_width), min(height, tile_height)
    for style in CODING_STYLE.finditer(data):
        precincts = tiles * _precincts(data, style.start(), tile)
        if precincts > MIN_PRECINCTS + width * height // PRECINCT_PIXELS:
            raise RowError(
                f"the JPEG 2000 image is cut into too many ({precincts}) precincts", "too_large"
            )


def _precincts(data: bytes, start: int, tile: tuple[int, int]) -> int:
    """Of one tile, by a coding style (COD or COC) at this place; 0 if there is none after all."""
    whole = data[start + 1] == 0x52
    length = int.from_bytes(data[start + 2 : start + 4], "big")
    style, levels = (4, 9) if whole else (5, 6)  # where they are
    sizes = start + (14 if whole else 11)
    given = data[sizes : start + 2 + length]
    if len(given) != length + 2 + start - sizes or not given or not data[start + style] & 1:
        return 0
    if len(given) != data[start + levels] + 1:
        return 0
    count = 0
    for level, size in enumerate(reversed(given)):  # the exponents, from the full resolution on
        across, down = (size & 15) + level, (size >> 4) + level
        count += (-tile[0] >> across) * (-tile[1] >> down)  # both rounded up, negative
    return count
