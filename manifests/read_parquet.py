"""Parquet to a table, in bounded memory.

A few bytes of Parquet can stand for terabytes: pages are compressed, a value is stored once and
repeated by its number, nulls take no place. What the file's index says of sizes binds nobody; each
page's own header does bind the decoder. So these are added up first, and columns that may be too
large by them are decoded few rows at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.limits import Limit
from manifests.parquet_pages import (
    DELTA_BYTE_ARRAY,
    DICTIONARY_ENCODINGS,
    Page,
    leaf_roots,
    pages,
)
from manifests.schema import check_columns

MEASURED_BYTES = 16 << 20  # of a dictionary whose values are measured one by one
CODECS = {"SNAPPY", "GZIP", "BROTLI", "ZSTD"}  # each of whose pages is a stream of the codec's own
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
OFFSET_BYTES = 4  # of a value of text
ENTRY_BYTES = 16  # of a dictionary, as the decoder holds it


@dataclass
class Leaf:
    """A column of values: how many bytes it takes at least and at most, and each of its values."""

    kind: str
    width: int
    in_list: bool
    least: int = 0
    most: int = 0
    longest: int = 0

    def add(self, chunk: Any, data: memoryview, limit: Limit) -> None:
        """Count in a column chunk.

        Raises:
            ManifestError: one of its pages is too large by itself.
        """
        value = self.width  # in a dictionary
        for page in pages(data, chunk):
            limit.check(page.size, f"a page of column {chunk.path_in_schema!r}")
            if page.is_dictionary:
                limit.check(page.values * ENTRY_BYTES, "a dictionary")
                if self.kind == "BYTE_ARRAY":
                    value = _longest(page, chunk.compression, data)
                continue
            if self.kind != "BYTE_ARRAY":
                self.least += page.values * self.width
                self.most += page.values * self.width
                self.longest = self.width
                continue
            repeats = page.encoding in DICTIONARY_ENCODINGS or page.encoding == DELTA_BYTE_ARRAY
            length = value if page.encoding in DICTIONARY_ENCODINGS else page.size
            self.longest = max(self.longest, length)
            self.least += page.values * OFFSET_BYTES if repeats else page.size
            self.most += page.values * OFFSET_BYTES
            self.most += page.values * length if repeats else page.size


def read_parquet(data: pa.Buffer, limit: Limit, taken: int = 0) -> pa.Table:
    """The table.

    Args:
        data: the file.
        taken: bytes that other files of the same manifest take.

    Raises:
        pa.ArrowException, OSError: not Parquet, or damaged.
        ManifestError: it would take more memory than the limit allows.
    """
    view = memoryview(data).cast("B")  # Arrow has them signed
    roots = leaf_roots(view)
    limit.check_columns(len(roots))
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        leaves = []
        for column in range(len(roots)):
            schema = file.schema.column(column)
            width = WIDTHS.get(schema.physical_type, schema.length)
            in_list = schema.max_repetition_level > 0
            leaves.append(Leaf(schema.physical_type, width, in_list))
        for group in range(file.metadata.num_row_groups):
            chunks = file.metadata.row_group(group)
            for column, leaf in enumerate(leaves):
                leaf.add(chunks.column(column), view, limit)
        limit.check(taken + sum(leaf.least for leaf in leaves))
        if taken + sum(leaf.most for leaf in leaves) <= limit.bytes:
            return pq.read_table(pa.BufferReader(data))
        check_columns(file.schema_arrow.names, limit.source)
        columns = []
        for field in file.schema_arrow:
            own = [leaf for leaf, root in zip(leaves, roots, strict=True) if root == field.name]
            columns.append(_read_column(file, field, own, limit, taken))
            taken += columns[-1].nbytes
    return pa.Table.from_arrays(columns, schema=file.schema_arrow)


def _read_column(
    file: pq.ParquetFile, field: pa.Field, leaves: list[Leaf], limit: Limit, taken: int
) -> pa.ChunkedArray:
    """A column, so few rows at a time that these cannot take more than is allowed.

    Raises:
        ManifestError: all of them do; or one row may, as it holds lists.
    """
    most = sum(leaf.most for leaf in leaves)
    rows = max(1, file.metadata.num_rows)
    if taken + most > limit.bytes:
        if any(leaf.in_list for leaf in leaves):
            limit.check(taken + most, f"its rows, by the longest value of column {field.name!r},")
        rows = min(rows, max(1, limit.bytes // 4 // max(1, sum(x.longest for x in leaves))))
    held = []
    for batch in file.iter_batches(rows, columns=[field.name], use_threads=False):
        held.append(batch.column(field.name))
        taken += held[-1].nbytes
        limit.check(taken)
    return pa.chunked_array(held, field.type)


def _longest(page: Page, codec: str, data: memoryview) -> int:
    """The length of the longest value of a dictionary of texts, or one that it cannot exceed."""
    if page.size > MEASURED_BYTES:
        return page.size
    content = data[page.start : page.end]
    try:
        if codec in CODECS:
            content = memoryview(pa.Codec(codec.lower()).decompress(content, page.size))
        elif codec != "UNCOMPRESSED":
            return page.size
        longest = place = 0
        for _ in range(page.values):
            length = int.from_bytes(content[place : place + 4], "little")
            longest, place = max(longest, length), place + 4 + length
    except (pa.ArrowException, OSError):
        return page.size
    return min(longest, page.size)
