"""Directories of tagged values, which EXIF data and TIFF files are made of.

Values are kept as the bytes that they are, so that none can be too odd to be carried over.
"""

from __future__ import annotations

import struct

import numpy as np

# Bytes of a value by its type, and of a number in it, which a rational has two of.
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
WORDS = SIZES | {5: 4, 10: 4}
TEXT, SHORT, LONG, RATIONAL = 2, 3, 4, 5
MAX_VALUE_BYTES = 4096
HEADER = b"II*\0"

# A tag's type and its values' little-endian bytes; or the directory that the tag points to.
Value = tuple[int, bytes]
Directory = dict[int, "Value | Directory"]


def numbers(kind: int, *values: int) -> Value:
    """A value of whole numbers, of the type SHORT or LONG, or of pairs of them: RATIONAL."""
    return kind, struct.pack(f"<{len(values)}{'H' if kind == SHORT else 'I'}", *values)


def text(content: str) -> Value:
    return TEXT, content.encode("ascii") + b"\0"


def read_file(data: bytes, wanted: dict) -> Directory:
    """The first directory of EXIF data or of a TIFF file; empty where there is none to be read.

    Args:
        data: may be anyone's: no more is read of it than the tags that are wanted.
        wanted: those tags; where one points to a directory, its value names the tags wanted
            there, else it is None.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(bytes(data[:4]))
    if order is None or len(data) < 8:
        return {}
    return _read(data, struct.unpack_from(order + "I", data, 4)[0], order, wanted)


def _read(data: bytes, start: int, order: str, wanted: dict) -> Directory:
    found: Directory = {}
    entry = struct.Struct(order + "HHI")
    count = int.from_bytes(data[start : start + 2], "little" if order == "<" else "big")
    count = min(count, (len(data) - start - 2) // 12)
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values = entry.unpack_from(data, place)
        size = values * SIZES.get(kind, 0)
        if tag not in wanted or tag in found or not 0 < size <= MAX_VALUE_BYTES:
            continue
        at = place + 8 if size <= 4 else struct.unpack_from(order + "I", data, place + 8)[0]
        value = data[at : at + size]
        if len(value) < size:
            continue
        word = WORDS[kind]
        value = np.frombuffer(value, f"{order}u{word}").astype(f"<u{word}").tobytes()
        if wanted[tag] is None:
            found[tag] = kind, value
        elif inner := _read(data, int.from_bytes(value[:4], "little"), order, wanted[tag]):
            found[tag] = inner
    return found


def write_file(directory: Directory, content: bytes = b"") -> bytes:
    """A little-endian TIFF file, or EXIF data: a header, the content from byte 8 on, the rest."""
    content += bytes(len(content) % 2)
    start = 8 + len(content)
    return HEADER + struct.pack("<I", start) + content + _written(directory, start)


def _written(directory: Directory, start: int) -> bytes:
    """The bytes of a directory that lies at ``start``, and after it of all that it points to."""
    entries, rest = b"", b""
    after = start + 2 + 12 * len(directory) + 4
    for tag, value in sorted(directory.items()):
        at = struct.pack("<I", after + len(rest))
        if isinstance(value, dict):
            kind, data, field = LONG, at, at
            rest += _written(value, after + len(rest))
        else:
            kind, data = value
            field = data.ljust(4, b"\0") if len(data) <= 4 else at
            if len(data) > 4:
                rest += data + bytes(len(data) % 2)
        entries += struct.pack("<HHI", tag, kind, len(data) // SIZES[kind]) + field
    return struct.pack("<H", len(directory)) + entries + bytes(4) + rest
