"""Pictures of Parquet files: those of a row group are read together, from front to back."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.embedded import Cell
from manifests.errors import StorageError
from manifests.limits import cut
from manifests.storage import FetchPolicy
from manifests.storage.ranges import RangedFile

BATCH_ROWS = 4
BUFFER_BYTES = 1 << 20  # of a column, that are fetched at a time

Content = bytes | str | None
"""A picture's file; where it lies, if the cell names it and does not hold it; or nothing."""


class _Group:
    """Columns of a row group, as far as they were read. Row groups may be larger than memory."""

    def __init__(
        self, file: str, size: int, group: int, columns: tuple[str, ...], policy: FetchPolicy
    ):
        ranged = RangedFile(file, policy)
        found = ranged.size
        if found != size:
            raise StorageError(
                f"{storage.shown(file)}: the file has {found} bytes, had {size} when the manifest "
                "was read",
                "changed",
            )
        parquet = pq.ParquetFile(ranged, buffer_size=BUFFER_BYTES, pre_buffer=False)
        self.rows = parquet.metadata.row_group(group).num_rows
        self.names = parquet.schema_arrow.names
        self.place = 0  # of the first row that was not read
        self._columns = columns
        self._batches: Iterator[pa.RecordBatch] = parquet.iter_batches(
            BATCH_ROWS, row_groups=[group], columns=list(columns), use_threads=False
        )

    def next(self) -> tuple[int, dict[str, list[Any]]]:
        """The first row of the next batch, and its columns."""
        batch = next(self._batches)
        start, self.place = self.place, self.place + batch.num_rows
        return start, {name: batch.column(name).to_pylist() for name in self._columns}


class CellReader:
    """Reads pictures; of the row group read last, it goes on where it was.

    A worker gets the shards of a row group one after the other: so each byte is fetched once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._key: tuple[Any, ...] | None = None
        self._group: _Group | None = None

    def read(self, cells: Mapping[Cell, FetchPolicy]) -> dict[Cell, Content | StorageError]:
        """What each of these cells holds, or why it cannot be had; with how its file is fetched."""
        groups = defaultdict(set)
        for cell in cells:
            groups[cell.file, cell.bytes, cell.group].add(cell)
        found: dict[Cell, Content | StorageError] = {}
        with self._lock:
            for key, wanted in groups.items():
                found |= self._read(key, wanted, cells[next(iter(wanted))])
        return found

    def _read(
        self, place: tuple[str, int, int], wanted: set[Cell], policy: FetchPolicy
    ) -> dict[Cell, Content | StorageError]:
        columns = tuple(sorted({cell.column for cell in wanted}))
        rows = defaultdict(list)
        for cell in wanted:
            rows[cell.row].append(cell)
        found: dict[Cell, Content | StorageError] = {}
        try:
            group = self._opened((*place, columns), min(rows), policy)
            while len(found) < len(wanted):
                start, values = group.next()
                for row in range(start, group.place):
                    for cell in rows.get(row, ()):
                        found[cell] = content_of(values[cell.column][row - start])
        except StorageError as e:
            error = e
        except StopIteration:
            error = StorageError(f"{storage.shown(place[0])}: it has no such row", "changed")
        except Exception as e:  # a decoder's own, or a column that is not there
            words = cut(f"{type(e).__name__}: {e}")
            error = StorageError(f"{storage.shown(place[0])}: a picture cannot be read: {words}")
        else:
            return found
        self._key = self._group = None
        return {cell: found.get(cell, error) for cell in wanted}

    def _opened(self, key: tuple[Any, ...], first: int, policy: FetchPolicy) -> _Group:
        if self._group is None or self._key != key or self._group.place > first:
            self._key, self._group = key, None
            file, size, group, columns = key
            self._group = _Group(file, size, group, columns, policy)
        return self._group


def content_of(value: Any) -> Content:
    """Of a cell's value: bytes; a path; or a struct of both, of which bytes count first."""
    if isinstance(value, dict):
        value = value.get("bytes") or value.get("path")
    return value if value and isinstance(value, bytes | str) else None
