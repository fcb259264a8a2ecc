"""What a picture's file says beside its pixels, as far as it stays true of the restored one.

Kept are the EXIF tags of the camera, its settings, the time, the place and the authors, the
physical size, and that colours are sRGB. Dropped are those of the file that was (orientation,
size in pixels, thumbnail, the maker's note) and XMP.
"""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass
from typing import Any, Literal

from PIL import ExifTags, Image, TiffTags
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

SOFTWARE = "DiffPIR-on-Ray"
PREFIX = b"Exif\0\0"
HEADER = b"II*\0"
MAX_VALUE_BYTES = 4096
MAX_EXIF_BYTES = 2**15  # a JPEG has room for twice that
MAX_PER_INCH = 100_000  # and more than 1, which is said where nothing is known
MAIN, CAMERA, PLACE = 0, 0x8769, 0x8825  # directories, by the tag that points to them
COLOR_SPACE = 0xA001
KEPT = {
    MAIN: {
        0x010E,  # description
        0x010F,  # make
        0x0110,  # model
        0x0132,  # date and time
        0x013B,  # artist
        0x8298,  # copyright
    },
    CAMERA: {
        0x829A,  # exposure time
        0x829D,  # f-number
        0x8822,  # exposure programme
        *range(0x8827, 0x8836),  # sensitivity
        0x9000,  # version of EXIF
        0x9003,  # date and time of the original ...
        0x9004,  # ... when it was digitized ...
        *range(0x9010, 0x9013),  # ... and their offsets from UTC
        *range(0x9201, 0x920B),  # shutter, aperture, distance, metering, flash, focal length
        *range(0x9290, 0x9293),  # fractions of the seconds
        COLOR_SPACE,
        0xA217,  # sensor
        *range(0xA402, 0xA407),  # exposure mode, white balance, zoom, focal length, scene
        *range(0xA430, 0xA436),  # owner, serial numbers, lens
    },
    PLACE: set(range(0x20)),
}
WIDTH_PER_UNIT, HEIGHT_PER_UNIT, UNIT, INCH = 0x011A, 0x011B, 0x0128, 2
SOFTWARE_TAG = 0x0131

Layout = Literal["", "first", "pages"]
Tags = dict[int, ImageFileDirectory_v2]  # a directory for each key of KEPT


@dataclass(frozen=True)
class Metadata:
    """What is kept of a picture's file.

    Attributes:
        exif: the tags kept, as EXIF data; empty if there are none.
        inches: width and height of the upright picture, where its file says how large it is.
        srgb: its colours were converted to sRGB by a profile in the file.
        profile: of its colours, ICC, where they were not converted; empty if there is none.
        layout: where channels lie that come before pixels: ``pages`` of a TIFF, or ``first`` in a
            .npy; empty otherwise.
    """

    exif: bytes = b""
    inches: tuple[float, float] | None = None
    srgb: bool = False
    profile: bytes = b""
    layout: Layout = ""

    def tags(self, width: int, height: int) -> Tags:
        """The EXIF tags of the restored picture of this size in pixels; may be none."""
        tags = read_tags(self.exif)
        main, camera = tags[MAIN], tags[CAMERA]
        if resolution := self.resolution(width, height):
            for tag, value in zip((WIDTH_PER_UNIT, HEIGHT_PER_UNIT), resolution, strict=True):
                main[tag] = IFDRational(round(value * 1000), 1000)
            main[UNIT] = INCH
        if any(tags.values()):
            main[SOFTWARE_TAG] = SOFTWARE
        if self.srgb and camera:
            _put(camera, COLOR_SPACE, TiffTags.SHORT, 1)
        return tags

    def resolution(self, width: int, height: int) -> tuple[float, float] | None:
        """Pixels per inch across and down: an enlarged picture is as large as it was, but finer."""
        return self.inches and (width / self.inches[0], height / self.inches[1])


def read_metadata(
    picture: Image.Image, data: bytes, shape: tuple[int, int], turned: bool, srgb: bool
) -> Metadata:
    """What is kept of a picture's file. What is broken in it is left out; nothing is raised.

    Args:
        picture: opened by Pillow from ``data``.
        data: the file.
        shape: height and width of the picture when it is upright.
        turned: it was upright only after a quarter turn: across in the file is now down.
        srgb: its colours were converted.
    """
    exif, inches = b"", None
    with contextlib.suppress(Exception):
        source = data if picture.format == "TIFF" else picture.info.get("exif", b"")
        exif = source and write_tags(read_tags(source.removeprefix(PREFIX)))
    with contextlib.suppress(Exception):
        across, down = (float(value) for value in picture.info["dpi"])
        if turned:
            across, down = down, across
        if all(1 < value <= MAX_PER_INCH for value in (across, down)):
            inches = shape[1] / across, shape[0] / down
    return Metadata(exif, inches, srgb)


def orientation(picture: Image.Image) -> int | None:
    """The EXIF orientation of a picture that Pillow opened; None if its file does not say."""
    try:
        value = picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # broken EXIF data do no harm to the picture
        return None
    return value if isinstance(value, int) else None


def read_tags(data: bytes) -> Tags:
    """The tags kept of EXIF data or of a TIFF file; the longest are left out if it is too long."""
    tags = {name: ImageFileDirectory_v2(group=name or None) for name in KEPT}
    file, found = io.BytesIO(data), []
    places: dict[int, Any] = {}
    for name in KEPT if data else ():
        with contextlib.suppress(Exception):  # a directory that is broken
            directory = ImageFileDirectory_v2(data[:8], group=name or None)
            file.seek(places.get(name, 0) if name else directory.next)
            directory.load(file)
            places = places or {pointer: directory.get(pointer) for pointer in KEPT}
            for tag in KEPT[name] & set(directory):
                with contextlib.suppress(Exception):  # a value that cannot be written again
                    value = directory.tagtype[tag], directory[tag]
                    alone = ImageFileDirectory_v2(group=name or None)
                    _put(alone, tag, *value)
                    found.append((len(alone.tobytes()), name, tag, value))
    size = 0
    for length, name, tag, value in sorted(found, key=lambda entry: entry[:3]):
        size += length
        if length <= MAX_VALUE_BYTES and size <= MAX_EXIF_BYTES - 100:
            _put(tags[name], tag, *value)
    return tags


def _put(directory: ImageFileDirectory_v2, tag: int, kind: int, value: object) -> None:
    directory.tagtype[tag] = kind
    # Pillow reads text as Latin-1 and writes it as ASCII.
    directory[tag] = value.encode("latin-1") if isinstance(value, str) else value


def write_tags(tags: Tags, strip: bytes = b"") -> bytes:
    """EXIF data, empty if there are no tags; or a TIFF file of one strip of pixels."""
    main = tags[MAIN]
    inner = {name: directory for name, directory in tags.items() if name and directory}
    for name in inner:
        main[name] = 0
    if not main:
        return b""
    start = len(HEADER) + 4
    rest = strip + bytes(len(strip) % 2)  # Pillow makes the strip's offset the end of the main one
    end = start + len(main.tobytes(start))
    for name, directory in inner.items():
        main[name] = end + len(rest)
        rest += directory.tobytes(end + len(rest))
    return HEADER + struct.pack("<I", start) + main.tobytes(start) + rest
