"""Cutting a manifest into shards: the unit of work and of commit."""

from __future__ import annotations

import io
import re
import uuid
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.sources.base import Batch
from manifests.storage.ranges import RangedFile
from pipeline.output.layout import Layout

NAME = re.compile(r"\d{5,}-[0-9a-f]{12}\.parquet")  # of a plan file
SHARDS_PER_FILE = 128  # bounds the footer, of some 350 bytes each, that a reader of one fetches
USUAL_PIXELS = 2**16  # of an image, as long as nothing is known of it
MAX_SHARD_PIXELS = 2**26  # of restored images: bounds a block of pixels to about 200 MB


@dataclass(frozen=True)
class Shard:
    """A row group of a plan file; its index names its commit and its part."""

    index: int
    file: str
    group: int
    rows: int


@dataclass(frozen=True)
class Work:
    """What is to be done of a shard: all of its rows, or those that failed before.

    Attributes:
        shard: the shard.
        generation: of the part that will hold the result: 0, or one more than the last one's.
        places: of the rows to restore, in the shard; None for all of them.
    """

    shard: Shard
    generation: int = 0
    places: tuple[int, ...] | None = None

    @property
    def rows(self) -> int:
        return self.shard.rows if self.places is None else len(self.places)


def rows_per_shard(rows: int, actors: int, batch_pixels: int) -> int:
    """At least four shards for each actor, but whole batches, and at most four of them."""
    batch = max(1, batch_pixels // USUAL_PIXELS)
    share = -(-rows // (4 * actors))
    return batch * min(4, max(1, -(-share // batch)))


def cut(table: pa.Table, limit: int, enlarged: int = 1) -> list[int]:
    """Rows of each shard in order: at most ``limit``, fewer where the images are large.

    Sizes are known where the manifest has ``width`` and ``height``; ``enlarged`` says how many
    pixels a restored image has for each of them.
    """
    if not {"width", "height"} <= set(table.column_names):
        return [min(limit, len(table) - start) for start in range(0, len(table), limit)]
    width, height = (
        table[name].fill_null(0).to_numpy().astype(np.int64) for name in ("width", "height")
    )
    total = np.concatenate([[0], np.cumsum(width * height * enlarged)])
    sizes, start = [], 0
    while start < len(table):
        fitting = int(np.searchsorted(total, total[start] + MAX_SHARD_PIXELS, "right")) - 1
        stop = min(max(fitting, start + 1), start + limit, len(table))
        sizes.append(stop - start)
        start = stop
    return sizes


def shards_in(
    batches: Iterable[Batch], limit: int, enlarged: int = 1, cuts: Sequence[int] = ()
) -> Iterator[pa.Table]:
    """The rows of each shard, cut as by :func:`cut`, and before the rows at the places ``cuts``.

    A shard has pictures of one row group at most: its task reads that and no other.
    """
    held: pa.Table | None = None
    group = None
    for rows, of in _between(batches, cuts):
        if held is not None and of != group:
            yield from _pieces(held, cut(held, limit, enlarged))
            held = None
        held = rows if held is None else pa.concat_tables([held, rows])
        group = of
        *whole, last = cut(held, limit, enlarged) or [0]  # the last may go on in the next batch
        yield from _pieces(held, whole)
        held = held.slice(len(held) - last)
    if held is not None:
        yield from _pieces(held, cut(held, limit, enlarged))


def _between(
    batches: Iterable[Batch], cuts: Sequence[int]
) -> Iterator[tuple[pa.Table, tuple[int | None, int]]]:
    """The batches' rows, divided at the cuts; and what those that may share a shard agree in."""
    start = 0
    for batch in batches:
        stop = start + len(batch.rows)
        inside = cuts[bisect_right(cuts, start) : bisect_left(cuts, stop)]
        for first, end in pairwise([start, *inside, stop]):
            rows = batch.rows.slice(first - start, end - first)
            yield rows, (batch.group, bisect_right(cuts, first))
        start = stop


def _pieces(table: pa.Table, sizes: Iterable[int]) -> Iterator[pa.Table]:
    start = 0
    for rows in sizes:
        yield table.slice(start, rows)
        start += rows


def write_plan(shards: Iterable[pa.Table], layout: Layout) -> list[dict]:
    """Write the plan files, under names that no other driver's plan can have.

    Args:
        shards: the rows of each.

    Returns:
        for each file its name and the rows of each of its shards: what ``run.json`` keeps.
    """
    token = uuid.uuid4().hex[:12]
    files: list[dict] = []
    for some in _several(shards, SHARDS_PER_FILE):
        buffer = io.BytesIO()
        with pq.ParquetWriter(buffer, some[0].schema, write_statistics=False) as writer:
            for rows in some:
                writer.write_table(rows, row_group_size=len(rows))
        name = f"{len(files):05d}-{token}.parquet"
        storage.write_bytes(layout.plan(name), buffer.getvalue())
        files.append({"file": name, "rows": [len(rows) for rows in some]})
    return files


def _several(shards: Iterable[pa.Table], count: int) -> Iterator[list[pa.Table]]:
    shards = iter(shards)
    while some := list(islice(shards, count)):
        yield some


def shards_of(files: Sequence[dict]) -> Iterator[Shard]:
    """The shards that ``write_plan`` described."""
    index = 0
    for entry in files:
        for group, rows in enumerate(entry["rows"]):
            yield Shard(index, entry["file"], group, rows)
            index += 1


def read_shard(shard: Shard, layout: Layout) -> pa.Table:
    """The manifest's rows of a shard, as planned; of its file, no more is fetched than needed."""
    file = pq.ParquetFile(RangedFile(layout.plan(shard.file)), pre_buffer=True)
    return file.read_row_group(shard.group)


def read_rows(work: Work, layout: Layout) -> pa.Table:
    """The manifest's rows that are to be worked on."""
    rows = read_shard(work.shard, layout)
    return rows if work.places is None else rows.take(pa.array(work.places))
