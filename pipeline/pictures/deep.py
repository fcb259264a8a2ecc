"""Pictures of several channels with 16 bits each, which Pillow cuts to 8: PNG and TIFF.

They are decoded only after Pillow opened the file, found its size allowed and read it whole.
"""

from __future__ import annotations

from dataclasses import dataclass

import imagecodecs
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

PREMULTIPLIED = 1  # of a TIFF's further channel


@dataclass(frozen=True)
class Deep:
    """What such a file says of its samples.

    Attributes:
        tiff: whether it is a TIFF, else a PNG.
        height, width, channels: of the samples as they are stored.
        planes: they are stored one channel after the other.
        alpha: the last channel is transparency; one that is not is left out.
        premultiplied: the others were multiplied by it.
    """

    tiff: bool
    height: int
    width: int
    channels: int
    planes: bool = False
    alpha: bool = False
    premultiplied: bool = False


def deep_colour(picture: Image.Image) -> Deep | None:
    """What a file that Pillow opened, but did not read yet, says; None if Pillow reads it well."""
    width, height = picture.size
    if isinstance(picture, PngImageFile):
        channels = {"LA;16B": 2, "RGB;16B": 3, "RGBA;16B": 4}.get(str(picture.tile[0].args))
        if channels is None:
            return None
        clear = channels == 3 and "transparency" in picture.info  # libpng makes it a channel
        return Deep(False, height, width, channels + clear, alpha=channels != 3 or clear)
    if isinstance(picture, TiffImageFile) and picture.mode in ("RGB", "RGBA"):
        tags = picture.tag_v2
        bits = tags.get(258, ())
        if set(bits) != {16} or tags.get(262) != 2 or len(bits) not in (3, 4):
            return None
        return Deep(
            True,
            tags[257],
            tags[256],
            len(bits),
            planes=tags.get(284) == 2,
            alpha=picture.mode == "RGBA",
            premultiplied=tags.get(338, (0,))[0] == PREMULTIPLIED,
        )
    return None


def decode_deep(data: bytes, deep: Deep) -> tuple[np.ndarray, np.ndarray | None]:
    """Colours, (H, W) or (H, W, 3), and transparency, (H, W) or None; uint16.

    Raises:
        Exception: of whatever class, where the file is broken or is not as it said.
    """
    shape = (deep.height, deep.width, deep.channels)
    if deep.planes:
        shape = (deep.channels, deep.height, deep.width)
    # An array of the size that was allowed: a decoder that finds another in the file refuses it.
    samples = np.zeros(shape, np.uint16)
    decode = imagecodecs.tiff_decode if deep.tiff else imagecodecs.png_decode
    decode(data, out=samples)
    if deep.planes:
        samples = np.moveaxis(samples, 0, 2)
    colour = samples[..., 0] if deep.channels == 2 else samples[..., :3]
    alpha = samples[..., -1] if deep.alpha else None
    if deep.premultiplied and alpha is not None:
        share = np.maximum(alpha, 1)[..., None].astype(np.float32) / 65535
        colour = np.minimum(np.round(colour / share), 65535).astype(np.uint16)
    return colour, alpha
