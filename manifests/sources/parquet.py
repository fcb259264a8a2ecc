"""Manifests of Parquet: one file or many, with pictures inside or named by their paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.embedded import Cell
from manifests.errors import ManifestError
from manifests.expand import relative
from manifests.limits import Limit, cut
from manifests.sources.ahead import ahead
from manifests.sources.base import Batch, fitted
from manifests.sources.columns import Choice, choose
from manifests.sources.parquet_rows import ParquetRows

KEPT = 256  # files whose index is kept; of more, each is read twice
DIGITS = 6  # of a row's number in an id


class ParquetSource:
    """Rows of Parquet files; pictures that they hold are named, and not read.

    Args:
        name: what messages call it.
        base: folder that relative paths of its rows start from.
        files: paths or URIs, in their order.
        renamed: the manifest's names of columns -> the files'.
        max_bytes: that rows may take (:func:`manifests.read.read_manifest`).
        dropped: columns of the files that are left out.
        kept: a column, and the value that it has in the rows that are wanted.

    Raises:
        ManifestError: a file cannot be read, or its columns are not those of a manifest.
    """

    def __init__(
        self,
        name: str,
        base: str,
        files: Sequence[str],
        renamed: Mapping[str, str],
        max_bytes: int | None,
        dropped: frozenset[str] = frozenset(),
        kept: tuple[str, str] | None = None,
    ):
        self.name, self.base, self.files = name, base, list(files)
        self._renamed, self._dropped, self._kept = renamed, dropped, kept
        self._max_bytes = max_bytes
        self._opened: dict[str, ParquetRows] = {}
        size, choices, schemas = 0, [], []
        for file, rows in self._open_all(Limit.streamed(name, 0, max_bytes)):
            with _in_words(file):
                choice = self._choice(rows, file)
                schemas.append(_schema(rows.file.schema_arrow, choice))
            choices.append(choice)
            size += rows.size
            if len(self.files) <= KEPT:
                self._opened[file] = rows
        self._limit = Limit.streamed(name, size, max_bytes)
        self._limit.check_columns(len({field for schema in schemas for field in schema.names}))
        try:
            self.schema = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as e:
            raise ManifestError(f"{name}: its parts do not fit together: {cut(str(e))}") from None
        self.notes = list(_notes(name, choices))
        self.holds_pictures = any(choice.pictures for choice in choices)

    def batches(self) -> Iterator[Batch]:
        taken = groups = 0
        missing = 0  # bytes of the columns that not all of its parts have
        opened = self._opened.items() or self._open_all(self._limit)
        for file, rows in opened:
            with _in_words(file):
                rows.limit = Limit(storage.shown(file), self._limit.bytes)
                choice = self._choice(rows, file)
                wanted = {*choice.light.values(), *([self._kept[0]] if self._kept else [])}
                first = 0  # row of the file
                for number, batches in enumerate(rows.groups(wanted, taken)):
                    start = 0  # of the batch, in its row group
                    for batch in batches:
                        made = self._made(batch, choice, file, rows.size, number, start, first)
                        made = self._adjusted(made)
                        start, first = start + len(batch), first + len(batch)
                        taken += batch.nbytes
                        absent = len(self.schema.names) - len(made.schema.names)
                        missing += absent * len(made)
                        self._limit.check(taken + missing)
                        yield Batch(fitted(made, self.schema), groups if choice.pictures else None)
                    groups += 1

    def _made(
        self,
        batch: pa.Table,
        choice: Choice,
        file: str,
        size: int,
        group: int,
        start: int,
        first: int,
    ) -> pa.Table:
        """A batch of a file as rows of the manifest."""
        named = relative(self.base, file)
        columns = {}
        if "id" not in choice.names:
            stem = named.removesuffix(".parquet").lstrip("/")
            numbers = range(first, first + len(batch))
            columns["id"] = pa.array([f"{stem}/{n:0{DIGITS}d}" for n in numbers], pa.string())
        for ours, theirs in choice.names.items():
            if ours in choice.pictures:
                cells = (
                    str(Cell(named, theirs, group, row, size))
                    for row in range(start, start + len(batch))
                )
                columns[ours] = pa.array(cells, pa.string())
            else:
                columns[ours] = batch[theirs]
        made = pa.table(columns)
        if self._kept:
            made = made.filter(pc.equal(batch[self._kept[0]], self._kept[1]))
        return made

    def _adjusted(self, rows: pa.Table) -> pa.Table:
        """For a kind of source whose rows need more."""
        return rows

    def _choice(self, rows: ParquetRows, file: str) -> Choice:
        shown = storage.shown(file)
        return choose(rows.file.schema_arrow, shown, self._renamed, self._dropped)

    def _open_all(self, limit: Limit) -> Iterator[tuple[str, ParquetRows]]:
        """Each file with its index, some of them ahead."""

        def open_one(file: str) -> ParquetRows:
            with _in_words(file):
                return ParquetRows(file, limit)

        yield from zip(self.files, ahead(open_one, self.files), strict=True)


@contextmanager
def _in_words(file: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as e:  # OSError: of Parquet's decoder
        words = cut(str(e))
        raise ManifestError(f"{storage.shown(file)}: cannot be read as a table: {words}") from None


def _schema(schema: pa.Schema, choice: Choice) -> pa.Schema:
    """Of the rows that are made of a file with that schema."""
    made = [] if "id" in choice.names else [pa.field("id", pa.string())]
    fields = [
        pa.field(ours, pa.string())
        if ours in choice.pictures
        else schema.field(theirs).with_name(ours).with_nullable(True)
        for ours, theirs in choice.names.items()
    ]
    return pa.schema([*made, *fields])


def _notes(name: str, choices: Sequence[Choice]) -> Iterator[str]:
    if any("id" not in choice.names for choice in choices):
        yield f"{name}: no column 'id': ids are made of the file's name and the row's number"
    left_out = dict.fromkeys(column for choice in choices for column in choice.left_out)
    if left_out:
        yield f"{name}: columns that hold other pictures are left out: {', '.join(left_out)}"
