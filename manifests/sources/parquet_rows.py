"""Rows of a Parquet file in batches, in bounded memory.

A few bytes of Parquet can stand for terabytes: pages are compressed, a value is stored once and
repeated by its number, nulls take no place. What the file's index says of sizes binds nobody; each
page's own header does bind the decoder. So these are added up first, and columns that may be too
large by them are decoded few rows at a time.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.limits import Limit
from manifests.sources.parquet_pages import (
    DELTA_BYTE_ARRAY,
    DICTIONARY_ENCODINGS,
    PADDING_BYTES,
    Page,
    leaf_roots,
    pages,
    start_of,
)
from manifests.storage.ranges import RangedFile

MEASURED_BYTES = 16 << 20  # of a dictionary whose values are measured one by one
CODECS = {"SNAPPY", "GZIP", "BROTLI", "ZSTD"}  # each of whose pages is a stream of the codec's own
WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8}
OFFSET_BYTES = 4  # of a value of text
ENTRY_BYTES = 16  # of a dictionary, as the decoder holds it
BATCH_ROWS = 1 << 17
BATCH_BYTES = 64 << 20  # of a batch, by the longest value of each column


@dataclass
class Leaf:
    """A column of values: how many bytes it takes at least and at most, and each of its values."""

    kind: str
    width: int
    in_list: bool
    least: int = 0
    most: int = 0
    longest: int = 0

    def add(self, chunk: Any, data: memoryview, begin: int, limit: Limit) -> None:
        """Count in a column chunk.

        Raises:
            ManifestError: one of its pages is too large by itself.
        """
        value = self.width  # in a dictionary
        for page in pages(data, chunk, begin):
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


@dataclass
class ParquetRows:
    """The rows of a Parquet file.

    Args:
        uri: of the file.
        limit: of the bytes that its rows may take, those of other files included.

    Raises:
        pa.ArrowException, OSError: not Parquet, or damaged.
        ManifestError: it has too many columns, or cannot be fetched.
    """

    uri: str
    limit: Limit
    file: pq.ParquetFile = field(init=False)

    def __post_init__(self) -> None:
        self._ranged = RangedFile(self.uri)
        tail = self._ranged.tail
        length = int.from_bytes(tail[-8:-4], "little") + 12
        if len(tail) < length <= self._ranged.size and tail[-4:] == b"PAR1":
            self._ranged.hold([(self._ranged.size - length, self._ranged.size)])
            tail = bytes(self._ranged.view(self._ranged.size - length, self._ranged.size))
        self._roots = leaf_roots(memoryview(tail))
        self.limit.check_columns(len(self._roots))
        self.file = pq.ParquetFile(self._ranged, pre_buffer=False)

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return self._ranged.size

    def groups(self, columns: Collection[str], taken: int = 0) -> Iterator[Iterator[pa.Table]]:
        """Its row groups in order; of each the rows in batches, all of which are to be taken.

        Args:
            columns: those wanted; no others are fetched.
            taken: bytes that other files of the same manifest take.

        Raises:
            pa.ArrowException, OSError: damaged.
            ManifestError: the rows take more memory than the limit allows.
        """
        for group in range(self.file.metadata.num_row_groups):
            leaves = self._measure(group, columns)
            taken_before = taken
            taken += sum(leaf.least for leaf, _ in leaves)
            self.limit.check(taken)
            yield self._batches(group, leaves, columns, taken_before)

    def _measure(self, group: int, columns: Collection[str]) -> list[tuple[Leaf, str]]:
        """Fetch these columns of a row group; what each of their leaves takes, and its column."""
        chunks = self.file.metadata.row_group(group)
        wanted = [i for i, root in enumerate(self._roots) if root in columns]
        spans = [_span(chunks.column(i), self.size) for i in wanted]
        self.limit.check(sum(end - start for start, end in spans), "a row group")
        self._ranged.hold(spans)
        leaves = []
        for i, (start, end) in zip(wanted, spans, strict=True):
            data = self._ranged.view(start, end)
            schema = self.file.schema.column(i)
            width = WIDTHS.get(schema.physical_type, schema.length)
            leaf = Leaf(schema.physical_type, width, schema.max_repetition_level > 0)
            leaf.add(chunks.column(i), data, start, self.limit)
            leaves.append((leaf, self._roots[i]))
        return leaves

    def _batches(
        self, group: int, leaves: list[tuple[Leaf, str]], columns: Collection[str], taken: int
    ) -> Iterator[pa.Table]:
        """A row group, so few rows at a time that these cannot take more than is allowed."""
        names = [name for name in self.file.schema_arrow.names if name in columns]
        rows_of_group = self.file.metadata.row_group(group).num_rows
        most = sum(leaf.most for leaf, _ in leaves)
        rows = BATCH_ROWS
        if most > min(BATCH_BYTES, self.limit.bytes - taken):
            for leaf, name in leaves:
                if leaf.in_list:  # a row may hold any number of values
                    words = f"its rows, by the longest value of column {name!r},"
                    self.limit.check(taken + most, words)
            longest = max(1, sum(leaf.longest for leaf, _ in leaves))
            rows = max(1, min(BATCH_ROWS, min(BATCH_BYTES, self.limit.bytes // 4) // longest))
        if not names:
            yield pa.table({"": pa.nulls(rows_of_group)}).select([])
            return
        for batch in self.file.iter_batches(
            rows, row_groups=[group], columns=names, use_threads=False
        ):
            table = pa.Table.from_batches([batch])
            taken += table.nbytes
            self.limit.check(taken)
            yield table


def _span(chunk: Any, size: int) -> tuple[int, int]:
    """Of a column chunk in its file of that size, with what Arrow allows for."""
    start = min(max(0, start_of(chunk)), size)
    return start, min(start + max(0, chunk.total_compressed_size) + PADDING_BYTES, size)


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
