"""Colour profiles: a picture's own is applied as it is read, and what is written is sRGB."""

from __future__ import annotations

import functools
import re
import struct
from typing import TypeGuard

import imagecodecs
import numpy as np

MAX_PROFILE_BYTES = 2**24  # those of presses take some 4 MB
CHANNELS = {b"GRAY": 1, b"RGB ": 3, b"CMYK": 4}
CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")  # of devices and colour spaces
MAX_STAGES = 64  # of a transform: time grows with their square, and they can share their bytes
CREATED = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)  # fixed: the same picture is the same file
COLORIMETRIC, BLACK_POINT = 1, 0x2000  # lcms's intent and flag


def to_srgb(samples: np.ndarray, profile: object) -> np.ndarray | None:
    """Samples of a picture with this ICC profile, in sRGB: relative colorimetric, black to black.

    Args:
        samples: (H, W) grey, (H, W, 3) RGB or (H, W, 4) CMYK (0 is no ink); uint8 or uint16.
        profile: as the file holds it, so perhaps no profile at all.

    Returns:
        (H, W) with sRGB's tone curve if it was grey, else (H, W, 3), of the same type. None if
        there is no profile, or it is not one for such samples, or is broken.
    """
    if not is_profile_of(profile, samples):
        return None
    channels = samples.shape[2] if samples.ndim == 3 else 1
    if profile == {1: grey_profile(), 3: srgb_profile()}.get(channels):
        return samples  # written here: what is read again is what it was
    stages = re.findall(rb"mpet.{8}(.{4})", profile, re.DOTALL)
    if any(int.from_bytes(count, "big") > MAX_STAGES for count in stages):
        return None
    try:
        converted = imagecodecs.cms_transform(
            samples,
            profile,
            srgb_profile(),
            colorspace={1: "gray", 3: "rgb", 4: "cmyk"}[channels],
            outcolorspace="rgb",
            planar=False,
            outplanar=False,
            intent=COLORIMETRIC,
            flags=BLACK_POINT,
        )
    except imagecodecs.CmsError:
        return None
    # Greys have three equal values there, but for rounding.
    return converted if channels > 1 else np.ascontiguousarray(converted[..., 1])


def is_profile_of(profile: object, samples: np.ndarray) -> TypeGuard[bytes]:
    """Whether this is an ICC profile of pictures with as many channels."""
    if not isinstance(profile, bytes) or not 128 < len(profile) <= MAX_PROFILE_BYTES:
        return False
    channels = samples.shape[2] if samples.ndim == 3 else 1
    return CHANNELS.get(profile[16:20]) == channels and profile[12:16] in CLASSES


@functools.cache
def srgb_profile() -> bytes:
    """The ICC profile of sRGB."""
    return _dated(imagecodecs.cms_profile("srgb"))


@functools.cache
def grey_profile() -> bytes:
    """An ICC profile of greys with sRGB's white and tone curve."""
    colour = srgb_profile()
    names = {b"desc": b"desc", b"cprt": b"cprt", b"wtpt": b"wtpt", b"rTRC": b"kTRC"}
    tags = []
    for i in range(struct.unpack_from(">I", colour, 128)[0]):
        name, start, size = struct.unpack_from(">4sII", colour, 132 + 12 * i)
        if name in names:
            tags.append((names[name], colour[start : start + size]))
    table, content = struct.pack(">I", len(tags)), b""
    for name, value in tags:
        table += struct.pack(">4sII", name, 132 + 12 * len(tags) + len(content), len(value))
        content += value + bytes(-len(value) % 4)
    size = struct.pack(">I", 128 + len(table) + len(content))
    return size + colour[4:16] + b"GRAY" + colour[20:128] + table + content


def _dated(profile: bytes) -> bytes:
    return profile[:24] + CREATED + profile[36:]
