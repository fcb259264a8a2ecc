"""Pictures as a page holds them: small previews inside, the full ones beside it on request."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from jobs.thumbnails import rgb

SIDE = 320  # pixels of a preview, at most
MIN_SIDE = 64
QUALITY = 78
# Anchors of the colour map "inferno" (CC0, by Stéfan van der Walt and Nathaniel Smith).
INFERNO = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])


@dataclass(frozen=True)
class Preview:
    """A picture's file inside a page.

    Attributes:
        data: WebP.
        exact: it has every pixel of the picture, as it is.
    """

    data: bytes
    exact: bool


def data_uri(data: bytes, kind: str) -> str:
    """The URI that holds a file of a media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def preview(picture: Image.Image, budget: int) -> Preview:
    """An RGB picture in about ``budget`` bytes: lossless if that suffices, else reduced."""
    if max(picture.size) <= 4 * SIDE and picture.width * picture.height <= budget:
        data = _webp(picture, lossless=True, method=2)
        if len(data) <= budget:
            return Preview(data, exact=True)
    side = min(SIDE, max(picture.size))
    while True:
        small = picture.copy()
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        data = _webp(small, quality=QUALITY, method=2)
        if len(data) <= budget or side <= MIN_SIDE:
            return Preview(data, exact=False)
        # Bytes go about with the number of pixels.
        side = max(MIN_SIDE, int(side * max(0.5, 0.95 * (budget / len(data)) ** 0.5)))


def png(picture: Image.Image) -> bytes:
    """The picture's file with every pixel as it is."""
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def heat(values: np.ndarray, share: float) -> Image.Image:
    """Of (H, W) numbers of 0 or more: black for 0, the lightest from this share of them on."""
    most = max(float(np.quantile(values, share)), 1.0)
    places = np.linspace(0, 255, len(INFERNO))
    channels = [np.interp(np.arange(256), places, INFERNO[:, c]) for c in range(3)]
    colours = np.stack(channels, axis=-1).round().astype(np.uint8)
    return rgb(colours[(values * (255 / most)).clip(max=255).astype(np.uint8)])


def _webp(picture: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", **options)
    return buffer.getvalue()
