"""Arrays of two dimensions from NumPy's files (``.npy``, ``.npz``) and MATLAB's (``.mat``)."""

from __future__ import annotations

import io
import math
import zipfile
from typing import IO

import numpy as np

from pipeline.errors import RowError
from pipeline.pictures.words import kind_of, one_line, pick, reading

NPY, ZIP = b"\x93NUMPY", b"PK"
MAT, HDF5 = b"MATLAB 5.0 MAT-file", (b"MATLAB 7.3 MAT-file", b"\x89HDF\r\n\x1a\n")
MAX_ARRAYS = 1000  # in a file
NO_MATRICES = ("char", "struct", "object", "sparse", "function", "opaque")  # of SciPy's classes


def is_arrays(data: bytes) -> bool:
    """Whether the bytes begin as a file of one of these formats does."""
    return data.startswith((NPY, ZIP, MAT, *HDF5))


def array_names(data: bytes, what: str, max_values: int) -> list[str]:
    """Names of the arrays in a file; none for a ``.npy``. Raises as :func:`read_array` does."""
    with reading(what):
        if data.startswith(ZIP):
            return list(_members(zipfile.ZipFile(io.BytesIO(data)), what))
        return [] if data.startswith(NPY) else list(_matrices(data, what, max_values))


def read_array(data: bytes, what: str, name: str | None, max_values: int) -> np.ndarray:
    """The array of this name in a file, or its only one.

    A matrix in a cell array ``k`` of a ``.mat`` is called ``k[1]``, ``k[2]`` and so on. What a
    header says of an array's size is compared with the limit before the array is read.

    Args:
        data: the file.
        what: ``mask``, ``kernel`` or ``noise map``, for the errors.
        name: None for the only one.
        max_values: that the array may have.

    Raises:
        RowError: ``damaged``, ``too_large``, ``out_of_memory``, or ``bad_mask``,
            ``bad_kernel`` or ``bad_noise_map`` where the file holds no such array.
    """
    with reading(what):
        if data.startswith(NPY):
            return _read_npy(io.BytesIO(data), what, max_values)
        if not data.startswith(ZIP):
            return pick(_matrices(data, what, max_values), what, name)
        archive = zipfile.ZipFile(io.BytesIO(data))
        with archive.open(pick(_members(archive, what), what, name)) as file:
            return _read_npy(file, what, max_values)


def _members(archive: zipfile.ZipFile, what: str) -> dict[str, str]:
    """The files in an ``.npz`` by their arrays' names."""
    members = archive.namelist()
    _check_count(len(members), what)
    return {
        "".join(c if c.isprintable() else "?" for c in member.removesuffix(".npy")): member
        for member in members
    }


def _read_npy(file: IO[bytes], what: str, max_values: int) -> np.ndarray:
    if file.read(len(NPY)) != NPY:
        raise RowError(f"the {what} file is an archive, but not of numpy arrays", kind_of(what))
    file.seek(0)
    first = np.lib.format.read_magic(file) == (1, 0)
    header = np.lib.format.read_array_header_1_0 if first else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    if dtype.kind not in "biufc":  # no pickles, texts, records
        text = f"the {what} holds {dtype} values that are no finite numbers"
        raise RowError(one_line(text), kind_of(what))
    if len(shape) != 2:
        text = f"the {what}: expected the shape (height, width), got {shape}"
        raise RowError(one_line(text), kind_of(what))
    _check_shape(shape, what, max_values)
    file.seek(0)
    array = np.lib.format.read_array(file, allow_pickle=False)
    file.read(1)  # at its end, an archive's member is compared with its check sum
    return array.view(np.uint8) if dtype.kind == "b" else array  # a byte may be more than 1


def _matrices(data: bytes, what: str, max_values: int) -> dict[str, np.ndarray]:
    """The real matrices of a ``.mat``, alone or in a cell array."""
    if data.startswith(HDF5):
        text = f"the {what} file is of MATLAB 7.3 (HDF5): save it with save(..., '-v7')"
        raise RowError(text, kind_of(what))
    from scipy.io import loadmat, whosmat  # large, and few files are

    wanted = []
    for name, shape, kind in whosmat(io.BytesIO(data)):
        if len(shape) == 2 and kind not in NO_MATRICES:
            wanted.append(name)
            if kind != "cell":
                _check_shape(shape, what, max_values)
    found: dict[str, np.ndarray] = {}
    for name, value in loadmat(io.BytesIO(data), variable_names=wanted).items():
        if name in wanted:
            cells = value.ravel(order="F") if value.dtype == object else [value]
            for i, cell in enumerate(cells, start=1):
                if isinstance(cell, np.ndarray) and cell.ndim == 2 and cell.dtype.kind in "uif":
                    found[one_line(f"{name}[{i}]" if value.dtype == object else name)] = cell
    _check_count(len(found), what)
    if sum(matrix.size for matrix in found.values()) > max_values:
        raise RowError(f"the {what} file holds more than {max_values} values", "too_large")
    return found


def _check_count(count: int, what: str) -> None:
    if count > MAX_ARRAYS:
        raise RowError(f"the {what} file holds more than {MAX_ARRAYS} arrays", "too_large")


def _check_shape(shape: tuple[int, ...], what: str, max_values: int) -> None:
    if min(shape) < 0 or max(shape) > max_values or math.prod(shape) > max_values:
        text = f"the {what} is too large: {max_values} values are allowed, its shape is {shape}"
        raise RowError(one_line(text), "too_large")
