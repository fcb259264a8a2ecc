"""Parts of loaded images, with what belongs to them: to try a job on little."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from pipeline.arrays import pack, unpack
from pipeline.pictures.jpeg import Jpeg
from pipeline.pictures.jpeg_array import from_array, to_array

STEP = 16  # a crop begins at a multiple: of a Bayer mosaic's cells, and of a JPEG file's blocks
OF_IMAGE = ("image", "mask", "noise_map")  # which have its size


def cropped(
    loaded: pa.Table, side: int, mask: np.ndarray | None = None
) -> tuple[pa.Table, np.ndarray | None]:
    """Square parts of the images, or the whole of a side that is shorter.

    A part lies where a mask begins to hide something, or else in the upper left corner.

    Args:
        loaded: rows with files (:class:`pipeline.steps.load.Load`).
        side: of the parts in pixels, a multiple of ``STEP``.
        mask: (H, W) of the job, for all images.

    Returns:
        the rows with parts in place of what they are of, without transparency; and the mask's part.
    """
    columns = {name: unpack(loaded[name]) for name in (*OF_IMAGE, "reference", "stored")}
    shared = None if mask is None else _corner(mask, side)
    for i, image in enumerate(columns["image"]):
        if image is None:
            continue
        own = columns["mask"][i]
        top, left = shared or ((0, 0) if own is None else _corner(own, side))
        stored = columns["stored"][i]
        if stored is not None:
            top = left = 0
            columns["stored"][i] = _stored(stored, side)
        for name in OF_IMAGE:
            array = columns[name][i]
            if array is not None and array.shape[:2] == image.shape[:2]:
                columns[name][i] = array[top : top + side, left : left + side]
        columns["reference"][i] = _reference(columns["reference"][i], image, top, left, side)
    for name, arrays in columns.items():
        loaded = loaded.set_column(loaded.column_names.index(name), name, pack(arrays))
    alpha = loaded.column_names.index("alpha")
    loaded = loaded.set_column(alpha, "alpha", pack([None] * len(loaded)))
    return loaded, None if mask is None or shared is None else _part(mask, shared, side)


def _corner(mask: np.ndarray, side: int) -> tuple[int, int]:
    """Upper left corner of a part that holds the first hidden pixel, near its middle."""
    hidden = mask == 0
    found = np.argwhere(hidden.any(axis=2) if hidden.ndim == 3 else hidden)
    if not len(found):
        return 0, 0
    top, left = (
        int(max(0, min(place - side // 2, size - side))) // STEP * STEP
        for place, size in zip(found[0], mask.shape[:2], strict=True)
    )
    return top, left


def _part(array: np.ndarray, corner: tuple[int, int], side: int) -> np.ndarray:
    top, left = corner
    return array[top : top + side, left : left + side]


def _reference(
    reference: np.ndarray | None, image: np.ndarray, top: int, left: int, side: int
) -> np.ndarray | None:
    """The same part of the reference, which may be so many times larger; None of another size."""
    if reference is None:
        return None
    times = reference.shape[0] // image.shape[0]
    if reference.shape[:2] != (times * image.shape[0], times * image.shape[1]):
        return None
    return _part(reference, (times * top, times * left), times * side)


def _stored(array: np.ndarray, side: int) -> np.ndarray:
    """The upper left part of what a JPEG file stores, not turned upright.

    Whole minimum coded units, which are of 32 x 32 pixels at most in files that a task reads.
    """
    jpeg = from_array(array)
    height, width = (min(side, length) for length in jpeg.size)
    most = [max(factors) for factors in zip(*jpeg.sampling, strict=True)]
    coefficients = []
    for blocks, factors in zip(jpeg.coefficients, jpeg.sampling, strict=True):
        rows, columns = (
            -(-length * factor // (8 * largest))
            for length, factor, largest in zip((height, width), factors, most, strict=True)
        )
        coefficients.append(blocks[:rows, :columns])
    return to_array(
        Jpeg(tuple(coefficients), jpeg.tables, jpeg.sampling, (height, width), jpeg.orientation)
    )
