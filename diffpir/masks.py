"""Inpainting masks, (1, H, W) float32: 1 where a pixel is known, 0 where it is hidden."""

from __future__ import annotations

import numpy as np


def random_mask(height: int, width: int, hidden: float, rng: np.random.Generator) -> np.ndarray:
    """Exactly ``round(hidden * H * W)`` pixels hidden, anywhere; ``hidden`` from 0 to 1.

    Raises:
        ValueError: it is not.
    """
    if not 0 <= hidden <= 1:
        raise ValueError(f"the hidden share must be from 0 to 1, got {hidden}")
    mask = np.ones(height * width, np.float32)
    mask[rng.permutation(height * width)[: round(hidden * height * width)]] = 0
    return mask.reshape(1, height, width)


def box_mask(height: int, width: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """One hidden square of ``size`` pixels, at a random place at least 16 from the border.

    In an image too small for that, as far from the border as possible.

    Raises:
        ValueError: the square does not fit into the image.
    """
    if not 0 <= size <= min(height, width):
        raise ValueError(f"a box of {size} pixels does not fit into {width} x {height}")
    top, left = (_offset(side - size, rng) for side in (height, width))
    mask = np.ones((1, height, width), np.float32)
    mask[:, top : top + size, left : left + size] = 0
    return mask


def _offset(room: int, rng: np.random.Generator) -> int:
    margin = min(16, room // 2)
    return int(rng.integers(margin, room - margin + 1))


def grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask (..., H, W) that also hides what is at most so many pixels from what it hides.

    Diagonal steps count as one: a hidden pixel becomes a square. Leading axes are masks apart.
    """
    from scipy.ndimage import minimum_filter

    size = (*(1 for _ in mask.shape[:-2]), 2 * pixels + 1, 2 * pixels + 1)
    return np.asarray(minimum_filter(mask, size, mode="nearest"))
