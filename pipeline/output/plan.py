"""Cutting a manifest into shards: the unit of work and of commit."""

from __future__ import annotations

import io
import re
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
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


def write_plan(table: pa.Table, sizes: Sequence[int], layout: Layout) -> list[dict]:
    """Write the plan files, under names that no other driver's plan can have.

    Returns:
        for each file its name and the rows of each of its shards: what ``run.json`` keeps.
    """
    token = uuid.uuid4().hex[:12]
    files, start = [], 0
    for number, first in enumerate(range(0, len(sizes), SHARDS_PER_FILE)):
        groups = list(sizes[first : first + SHARDS_PER_FILE])
        buffer = io.BytesIO()
        with pq.ParquetWriter(buffer, table.schema, write_statistics=False) as writer:
            for rows in groups:
                writer.write_table(table.slice(start, rows), row_group_size=rows)
                start += rows
        name = f"{number:05d}-{token}.parquet"
        storage.write_bytes(layout.plan(name), buffer.getvalue())
        files.append({"file": name, "rows": groups})
    return files


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
