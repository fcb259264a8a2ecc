"""Matrices from MATLAB's ``.mat`` files (version 5 and 7), whose bytes may be anyone's.

Only what a kernel can be is read: real two-dimensional matrices, alone or in a cell array. The
format is that of MathWorks, *MAT-File Format*, 2025. SciPy's ``loadmat`` is made for one's
own files: a few changed bytes end the process (a segmentation fault, SciPy 1.17), and with it a
whole batch of rows. Here nothing is taken that the bytes do not hold, compressed ones are inflated
up to a limit, and cells are not nested.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator

import numpy as np

from pipeline.errors import RowError
from pipeline.pictures.numpy_files import MAX_MEMBERS, one_line, pick, shown

START = b"MATLAB 5.0 MAT-file"
HDF5 = (b"MATLAB 7.3 MAT-file", b"\x89HDF\r\n\x1a\n")
HEADER_BYTES = 128
SPARE_BYTES = 2**20  # that the file may hold beside the values allowed: texts, small variables
INT8, INT32, UINT32, MATRIX, COMPRESSED = 1, 5, 6, 14, 15  # types of elements
NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8"}
NUMBERS |= {12: "i8", 13: "u8"}  # of the elements that hold values
CELL, NUMERIC = 1, range(6, 16)  # classes of arrays; numeric: double, single, int8 ... uint64
COMPLEX = 0x08  # among the flags


def is_mat(data: bytes) -> bool:
    """Whether the bytes begin as a ``.mat`` file does, of whatever version."""
    return data.startswith((START, *HDF5))


def matrices(data: bytes, what: str, max_values: int) -> dict[str, np.ndarray]:
    """The real matrices of a file by name; those of a cell array ``k`` are ``k[1]``, ``k[2]``, ...

    Args:
        data: the file.
        what: ``kernel``, for the errors.
        max_values: that all of them may have.

    Raises:
        RowError: ``damaged``, ``too_large``, or ``bad_kernel``: of version 7.3, which is HDF5.
    """
    if data.startswith(HDF5):
        text = f"the {what} file is of MATLAB 7.3 (HDF5): save it with save(..., '-v7')"
        raise RowError(text, f"bad_{what}")
    try:
        order = {b"IM": "<", b"MI": ">"}[data[126:128]]
        found: dict[str, np.ndarray] = {}
        for kind, body in _top_level(data, order, what, 16 * max_values + SPARE_BYTES):
            if kind == MATRIX:
                for name, matrix in _variable(body, order):
                    found[one_line(name)] = matrix
                    if len(found) > MAX_MEMBERS:
                        raise RowError(
                            f"the {what} file holds more than {MAX_MEMBERS} arrays", "too_large"
                        )
    except RowError:
        raise
    except Exception as e:  # whatever a broken structure leads to
        raise RowError(f"the {what} cannot be read ({shown(e)})", "damaged") from None
    if sum(matrix.size for matrix in found.values()) > max_values:
        raise RowError(f"the {what} file holds more than {max_values} values", "too_large")
    return found


def read_matrix(data: bytes, what: str, name: str | None, max_values: int) -> np.ndarray:
    """The matrix of this name (the only one, if None); raises as :func:`matrices` does."""
    return pick(matrices(data, what, max_values), what, name)


def _top_level(data: bytes, order: str, what: str, limit: int) -> Iterator[tuple[int, bytes]]:
    """The elements of the file, inflated."""
    place = HEADER_BYTES
    while place < len(data):
        kind, size = struct.unpack_from(order + "II", data, place)
        body = data[place + 8 : place + 8 + size]
        if len(body) < size:
            raise RowError(f"the {what} file is truncated", "damaged")
        place += 8 + size
        if kind == COMPRESSED:
            inflater = zlib.decompressobj()
            inner = inflater.decompress(body, max(limit, 1))  # 0 would be no limit
            if inflater.unconsumed_tail:
                raise RowError(f"the {what} file is too large when inflated", "too_large")
            if not inflater.eof:
                raise RowError(f"the {what} file is truncated", "damaged")
            limit -= len(inner)
            kind, size = struct.unpack_from(order + "II", inner)
            body = inner[8 : 8 + size]
        yield kind, body


def _variable(body: bytes, order: str) -> Iterator[tuple[str, np.ndarray]]:
    """The matrices of a variable: itself, or its cells; none where it is of another class."""
    elements = _elements(body, order)
    array_class, shape, name = _head(elements, order)
    if array_class == CELL:
        for index, (kind, cell) in enumerate(elements, start=1):
            if kind == MATRIX and cell:
                inner = _elements(cell, order)
                inner_class, inner_shape, _ = _head(inner, order)
                if (matrix := _matrix(inner, inner_class, inner_shape, order)) is not None:
                    yield f"{name}[{index}]", matrix
    elif (matrix := _matrix(elements, array_class, shape, order)) is not None:
        yield name, matrix


def _elements(body: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The elements within an array: type and content; short ones lie in their own tag."""
    place = 0
    while place + 8 <= len(body):
        kind, size = struct.unpack_from(order + "II", body, place)
        if kind >> 16:
            kind, size, start = kind & 0xFFFF, kind >> 16, place + 4
            place += 8
        else:
            start = place + 8
            place = start + -(-size // 8) * 8
        content = body[start : start + size]
        if len(content) < size:
            raise ValueError("an element is longer than its array")
        yield kind, content


def _head(
    elements: Iterator[tuple[int, bytes]], order: str
) -> tuple[int | None, tuple[int, ...], str]:
    """Class (None: of complex values), shape and name of an array."""
    (kinds, contents) = zip(*(next(elements) for _ in range(3)), strict=True)
    if kinds != (UINT32, INT32, INT8):
        raise ValueError("an array does not begin with its flags, dimensions and name")
    flags = struct.unpack_from(order + "I", contents[0])[0]
    shape = tuple(int(side) for side in np.frombuffer(contents[1], order + "i4"))
    array_class = None if flags >> 8 & COMPLEX else flags & 0xFF
    return array_class, shape, contents[2].decode("ascii", "replace")


def _matrix(
    elements: Iterator[tuple[int, bytes]],
    array_class: int | None,
    shape: tuple[int, ...],
    order: str,
) -> np.ndarray | None:
    """The values of an array, if it is a real matrix. They may be stored in a smaller type."""
    if array_class not in NUMERIC or len(shape) != 2:
        return None
    kind, content = next(elements)
    values = np.frombuffer(content, order + NUMBERS[kind])
    if min(shape) < 0 or math.prod(shape) != len(values):
        raise ValueError(f"a matrix of shape {shape} has {len(values)} values")
    return values.reshape(shape, order="F")
