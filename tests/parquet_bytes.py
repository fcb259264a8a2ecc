"""Parquet files byte by byte: of what no honest writer would write.

A column is its physical type, codec, pages and number of values; text is type 6. See
``parquet.thrift`` of the format for the numbers.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

TEXT, INT64, FIXED = 6, 2, 7
PLAIN, DICTIONARY = 0, 8
STORED, GZIP = 0, 2


class Column(NamedTuple):
    kind: int
    codec: int
    pages: list[bytes]
    has_dictionary: bool
    values: int


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def structure(*fields: tuple) -> bytes:
    """Of Thrift's compact protocol; a field is its number, type and value."""
    out, last = b"", 0
    for number, kind, value in fields:
        out += bytes([(number - last) << 4 | kind]) + _value(kind, value)
        last = number
    return out + b"\0"


def _value(kind: int, value) -> bytes:
    if kind in (5, 6):
        return varint(value << 1)
    if kind == 8:
        return varint(len(value)) + value
    if kind == 12:
        return structure(*value)
    item, items = value
    short = len(items) < 15
    head = bytes([len(items) << 4 | item]) if short else bytes([0xF0 | item]) + varint(len(items))
    return head + b"".join(_value(item, each) for each in items)


def plain(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def repeated(number: int, times: int) -> bytes:
    """A dictionary's value, by its number, so many times."""
    return b"\1" + varint(times << 1) + bytes([number])


def squeezed(content: bytes) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return packer.compress(content) + packer.flush()


def data_page(body: bytes, values: int, encoding: int = PLAIN, size: int | None = None) -> bytes:
    """``size``: that it says to have when it is decompressed."""
    size = len(body) if size is None else size
    inner = [(1, 5, values), (2, 5, encoding), (3, 5, 3), (4, 5, 3)]
    return structure((1, 5, 0), (2, 5, size), (3, 5, len(body)), (5, 12, inner)) + body


def dictionary_page(body: bytes, values: int, size: int | None = None) -> bytes:
    size = len(body) if size is None else size
    inner = [(1, 5, values), (2, 5, PLAIN)]
    return structure((1, 5, 2), (2, 5, size), (3, 5, len(body)), (7, 12, inner)) + body


def texts(*values: bytes) -> Column:
    return Column(TEXT, STORED, [data_page(plain(*values), len(values))], False, len(values))


def same(text: bytes, times: int) -> Column:
    pages = [
        dictionary_page(plain(text), 1),
        data_page(repeated(0, times), times, DICTIONARY),
    ]
    return Column(TEXT, STORED, pages, True, times)


def parquet(columns: dict[str, Column], rows: int, elements: list | None = None) -> bytes:
    """A file of one row group, whose index says that each column has 100 bytes.

    Args:
        elements: of the schema, where it is not to be that of the columns.
    """
    out, chunks = b"PAR1", []
    for name, column in columns.items():
        start = len(out)
        out += b"".join(column.pages)
        first = start + (len(column.pages[0]) if column.has_dictionary else 0)
        meta = [
            (1, 5, column.kind),
            (2, 9, (5, [PLAIN, 3, DICTIONARY])),
            (3, 9, (8, [name.encode()])),
            (4, 5, column.codec),
            (5, 6, column.values),
            (6, 6, 100),
            (7, 6, len(out) - start),
            (9, 6, first),
        ]
        meta += [(11, 6, start)] if column.has_dictionary else []
        chunks.append([(2, 6, start), (3, 12, meta)])
    if elements is None:
        elements = [group("schema", len(columns))]
        elements += [leaf(name, column.kind) for name, column in columns.items()]
    row_group = [(1, 9, (12, chunks)), (2, 6, 100), (3, 6, rows)]
    index = structure((1, 5, 1), (2, 9, (12, elements)), (3, 6, rows), (4, 9, (12, [row_group])))
    return out + index + struct.pack("<I", len(index)) + b"PAR1"


def group(name: str, children: int) -> list:
    return [(3, 5, 0), (4, 8, name.encode()), (5, 5, children)]


def leaf(name: str, kind: int, optional: bool = False, length: int | None = None) -> list:
    fields = [(1, 5, kind)] + ([] if length is None else [(2, 5, length)])
    fields += [(3, 5, int(optional)), (4, 8, name.encode())]
    return fields + ([(6, 5, 0)] if kind == TEXT else [])
