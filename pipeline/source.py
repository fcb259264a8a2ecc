"""Shards of a planned manifest as a Ray Data source: one read task, and one block, per shard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
from ray.data import Datasource, ReadTask
from ray.data.block import BlockMetadata

from pipeline.layout import Layout
from pipeline.plan import Shard, read_shard
from pipeline.schema import SHARD

BYTES_PER_ROW = 500  # of a manifest; an estimate for Ray's scheduling


class ShardSource(Datasource):
    """Blocks of two columns: the shard's index, and ``row``, a struct of the manifest's row."""

    def __init__(self, layout: Layout, shards: Sequence[Shard]):
        super().__init__()
        self.layout, self.shards = layout, shards

    def get_name(self) -> str:
        return "Manifest"

    def estimate_inmemory_data_size(self) -> int:
        return sum(shard.rows for shard in self.shards) * BYTES_PER_ROW

    def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
        return [
            ReadTask(
                _reader(self.layout, shard),
                BlockMetadata(
                    num_rows=shard.rows,
                    size_bytes=shard.rows * BYTES_PER_ROW,
                    input_files=None,
                    exec_stats=None,
                ),
            )
            for shard in self.shards
        ]


def _reader(layout: Layout, shard: Shard):
    def read() -> Iterable[pa.Table]:
        table = read_shard(shard, layout)
        rows = pa.chunked_array(table.to_struct_array())
        yield pa.table({SHARD: pa.repeat(shard.index, len(table)), "row": rows})

    return read
