"""What a JPEG file stores as one array, as it travels through the flow."""

from __future__ import annotations

import numpy as np

from pipeline.pictures.jpeg import Jpeg

HEAD = 4  # numbers before those of the components: their count, height, width, orientation
PLACE = 4  # numbers of each component before its table: block rows and columns, two factors


def to_array(jpeg: Jpeg) -> np.ndarray:
    """(N,) int32, which :func:`from_array` takes apart again."""
    parts = [np.array([len(jpeg.tables), *jpeg.size, jpeg.orientation])]
    for coefficients, table, sampling in zip(
        jpeg.coefficients, jpeg.tables, jpeg.sampling, strict=True
    ):
        parts += [np.array([*coefficients.shape[:2], *sampling]), table.ravel()]
        parts.append(coefficients.ravel())
    return np.concatenate(parts).astype(np.int32)


def from_array(array: np.ndarray) -> Jpeg:
    """What :func:`to_array` was given."""
    count, height, width, orientation = array[:HEAD].tolist()
    coefficients, tables, sampling, place = [], [], [], HEAD
    for _ in range(count):
        rows, columns, vertical, horizontal = array[place : place + PLACE].tolist()
        place += PLACE
        tables.append(array[place : place + 64].reshape(8, 8))
        place += 64
        size = rows * columns * 64
        coefficients.append(array[place : place + size].reshape(rows, columns, 8, 8))
        sampling.append((vertical, horizontal))
        place += size
    return Jpeg(tuple(coefficients), tuple(tables), tuple(sampling), (height, width), orientation)
