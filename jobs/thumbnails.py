"""Pictures as a sheet shows them: fitted into a cell, and a part of them at 100 %."""

from __future__ import annotations

import numpy as np
from PIL import Image
from torch import Tensor

BLOCK = 8  # pixels; structure finer than this may be noise, so it does not decide what is shown
Box = tuple[int, int, int, int]  # left, top, right, bottom


def rgb(pixels: np.ndarray, alpha: np.ndarray | None = None) -> Image.Image:
    """Of (H, W) or (H, W, C) uint8 or uint16; on white where ``alpha`` (H, W) lets it through.

    Of other channels than colours have, their mean is shown.
    """
    if pixels.ndim == 3 and pixels.shape[2] != 3:
        pixels = pixels.mean(axis=2).round().astype(pixels.dtype)
    image = Image.fromarray(_eight_bits(pixels)).convert("RGB")
    if alpha is None:
        return image
    white = Image.new("RGB", image.size, "white")
    return Image.composite(image, white, Image.fromarray(_eight_bits(alpha)))


def brightest_at(values: np.ndarray, share: float) -> Image.Image:
    """Of (H, W) numbers of 0 or more: white from the value on that this share of them is below."""
    most = max(float(np.quantile(values, share)), 1.0)
    return rgb(np.round(255 * (values / most).clip(max=1)).astype(np.uint8))


def rgb_of_tensor(x: Tensor, channels: int = 3) -> Image.Image | None:
    """Of (1, C, H, W) on [0, 1]; None where an operator measures what is no picture.

    That is where C is neither 1 nor 3 nor as many ``channels`` as the prior takes.
    """
    if x.shape[1] not in (1, 3, channels):
        return None
    return rgb((x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


def fitted(image: Image.Image, restored: Image.Image, side: int) -> Image.Image:
    """The picture in a square of ``side`` pixels, as large as the restored one is there."""
    size = _shown_size(restored if same_shape(image, restored) else image, side)
    if size[0] < image.width:
        return image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    # Small pictures show their pixels; but a reduced one is enlarged as its baseline is.
    reduced = image.width < restored.width
    return image.resize(size, Image.Resampling.BICUBIC if reduced else Image.Resampling.NEAREST)


def detail(image: Image.Image, restored: Image.Image, box: Box) -> Image.Image:
    """What ``box`` of the restored picture shows, at the restored picture's scale.

    ``image`` has its :func:`same_shape`, and may have fewer pixels.
    """
    scale = image.width / restored.width
    size = box[2] - box[0], box[3] - box[1]
    left, top, right, bottom = (edge * scale for edge in box)
    return image.resize(size, Image.Resampling.BICUBIC, box=(left, top, right, bottom))


def liveliest(image: Image.Image, side: int) -> Box:
    """The window, of at most ``side`` x ``side`` pixels, that has the most edges in it."""
    blocks = np.asarray(image.convert("L").reduce(BLOCK), np.float64)
    down, across = (
        np.abs(np.diff(blocks, axis=axis, prepend=blocks.take([0], axis=axis))) for axis in (0, 1)
    )
    total = np.pad((down + across).cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))
    h, w = (min(side // BLOCK, length) for length in blocks.shape)
    windows = total[h:, w:] - total[:-h, w:] - total[h:, :-w] + total[:-h, :-w]
    place = np.unravel_index(windows.argmax(), windows.shape)
    width, height = min(side, image.width), min(side, image.height)
    top = min(int(place[0]) * BLOCK, image.height - height)
    left = min(int(place[1]) * BLOCK, image.width - width)
    return left, top, left + width, top + height


def same_shape(a: Image.Image, b: Image.Image) -> bool:
    """Whether one is the other enlarged."""
    return a.width * b.height == a.height * b.width


def _shown_size(image: Image.Image, side: int) -> tuple[int, int]:
    longest = max(image.size)
    # Enlarged by a whole number only, so that all pixels stay equal squares.
    scale = side // longest if longest <= side else side / longest
    return max(1, round(image.width * scale)), max(1, round(image.height * scale))


def _eight_bits(values: np.ndarray) -> np.ndarray:
    return (values >> 8).astype(np.uint8) if values.dtype == np.uint16 else values
