"""Writing parts and committing shards: the only place where results come into being."""

from __future__ import annotations

import io
import json
import uuid
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ray.data import Datasink

from manifests import storage
from pipeline.layout import Layout, shard_name
from pipeline.schema import METADATA, SHARD


class ShardSink(Datasink):
    """Writes each shard as one part under a unique name, then creates its commit if absent.

    Whoever creates the commit first wins: a retried task, or a second driver, removes its own
    part again. Readers of an unfinished job follow the commits.

    Args:
        layout: of the output.
        rows: how many rows each shard has; a block that holds less of one is a fault.
    """

    def __init__(self, layout: Layout, rows: dict[int, int]):
        self.layout, self.rows = layout, rows

    def write(self, blocks: Iterable[pa.Table], ctx) -> None:
        for block in blocks:
            for shard in pc.unique(block[SHARD]).to_pylist():
                part = block.filter(pc.equal(block[SHARD], shard)).drop_columns(SHARD)
                if len(part) != self.rows[shard]:
                    raise RuntimeError(
                        f"shard {shard} arrived with {len(part)} rows of {self.rows[shard]}"
                    )
                self._commit(shard, part)

    def _commit(self, shard: int, part: pa.Table) -> None:
        name = f"{shard_name(shard)}-{uuid.uuid4().hex[:12]}.parquet"
        buffer = io.BytesIO()
        pq.write_table(part.replace_schema_metadata(METADATA), buffer)
        storage.write_bytes(self.layout.part(name), buffer.getvalue())
        failed = pc.sum(pc.equal(part["status"], "error")).as_py()
        commit = {"part": name, "rows": len(part), "failed": failed}
        data = json.dumps(commit).encode()
        if not storage.create_exclusive(self.layout.commit(shard), data):
            storage.remove(self.layout.part(name))
