"""The results of a finished job, as an export reads them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.export import plan
from jobs.export.plan import Piece
from jobs.export.settings import Format, Settings
from manifests import storage
from manifests.schema import TYPES
from manifests.storage.ranges import RangedFile
from pipeline.errors import PipelineError
from pipeline.output.parts import Part, Tally, read_part, tally_in
from pipeline.output.plan import read_shard
from pipeline.output.run_folder import RunFolder
from pipeline.schema import FEATURES, PICTURE, PICTURES, holds_pictures
from pipeline.steps.table import VERSION

READERS = 32  # footers read at once: reading waits for storage
ALWAYS = ("id", "restored")  # columns that every export has
MEASURED = "measured"  # a column that an export may add
PLANNED = "__planned"  # the manifest's row, beside the result's, for what reads its files again
BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)


class Source:
    """A finished job.

    Args:
        output: folder or URI of the job.
        settings: of the export.

    Attributes:
        names: of the results' columns that are kept, in their order.
        schema: of the exported rows, without metadata: these columns, and what is added.
        pictures: names of the columns in it that hold pictures of this project.
        holds_pictures: others take these for pictures; else they are arrays of channels.

    Raises:
        PipelineError: the job is not finished, a column does not exist, or a part is damaged.
        StorageError: it cannot be read.
    """

    def __init__(self, output: str, settings: Settings):
        self.folder = RunFolder.open(output)
        self.settings = settings
        self.shown = storage.shown(output)
        shards = self.folder.shards
        if missing := len(self.folder.state.pending(shards)):
            raise PipelineError(
                f"{self.shown}: {missing} of {len(shards)} shards are missing, the job is not "
                "finished; run it again, then export"
            )
        if not shards:
            raise PipelineError(f"{self.shown} holds no results")
        self.parts = [self.folder.state.latest[shard.index] for shard in shards]
        whole = self._opened(self.parts[0]).schema_arrow
        self.holds_pictures = holds_pictures(whole)
        whole = whole.remove_metadata()
        self.names = _kept(whole, settings)
        added = [pa.field(MEASURED, PICTURE)] if settings.with_measured else []
        self.schema = pa.schema([*(whole.field(name) for name in self.names), *added])
        self.pictures = [name for name in self.names if name in PICTURES.names]
        self.pictures += [field.name for field in added]
        self._read_schema = pa.schema(
            [field for field in whole if field.name in {*self.names, "status"}]
        )

    @cached_property
    def sizes(self) -> list[plan.Part]:
        """What a plan needs to know of each part, by its footer; 0 rows where none is exported.

        A measured picture counts as many bytes as the manifest says in a column ``bytes``, else as
        many as the restored one.
        """
        return [size for size, _ in self._footers]

    @cached_property
    def tally(self) -> Tally:
        """Of the whole job."""
        return Tally.total(tally for _, tally in self._footers)

    def read(self, piece: Piece) -> pa.Table:
        """The rows of a piece: the columns that are kept, and ``status``.

        With measured pictures, the column ``PLANNED`` holds the manifest's row.

        Raises:
            PipelineError: the part is damaged, or was superseded meanwhile.
            StorageError: it cannot be read.
        """
        part = self.parts[piece.shard]
        try:
            table = read_part(self.folder.layout, part, self._read_schema.names)
            table = table.select(self._read_schema.names).cast(self._read_schema)
        except BROKEN as e:
            raise self._damaged(part, e) from None
        self._check_rows(part, len(table))
        if self.settings.with_measured:
            rows = read_shard(self.folder.shards[piece.shard], self.folder.layout)
            if not rows["id"].equals(table["id"]):
                raise self._damaged(part, "its ids are not those that were planned")
            known = [name for name in rows.column_names if name in TYPES or name in VERSION]
            table = table.append_column(PLANNED, rows.select(known).to_struct_array())
        table = table.slice(piece.start, piece.stop - piece.start)
        if self.settings.drops_failed:
            table = table.filter(pc.equal(table["status"], "ok"))
        return table

    @cached_property
    def _footers(self) -> list[tuple[plan.Part, Tally]]:
        with ThreadPoolExecutor(READERS) as pool:
            return list(pool.map(self._footer, self.parts))

    def _footer(self, part: Part) -> tuple[plan.Part, Tally]:
        file = self._opened(part)
        try:
            footer = file.metadata
            tally = tally_in(footer)
            held = dict.fromkeys(self.names, 0)
            for group in map(footer.row_group, range(footer.num_row_groups)):
                for chunk in map(group.column, range(group.num_columns)):
                    path = chunk.path_in_schema
                    name = path if path in held else path.partition(".")[0]
                    if name in held:
                        held[name] += chunk.total_compressed_size
            size = sum(held.values())
            if self.settings.with_measured:
                size += _told_bytes(file) or held["restored"]
        except BROKEN as e:
            raise self._damaged(part, e) from None
        self._check_rows(part, footer.num_rows)
        dropped = self.settings.drops_failed and tally.failed == tally.rows
        return plan.Part(0 if dropped else footer.num_rows, size), tally

    def _opened(self, part: Part) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(RangedFile(self.folder.layout.part(part.name)), pre_buffer=True)
        except BROKEN as e:
            raise self._damaged(part, e) from None

    def _check_rows(self, part: Part, found: int) -> None:
        planned = self.folder.shards[part.shard].rows
        if found != planned:
            raise PipelineError(
                f"{storage.shown(self.folder.layout.part(part.name))} has {found} rows instead of "
                f"{planned}: the job was run again meanwhile; export once more when it is finished"
            )

    def _damaged(self, part: Part, error: Exception | str) -> PipelineError:
        return PipelineError(
            f"{storage.shown(self.folder.layout.part(part.name))} is damaged: {error}"
        )


def _kept(schema: pa.Schema, settings: Settings) -> list[str]:
    if settings.columns is None:
        # Features are thousands of numbers for each row, of no use as text.
        dropped = () if settings.format == Format.parquet else FEATURES
        return [name for name in schema.names if name not in dropped]
    if unknown := [name for name in settings.columns if name not in schema.names]:
        raise PipelineError(
            f"columns: no {', '.join(map(repr, unknown))}; there are {', '.join(schema.names)}"
        )
    return [name for name in schema.names if name in (*ALWAYS, *settings.columns)]


def _told_bytes(file: pq.ParquetFile) -> int:
    """The sum of what the manifest says of its pictures' sizes; 0 where it says nothing."""
    schema = file.schema_arrow
    if "bytes" not in schema.names or not pa.types.is_integer(schema.field("bytes").type):
        return 0
    return pc.sum(file.read(["bytes"])["bytes"]).as_py() or 0
