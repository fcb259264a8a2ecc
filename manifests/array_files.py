"""Files of arrays (``.npy``) as images: what their headers say."""

from __future__ import annotations

from typing import IO, Any

NPY = b"\x93NUMPY"
SUFFIX = ".npy"


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype of the array in a file, which is read from its beginning.

    Raises:
        ValueError: it has no such header.
    """
    from numpy.lib import format

    first = format.read_magic(file) == (1, 0)
    header = format.read_array_header_1_0 if first else format.read_array_header_2_0
    shape, _, dtype = header(file)
    return shape, dtype


def channels_come_first(shape: tuple[int, ...]) -> bool:
    """Whether an image of three axes is (C, H, W); else it is (H, W, C).

    Channels are fewer than pixels: theirs is the shorter of the first and the last axis.
    """
    return shape[0] < shape[2]


def image_size(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Height and width of an image in an array of this shape; None where it is no image's."""
    if len(shape) not in (2, 3):
        return None
    height, width = shape[1:] if len(shape) == 3 and channels_come_first(shape) else shape[:2]
    return height, width
