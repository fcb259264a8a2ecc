"""``diffpir export`` from its beginning to its end."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass

import pyarrow as pa

from jobs.export import card
from jobs.export.files import Files
from jobs.export.folder import FolderFiles
from jobs.export.groups import in_groups
from jobs.export.journal import Journal
from jobs.export.measured import Measured
from jobs.export.parquet import ParquetFiles
from jobs.export.plan import Piece, plan_files
from jobs.export.settings import Format, Settings
from jobs.export.source import MEASURED, Source
from jobs.export.webdataset import TarFiles
from manifests import storage
from pipeline.errors import PipelineError

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Exported:
    """How an export ended.

    Attributes:
        rows, files: that the dataset has.
        kept: files that earlier calls had written.
        left_out: failed rows that are not in it.
        missing: rows whose measured picture could not be had.
        reason: why one of them could not, in words, if this call tried it.
    """

    rows: int
    files: int
    kept: int
    left_out: int
    missing: int
    reason: str


def export(
    output: str, dest: str, settings: Settings, say: Callable[[str], None] = lambda _: None
) -> Exported:
    """Write a finished job's results as a dataset.

    An export that was interrupted goes on: files that are finished stay as they are. One file's
    content is in memory at a time, with the part of the results that is read.

    Args:
        output: folder or URI of the job.
        dest: folder or URI of the dataset; empty, or of the same export.
        settings: of the export.
        say: is told of each file that is written, in words.

    Raises:
        PipelineError: the job is not finished, or nothing was restored; a column or the
            destination is wrong; a part is damaged.
        StorageError: something cannot be read or written.
    """
    dest = storage.absolute(dest)
    source = Source(output, settings)
    measured = Measured(source) if settings.with_measured else None
    files = _files(source)
    plan = plan_files(source.sizes, int(settings.file_mb * MEGABYTE))
    if not plan:
        raise PipelineError(f"{source.shown}: none of its rows was restored")
    names = files.names(len(plan))
    identity = _identity(source, plan)
    journal = Journal.open(dest, identity, [*files.visible(names), card.NAME])

    kept = 0
    for name, pieces in zip(names, plan, strict=True):
        if files.has(journal, name):
            kept += 1
            continue
        say(_write_file(name, files, _Rows(source, pieces, measured), journal))
    files.finish(journal, names)
    written = [journal.files[name] for name in names]
    rows, missing = sum(w.rows for w in written), sum(w.missing for w in written)
    if journal.size_of(card.NAME) is None:  # its reader may have changed it
        text = card.dataset_card(source, files.data_files, rows, missing)
        journal.write(card.NAME, text)
    for folder in {dest, *(storage.parent(storage.join(dest, name)) for name in names)}:
        storage.remove_partials(folder)
    left_out = source.tally.failed if settings.drops_failed else 0
    reason = measured.reason if measured else ""
    return Exported(rows, len(names), kept, left_out, missing, reason)


def _write_file(name: str, files: Files, rows: _Rows, journal: Journal) -> str:
    """Write one file; returns what it has, in words. Its content is forgotten with the call."""
    data = files.encode(rows, journal)
    journal.write(name, data, rows.count, rows.missing)
    return f"{name}: {rows.count} rows, {len(data) / MEGABYTE:.1f} MB"


def _files(source: Source) -> Files:
    match source.settings.format:
        case Format.parquet:
            return ParquetFiles(source.schema, source.holds_pictures)
        case Format.webdataset:
            return TarFiles(source.pictures)
        case Format.folder:
            return FolderFiles(source)


def _identity(source: Source, plan: list[list[Piece]]) -> dict:
    """What decides the content of every file: the same rows, cut and written in the same way."""
    cuts = [[astuple(piece) for piece in pieces] for pieces in plan]
    parts = [part.name for part in source.parts]
    digest = hashlib.sha256(json.dumps([cuts, parts]).encode()).hexdigest()
    return {"run": source.folder.id, **source.settings.plain(), "rows": digest}


class _Rows:
    """The rows of a file, in tables of a modest size.

    Attributes:
        count: of those that were read so far.
        missing: of these, rows whose measured picture could not be had.
    """

    def __init__(self, source: Source, pieces: list[Piece], measured: Measured | None):
        self.source, self.pieces, self.measured = source, pieces, measured
        self.count = self.missing = 0

    def __iter__(self) -> Iterator[pa.Table]:
        tables = in_groups(map(self.source.read, self.pieces))
        if self.measured:
            tables = in_groups(map(self.measured.append, tables))
        for table in tables:
            self.count += len(table)
            if self.measured:
                self.missing += table[MEASURED].null_count
            yield table.select(self.source.schema.names)
