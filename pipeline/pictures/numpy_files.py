"""Arrays from ``.npy`` and ``.npz`` bytes, which may be anyone's.

``numpy.load`` takes the memory that a header claims, and inflates whatever an archive holds; here
both are compared with a limit first.
"""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any, BinaryIO

import numpy as np

from pipeline.errors import RowError

NPY, ZIP = b"\x93NUMPY", b"PK"
MAX_MEMBERS = 1000  # of an archive: each costs memory before anything is known of it
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # those that numpy writes
HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
    (3, 0): np.lib.format.read_array_header_2_0,  # differs in what the names of fields may be
}
TEXT_LENGTH = 200


def one_line(text: str) -> str:
    """The text, short, and without what a table or a terminal dislikes."""
    return "".join(c if c.isprintable() else " " for c in text[:TEXT_LENGTH]).strip()


def shown(error: BaseException) -> str:
    """An exception's class and text as one line."""
    return one_line(f"{type(error).__name__}: {error}")


def is_numpy(data: bytes) -> bool:
    """Whether the bytes begin as ``.npy`` or ``.npz`` files do."""
    return data.startswith((NPY, ZIP))


def array_names(data: bytes, what: str) -> list[str]:
    """Names of the arrays in an ``.npz``; ``what`` names the file in errors.

    Raises:
        RowError: ``damaged`` or ``too_large``.
    """
    try:
        with _open_archive(data, what) as archive:
            return [_array_name(member) for member in archive.namelist()]
    except RowError:
        raise
    except Exception as e:
        raise _damaged(what, e) from None


def read_array(data: bytes, what: str, name: str | None, max_values: int) -> np.ndarray:
    """The array of an ``.npy``, or that of this name (its only one, if None) of an ``.npz``.

    Args:
        data: the file.
        what: ``mask`` or ``kernel``, for the errors.
        name: of the array in the archive.
        max_values: that the array may have.

    Raises:
        RowError: ``damaged``, ``too_large``, ``out_of_memory``, or ``bad_mask`` or
            ``bad_kernel`` where the file holds no such array.
    """
    try:
        if data.startswith(NPY):
            return _read_npy(io.BytesIO(data), what, max_values)
        with _open_archive(data, what) as archive:
            members = {_array_name(m.filename): m for m in archive.infolist()}
            member = pick(members, what, name)
            if member.compress_type not in METHODS:
                raise RowError(
                    f"the {what} file is compressed by a method that numpy does not use", "damaged"
                )
            with archive.open(member) as file:
                return _read_npy(file, what, max_values)
    except RowError:
        raise
    except MemoryError:
        raise RowError(f"there is not the memory to read the {what}", "out_of_memory") from None
    except Exception as e:  # a zip or npy parser's error, whatever it is
        raise _damaged(what, e) from None


def _open_archive(data: bytes, what: str) -> zipfile.ZipFile:
    if data.count(zipfile.stringCentralDir) > MAX_MEMBERS:
        raise RowError(f"the {what} file holds more than {MAX_MEMBERS} arrays", "too_large")
    return zipfile.ZipFile(io.BytesIO(data))


def pick(known: dict[str, Any], what: str, name: str | None) -> Any:
    """The array of this name, or the only one, if None; else a RowError that tells the names."""
    if name is None and len(known) == 1:
        return next(iter(known.values()))
    if name in known:
        return known[name]
    names = ", ".join(known)
    if len(names) > TEXT_LENGTH:
        names = f"{names[:TEXT_LENGTH]} ..."
    raise RowError(
        f"the {what} file holds {names}: name one of them"
        if known
        else f"the {what} file holds no array of numbers",
        f"bad_{what}",
    )


def _array_name(filename: str) -> str:
    name = filename.removesuffix(".npy")
    return "".join(c if c.isprintable() else "?" for c in name)


def _read_npy(file: BinaryIO, what: str, max_values: int) -> np.ndarray:
    """The array, whose header is checked before a byte of its values is read."""
    start = file.read(len(NPY) + 2)
    if not start.startswith(NPY):
        raise RowError(f"the {what} file is an archive, but not of numpy arrays", f"bad_{what}")
    version = np.lib.format.read_magic(io.BytesIO(start))
    if version not in HEADERS:
        raise RowError(f"the {what} is a .npy file of unknown version {version}", "damaged")
    shape, by_column, dtype = HEADERS[version](file)
    if dtype.kind not in "biufc":  # no pickles, texts, records
        text = f"the {what} holds {dtype} values that are no finite numbers"
        raise RowError(one_line(text), f"bad_{what}")
    if len(shape) != 2:
        text = f"the {what}: expected the shape (height, width), got {shape}"
        raise RowError(one_line(text), f"bad_{what}")
    count = math.prod(shape)
    if min(shape) < 0 or max(shape) > max_values or count > max_values:
        text = f"the {what} is too large: {max_values} values are allowed, its shape is {shape}"
        raise RowError(one_line(text), "too_large")
    data = file.read(count * dtype.itemsize)
    if len(data) < count * dtype.itemsize:
        raise RowError(f"the {what} file is truncated", "damaged")
    file.read(1)  # at its end, an archive's member is compared with its check sum
    if dtype.kind == "b":
        dtype = np.dtype(np.uint8)  # a byte beside 0 and 1 is no bool
    array = np.frombuffer(data, dtype, count)
    return array.reshape(shape, order="F" if by_column else "C")


def _damaged(what: str, error: Exception) -> RowError:
    return RowError(f"the {what} cannot be read ({shown(error)})", "damaged")
