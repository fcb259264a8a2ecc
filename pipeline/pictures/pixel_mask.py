"""Masks from a picture's own pixels: the transparent, those of some values, or of a colour."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import Literal

import numpy as np

from pipeline.errors import RowError

Channels = Literal["all", "any", "each"]
EIGHT_BITS, SIXTEEN_BITS = 255, 65535
AREA = 3  # side of a square that damage of single pixels does not fill


@dataclass(frozen=True)
class PixelMask:
    """What tells the hidden pixels of a picture; one of ``alpha``, ``values`` and ``colour``.

    Attributes:
        alpha: pixels are hidden whose opacity, 0 to 1, is below it.
        values: that hidden pixels have, in the file's own units: 0 to 255, or 0 to 65535 if it has
            16 bits, or 0 to 1 if it has floating-point numbers.
        colour: that hidden pixels have: red, green and blue, 0 to 255 whatever the file's units.
        tolerance: how far off each channel may be; of values in their units, else of 255.
        channels: of values: a pixel is hidden if ``all`` its channels have the same one of them, or
            if ``any`` has one; or ``each`` channel is hidden by itself.
        areas: of values: they are damage too where one of them fills 3 x 3 pixels. Else they are
            the scene there, such as a white sky.
    """

    alpha: float | None = None
    values: tuple[float, ...] | None = None
    colour: tuple[int, int, int] | None = None
    tolerance: float = 0.0
    channels: Channels = "all"
    areas: bool = False


def known_pixels(
    how: PixelMask, samples: np.ndarray, alpha: np.ndarray | None, *, floating: bool = False
) -> np.ndarray:
    """(H, W) bool, or (H, W, C) where each channel is hidden by itself; True is known.

    Args:
        how: the hidden pixels are told.
        samples: (H, W) grey or (H, W, 3) RGB, uint8 or uint16, as the file holds them; or an array
            (H, W, C) of any numbers.
        alpha: (H, W), 0 where they are transparent; None: nowhere.
        floating: they were floating-point numbers, of which 1 has become 65535.

    Raises:
        RowError: ``wrong_format``: a colour is none of an image of other channels or numbers.
    """
    if how.alpha is not None:
        if alpha is None:
            return np.ones(samples.shape[:2], bool)
        return alpha >= how.alpha * np.iinfo(alpha.dtype).max
    planes = [samples] if samples.ndim == 2 else list(np.moveaxis(samples, 2, 0))
    if how.colour is not None:
        if len(planes) not in (1, 3) or samples.dtype.kind == "f":
            raise RowError(
                f"the mask names a colour, and the image has {len(planes)} channels of "
                f"{samples.dtype}; expected 1 or 3 of 8 or 16 bits",
                "wrong_format",
            )
        unit = np.iinfo(samples.dtype).max / EIGHT_BITS
        pairs = zip(planes * (3 // len(planes)), how.colour, strict=True)
        near = [_near(plane, value, unit, how.tolerance) for plane, value in pairs]
        return ~np.logical_and.reduce(near)
    return ~_with_values(how, planes, SIXTEEN_BITS if floating else 1)


def _with_values(how: PixelMask, planes: list[np.ndarray], unit: float) -> np.ndarray:
    """(H, W) or (H, W, 3) bool: True where one of the values is damage."""
    count = len(planes) if how.channels == "each" else 1
    found = [np.zeros(planes[0].shape, bool) for _ in range(count)]
    for value in how.values or ():
        near = [_near(plane, value, unit, how.tolerance) for plane in planes]
        if how.channels == "all":
            near = [np.logical_and.reduce(near)]
        for i, damage in enumerate(near):
            found[i % count] |= damage if how.areas else _scattered(damage)
    return found[0] if count == 1 else np.stack(found, axis=2)


def _near(plane: np.ndarray, value: float, unit: float, tolerance: float) -> np.ndarray:
    if plane.dtype.kind == "f":
        return np.abs(plane - value) <= tolerance
    slack = tolerance * unit + (0.5 if unit == SIXTEEN_BITS else 0)  # of rounding to 16 bits
    least, most = value * unit - slack, value * unit + slack
    highest = np.iinfo(plane.dtype).max
    if most < 0 or least > highest or floor(most) < ceil(least):
        return np.zeros(plane.shape, bool)
    return (plane >= max(ceil(least), 0)) & (plane <= min(floor(most), highest))


def _scattered(near: np.ndarray) -> np.ndarray:
    """Without what fills squares of AREA pixels."""
    from scipy.ndimage import binary_opening

    return near ^ binary_opening(near, np.ones((AREA, AREA), bool))
