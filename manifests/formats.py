"""The image formats that are read."""

from __future__ import annotations

import functools
import io

from PIL import Image

# Formats that Pillow identifies and cannot decode, or only by running another program; and IPTC,
# inside of which it would open a file of any format, those too.
UNDECODABLE = {"BUFR", "EPS", "GRIB", "HDF5", "IPTC", "MPEG", "WMF"}


@functools.cache
def decodable_formats() -> tuple[str, ...]:
    """Pillow's names of the formats that it decodes itself."""
    Image.preinit()  # its few formats, which most files have, are tried first
    Image.init()
    return tuple(name for name in Image.OPEN if name not in UNDECODABLE)


def opens(data: bytes) -> bool:
    """Whether a file of this project's own is one that Pillow takes for a picture."""
    try:
        with Image.open(io.BytesIO(data), formats=decodable_formats()) as picture:
            return getattr(picture, "n_frames", 1) == 1
    except (OSError, SyntaxError, ValueError):
        return False


@functools.cache
def image_suffixes() -> frozenset[str]:
    """The file suffixes of these formats, lower case, with their dot."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, kind in known if kind in decodable_formats())
