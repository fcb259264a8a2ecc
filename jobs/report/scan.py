"""The small columns of all rows of an output, read part by part, and those of new parts only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.report.fields import own_fields
from jobs.results import METRICS, READERS, opened
from manifests import storage
from pipeline.errors import PipelineError
from pipeline.output.parts import Part, Tally, tally_in
from pipeline.output.run_folder import RunFolder

STORED = (*(name for name in METRICS if name != "gain"), "noise_level")
SHARD, PLACE = "__shard", "__place"  # of a row in the table: its shard, and its place in it
MAX_GROUPS = 24  # different values of a column that rows are grouped by


class Scan:
    """What a report knows of every row: some hundred bytes each, whatever the pictures take.

    Args:
        output: folder or URI of a job.
        with_ids: keep the rows' ids, which pairs of runs need.

    Attributes:
        folder: of the run.
        tallies: part's name -> its tally.
        schema: of the results; empty as long as there are none.
        groups: the user's own columns that have few different values.

    Raises:
        PipelineError: no job has that output, or its record is damaged.
        StorageError: it cannot be read.
    """

    def __init__(self, output: str, with_ids: bool = False):
        self.folder = RunFolder.open(output)
        self.with_ids = with_ids
        self.schema = pa.schema([])
        self.tallies: dict[str, Tally] = {}
        self.groups: dict[str, set] = {}
        self._tables: dict[str, pa.Table] = {}
        self._joined: pa.Table | None = None

    def refresh(self) -> list[Part]:
        """Read the parts that came since the last call; returns them.

        Raises:
            PipelineError: a part is damaged.
            StorageError: one cannot be read.
        """
        self.folder.state.refresh()
        latest = {part.name: part for part in self.folder.parts}
        for name in self._tables.keys() - latest.keys():  # superseded since
            del self._tables[name], self.tallies[name]
            self._joined = None
        fresh = [part for name, part in latest.items() if name not in self._tables]
        if not fresh:
            return []
        if not len(self.schema):
            self.schema = opened(self.folder.layout.part(fresh[0].name)).schema_arrow
            own = own_fields(self.schema)
            self.groups = {field.name: set() for field in own if _may_group(self.schema, field)}
        with ThreadPoolExecutor(READERS) as pool:
            for part, (table, tally) in zip(fresh, pool.map(self._read, fresh), strict=True):
                self._tables[part.name], self.tallies[part.name] = self._slim(table), tally
        self._joined = None
        return fresh

    @property
    def table(self) -> pa.Table:
        """A row for each committed one: ``SHARD, PLACE, status, error_kind, pixels``, metrics,
        ``noise_level``, the groups, and ``id`` if that is kept; in the order of the manifest."""
        if self._joined is None:
            names = sorted(self._tables)
            tables = [self._tables[name] for name in names] or [self._empty()]
            kept = [name for name in tables[0].column_names if self._is_kept(name)]
            self._joined = pa.concat_tables([table.select(kept) for table in tables])
        return self._joined

    def _is_kept(self, name: str) -> bool:
        return name.removeprefix("own:") in self.groups if name.startswith("own:") else True

    def _read(self, part: Part) -> tuple[pa.Table, Tally]:
        uri = self.folder.layout.part(part.name)
        file = opened(uri)
        names = [*STORED, "status", "error_kind", "width", "height", *self.groups]
        if self.with_ids:
            names.append("id")
        try:
            found = file.read([name for name in names if name in file.schema_arrow.names])
            tally = tally_in(file.metadata)
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as e:
            raise PipelineError(f"{storage.shown(uri)} is damaged: {e}") from None
        rows = len(found)
        columns = {
            SHARD: pa.array(np.full(rows, part.shard, np.int32)),
            PLACE: pa.array(np.arange(rows, dtype=np.int32)),
            "status": found["status"],
            "error_kind": found["error_kind"].dictionary_encode(),
            "pixels": _product(found),
        }
        for name in STORED:
            values = found[name] if name in found.column_names else pa.nulls(rows)
            columns[name] = values.cast(pa.float64())
        columns["gain"] = pc.subtract(columns["psnr"], columns["baseline_psnr"])
        for name in self.groups:
            values = found[name] if name in found.column_names else pa.nulls(rows)
            columns[f"own:{name}"] = values.cast(pa.string()).dictionary_encode()
        if self.with_ids:
            columns["id"] = found["id"]
        return pa.table(columns).unify_dictionaries(), tally

    def _slim(self, table: pa.Table) -> pa.Table:
        """Without the columns that turn out to have too many different values."""
        for name, seen in list(self.groups.items()):
            for chunk in table[f"own:{name}"].chunks:
                seen.update(chunk.dictionary.to_pylist())
            if len(seen) > MAX_GROUPS:
                del self.groups[name]
        kept = [name for name in table.column_names if self._is_kept(name)]
        return table.select(kept)

    def _empty(self) -> pa.Table:
        numbers = {name: pa.nulls(0, pa.float64()) for name in (*STORED, "gain", "pixels")}
        places = {name: pa.nulls(0, pa.int32()) for name in (SHARD, PLACE)}
        texts = {name: pa.nulls(0, pa.string()) for name in ("status", "error_kind", "id")}
        return pa.table({**places, **texts, **numbers})


def _may_group(schema: pa.Schema, field) -> bool:
    return not pa.types.is_floating(schema.field(field.name).type)


def _product(found: pa.Table) -> pa.ChunkedArray:
    if not {"width", "height"} <= set(found.column_names):
        return pa.nulls(len(found), pa.float64())
    return pc.multiply(found["width"].cast(pa.float64()), found["height"].cast(pa.float64()))
