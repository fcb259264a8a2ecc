"""Shards of a planned manifest as a Ray Data source: one read task, and one block, per shard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from pipeline.output.layout import Layout
from pipeline.output.plan import Work, read_rows
from pipeline.schema import GENERATION, INDEX, SHARD

BYTES_PER_ROW = 500  # of a manifest; an estimate for Ray's scheduling


class ShardSource(Datasource):
    """Blocks of ``row``, a struct of the manifest's row, and what the flow needs to know of it."""

    def __init__(self, layout: Layout, work: Sequence[Work]):
        super().__init__()
        self.layout, self.work = layout, work

    def get_name(self) -> str:
        return "Manifest"

    def estimate_inmemory_data_size(self) -> int:
        return sum(work.rows for work in self.work) * BYTES_PER_ROW

    def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
        return [
            ReadTask(
                partial(_read, self.layout, work),  # a closure is pickled with its code
                BlockMetadata(
                    num_rows=work.rows,
                    size_bytes=work.rows * BYTES_PER_ROW,
                    input_files=None,
                    exec_stats=None,
                ),
            )
            for work in self.work
        ]


def _read(layout: Layout, work: Work) -> Iterable[pa.Table]:
    table = read_rows(work, layout)
    places = range(len(table)) if work.places is None else work.places
    yield block_of(table, work.shard.index, work.generation, places)


def block_of(
    table: pa.Table, shard: int = 0, generation: int = 0, places: Sequence[int] | None = None
) -> pa.Table:
    """Rows of a manifest as the flow takes them.

    Args:
        table: the rows.
        shard, generation: that they belong to.
        places: of each in the shard; None for all in their order.
    """
    no_error = pa.repeat("", len(table))
    return pa.table(
        {
            SHARD: pa.repeat(shard, len(table)),
            GENERATION: pa.repeat(generation, len(table)),
            INDEX: pa.array(range(len(table)) if places is None else places, pa.int64()),
            "row": pa.chunked_array(table.to_struct_array()),
            "error": no_error,
            "error_kind": no_error,
        }
    )
