"""Rows of results in tables of a modest size: the row groups of an export."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.schema import PICTURE

ROWS = 100  # of a group at most
BYTES = 64_000_000  # of the pictures in a group, unless a row alone has more


def in_groups(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in the same order, in tables of ``ROWS`` rows and ``BYTES`` bytes at most."""
    held: list[pa.Table] = []
    rows = size = 0
    for table in tables:
        start = 0
        for place, more in enumerate(picture_bytes(table).tolist()):
            if rows == ROWS or (rows and size + more > BYTES):
                yield pa.concat_tables([*held, table.slice(start, place - start)])
                held, rows, size, start = [], 0, 0, place
            rows, size = rows + 1, size + more
        held.append(table.slice(start))
    if rows:
        yield pa.concat_tables(held)


def picture_bytes(table: pa.Table) -> np.ndarray:
    """(rows,), the bytes of all pictures of each row."""
    total = np.zeros(len(table), np.int64)
    for column in table.columns:
        if column.type == PICTURE:
            total += _lengths(column)
        elif column.type == pa.list_(PICTURE):
            rows = pc.list_parent_indices(column).to_numpy()
            np.add.at(total, rows, _lengths(pc.list_flatten(column)))
    return total


def _lengths(pictures: pa.ChunkedArray) -> np.ndarray:
    return pc.binary_length(pc.struct_field(pictures, "bytes")).fill_null(0).to_numpy()
