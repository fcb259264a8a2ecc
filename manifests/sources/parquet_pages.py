"""The headers of a Parquet file's pages, and its schema: what the decoder will go by.

They are structures of Thrift's compact protocol; see ``parquet.thrift`` of the format.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

MAX_NESTING = 16  # of structures in a header; the format's own have four
MAX_LEVELS = 300  # of groups in a schema: Arrow's reader calls itself for each
PADDING_BYTES = 100  # that old writers did not count in, and Arrow allows for
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
DICTIONARY_ENCODINGS = {2, 8}
DELTA_BYTE_ARRAY = 7


ENCRYPTED = "it is encrypted; write the manifest without encryption"
ROW_GROUPS = 0x19  # the list that is the field after the third
CRYPTO_METADATA = 8  # a field of a column chunk


@dataclass(frozen=True)
class Page:
    """A page by its header.

    Attributes:
        is_dictionary: it holds the values that others number.
        values: nulls included.
        encoding: the number that the format gives it.
        size: bytes once decompressed.
        start, end: of the page's own bytes in the data given.
    """

    is_dictionary: bool
    values: int
    encoding: int
    size: int
    start: int
    end: int


def start_of(chunk: Any) -> int:
    """Where a column chunk begins in its file."""
    start: int = chunk.data_page_offset
    if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
        start = chunk.dictionary_page_offset
    return start


def pages(data: memoryview, chunk: Any, begin: int) -> Iterator[Page]:
    """The pages of a column chunk, where and as far as Arrow reads them.

    Args:
        data: a part of the file that holds the chunk.
        chunk: a ``pyarrow.parquet.ColumnChunkMetaData``.
        begin: of the data, in the file.

    Raises:
        pa.ArrowInvalid: a header is damaged.
    """
    place = start_of(chunk) - begin
    if place < 0:
        raise pa.ArrowInvalid("a column begins before its file")
    end = place + chunk.total_compressed_size
    seen = 0
    while seen < chunk.num_values and place < min(end + PADDING_BYTES, len(data)):
        try:
            header, body = _struct(data, place)
            kind, size, packed = header[1], header[2], header[3]
            inner = header.get({DATA: 5, DICTIONARY: 7, DATA_V2: 8}.get(kind, 0), {})
            values, encoding = inner.get(1, 0), inner.get(4 if kind == DATA_V2 else 2, 0)
            if min(size, packed, values) < 0:
                raise ValueError
        except (IndexError, KeyError, TypeError, ValueError, AttributeError):
            if place >= end:
                return
            raise pa.ArrowInvalid(f"the page header at byte {begin + place} is damaged") from None
        place = body + packed
        if kind in (DATA, DATA_V2):
            seen += values
        elif kind != DICTIONARY:
            continue  # Arrow skips it too
        yield Page(kind == DICTIONARY, values, encoding, size, body, place)


def leaf_roots(data: memoryview) -> list[str]:
    """For each column of values, the name of the table's column that it belongs to.

    Args:
        data: the end of a Parquet file, with all of its index.

    Raises:
        pa.ArrowInvalid: the schema is damaged, or too deep; or the file is encrypted.
    """
    length = int.from_bytes(data[-8:-4], "little")
    if bytes(data[-4:]) == b"PARE":
        raise pa.ArrowInvalid(ENCRYPTED)
    if len(data) < 12 or bytes(data[-4:]) != b"PAR1" or length > len(data) - 8:
        raise pa.ArrowInvalid("not a Parquet file, or its end is missing")
    try:
        fields, end = _struct(data, len(data) - 8 - length, last=3)
        if _has_encrypted_columns(data, end - 1):
            raise pa.ArrowInvalid(ENCRYPTED)
        return list(_roots(fields[2]))
    except pa.ArrowInvalid:  # a ValueError too
        raise
    except (IndexError, KeyError, TypeError, ValueError, AttributeError):
        raise pa.ArrowInvalid("its index is damaged") from None


def _has_encrypted_columns(data: memoryview, place: int) -> bool:
    """Whether the row groups, which begin there, are encrypted: asked of such, Arrow aborts."""
    if data[place] != ROW_GROUPS:
        return False
    head = data[place + 1]
    count, place = (head >> 4, place + 2) if head >> 4 < 15 else _varint(data, place + 2)
    if not count:
        return False
    group, _ = _struct(data, place)
    return any(CRYPTO_METADATA in chunk for chunk in group[1])


def _roots(elements: list[dict[int, Any]]) -> Iterator[str]:
    left = [elements[0].get(5, 0)]  # children that are still to come, of each group that is open
    root = ""
    for element in elements[1:]:
        while left and left[-1] == 0:
            left.pop()
        left[-1] -= 1
        if len(left) == 1:
            root = bytes(element[4]).decode()
        children = element.get(5, 0)
        if children <= 0:
            yield root
            continue
        left.append(children)
        if len(left) > MAX_LEVELS:
            raise pa.ArrowInvalid(f"column {root!r} has over {MAX_LEVELS} values in one another")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError


def _struct(
    data: memoryview, place: int, last: int | None = None, depth: int = 0
) -> tuple[dict[int, Any], int]:
    """A structure as its fields by their numbers, and where it ends.

    Args:
        last: the field after which the rest is left unread.
    """
    if depth > MAX_NESTING:
        raise ValueError
    fields: dict[int, Any] = {}
    number = 0
    while byte := data[place]:
        place += 1
        if byte >> 4:
            number += byte >> 4
        else:
            coded, place = _varint(data, place)
            number = (coded >> 1) ^ -(coded & 1)
        if byte & 15 in (1, 2):  # a field that is true or false has no more than its type
            fields[number] = byte & 15 == 1
        else:
            fields[number], place = _value(data, place, byte & 15, depth)
        if number == last:
            break
    return fields, place + 1


def _value(data: memoryview, place: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2, 3):
        return data[place], place + 1
    if kind in (4, 5, 6):
        coded, place = _varint(data, place)
        return (coded >> 1) ^ -(coded & 1), place
    if kind == 7:
        return None, place + 8
    if kind == 8:
        size, place = _varint(data, place)
        if size > len(data) - place:
            raise ValueError
        return data[place : place + size], place + size
    if kind in (9, 10):
        head = data[place]
        count, place = (head >> 4, place + 1) if head >> 4 < 15 else _varint(data, place + 1)
        items = []
        for _ in range(count):
            item, place = _value(data, place, head & 15, depth + 1)
            items.append(item)
        return items, place
    if kind == 12:
        return _struct(data, place, depth=depth + 1)
    raise ValueError  # none of these structures has a map
