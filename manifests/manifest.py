"""A manifest, read in batches: it may have more rows than memory holds."""

from __future__ import annotations

from collections.abc import Collection, Iterator

import pyarrow as pa

from manifests.schema import check_depth, check_storable, normalise
from manifests.sources.base import Batch, Source, new_names
from manifests.spool import Spool


class Manifest:
    """Rows with the known columns in their types (:mod:`manifests.schema`).

    The source is read once; what was read is kept, so that it cannot change between one look at
    the rows and the next. Only one thread at a time may read it.

    Args:
        source: of the rows.
        reserved: names that the user's own columns may not have (:func:`new_names`).

    Attributes:
        schema: of all batches.
        notes: what a user should be told of how it is read.

    Raises:
        ManifestError: it has not the columns of a manifest, or such as no results can hold.
    """

    def __init__(self, source: Source, reserved: Collection[str] = ()):
        self._source, self._reserved = source, reserved
        self.name, self.base, self.notes = source.name, source.base, list(source.notes)
        self._renamed = new_names(source, reserved)
        if self._renamed:
            self.notes.append(
                f"{self.name}: columns whose names results have for themselves are renamed: "
                f"{', '.join(f'{old} to {new}' for old, new in self._renamed.items())}"
            )
        self.schema: pa.Schema = self._normalised(source.schema.empty_table(), 1).schema
        check_storable(self.schema, self.name)
        check_depth(self.schema, self.name)
        self._kept: tuple[Spool, list[int | None]] | None = None

    @property
    def files(self) -> list[str]:
        """Paths or URIs of the files that it is read from."""
        return self._source.files

    def batches(self) -> Iterator[Batch]:
        """All rows.

        Raises:
            ManifestError: a file cannot be read, or a value is wrong; names its row.
        """
        if self._kept is not None:
            spool, groups = self._kept
            yield from map(Batch, spool, groups)
            return
        spool, groups, first = Spool(self.name), [], 1
        for batch in self._source.batches():
            rows = self._normalised(batch.rows, first)
            first += len(rows)
            spool.add(rows)
            groups.append(batch.group)
            yield Batch(rows, batch.group)
        self._kept = spool, groups

    def column(self, name: str) -> Iterator[pa.ChunkedArray]:
        """A column in batches; none where the manifest has not got it."""
        if name in self.schema.names:
            for batch in self.batches():
                yield batch.rows[name]

    def _normalised(self, rows: pa.Table, first: int) -> pa.Table:
        if self._renamed:
            names = [self._renamed.get(name, name) for name in rows.column_names]
            rows = rows.rename_columns(names)
        return normalise(rows, self.name, self._reserved, first=first)
