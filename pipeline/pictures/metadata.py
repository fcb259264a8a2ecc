"""What a picture's file says beside its pixels, as far as it stays true of the restored one.

Kept are the EXIF tags of the camera, its settings, the time, the place and the authors, the
physical size, and that colours are sRGB. Dropped are those of the file that was (orientation,
size in pixels, thumbnail, the maker's note) and XMP.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from PIL import Image

from pipeline.pictures.directories import (
    RATIONAL,
    SHORT,
    Directory,
    numbers,
    read_file,
    text,
    write_file,
)

SOFTWARE = "DiffPIR-on-Ray"
PREFIX = b"Exif\0\0"
MAX_EXIF_BYTES = 2**15  # a JPEG has room for twice that
MAX_PER_INCH = 100_000  # and more than 1, which is said where nothing is known
CAMERA, PLACE = 0x8769, 0x8825  # the tags that point to these directories
COLOR_SPACE = 0xA001
KEPT = {
    0x010E: None,  # description
    0x010F: None,  # make
    0x0110: None,  # model
    0x0132: None,  # date and time
    0x013B: None,  # artist
    0x8298: None,  # copyright
    CAMERA: dict.fromkeys(
        [
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
        ]
    ),
    PLACE: dict.fromkeys(range(0x20)),
}
WIDTH_PER_UNIT, HEIGHT_PER_UNIT, UNIT, INCH = 0x011A, 0x011B, 0x0128, 2
SOFTWARE_TAG = 0x0131


@dataclass(frozen=True)
class Metadata:
    """What is kept of a picture's file.

    Attributes:
        exif: the tags kept, as EXIF data; empty if there are none.
        inches: width and height of the upright picture, where its file says how large it is.
        srgb: its colours were converted to sRGB by a profile in the file.
    """

    exif: bytes = b""
    inches: tuple[float, float] | None = None
    srgb: bool = False

    def tags(self, width: int, height: int) -> Directory:
        """The EXIF tags of the restored picture of this size in pixels; may be none."""
        tags = read_file(self.exif, KEPT)
        if resolution := self.resolution(width, height):
            for tag, value in zip((WIDTH_PER_UNIT, HEIGHT_PER_UNIT), resolution, strict=True):
                tags[tag] = numbers(RATIONAL, round(value * 1000), 1000)
            tags[UNIT] = numbers(SHORT, INCH)
        if tags:
            tags[SOFTWARE_TAG] = text(SOFTWARE)
        if self.srgb and CAMERA in tags:
            tags[CAMERA][COLOR_SPACE] = numbers(SHORT, 1)
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
        exif = _small(read_file(source.removeprefix(PREFIX), KEPT))
    with contextlib.suppress(Exception):
        across, down = (float(value) for value in picture.info["dpi"])
        if turned:
            across, down = down, across
        if all(1 < value <= MAX_PER_INCH for value in (across, down)):
            inches = shape[1] / across, shape[0] / down
    return Metadata(exif, inches, srgb)


def _small(tags: Directory) -> bytes:
    """The tags as EXIF data; the longest are left out until it is not too long."""
    while tags and len(exif := write_file(tags)) > MAX_EXIF_BYTES:
        owner, tag = max(
            ((owner, tag) for owner in _directories(tags) for tag in owner if _length(owner[tag])),
            key=lambda place: _length(place[0][place[1]]),
        )
        del owner[tag]
    return exif if tags else b""


def _directories(tags: Directory) -> list[Directory]:
    return [tags, *(value for value in tags.values() if isinstance(value, dict))]


def _length(value) -> int:
    return 0 if isinstance(value, dict) else len(value[1])
