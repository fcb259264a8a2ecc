"""Committing shards: the only place where results come into being."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Datasink

from pipeline.ledger import Ledger
from pipeline.output.layout import Layout
from pipeline.output.parts import Part, create_part, empty_part, read_part, read_tally, tally_of
from pipeline.output.plan import Work
from pipeline.schema import DEVICE_PEAK, GENERATION, HIDDEN, INDEX, PEAK, SHARD


class ShardSink(Datasink):
    """Creates the part of each shard that arrives; whoever creates it first wins.

    Args:
        layout: of the output.
        run: the run's id, a part of each part's name.
        work: what is to come; a block that holds less of a shard is a fault of the flow.
        ledger: of this run; learns what was committed.
    """

    def __init__(self, layout: Layout, run: str, work: Sequence[Work], ledger: Ledger):
        self.layout, self.run, self.ledger = layout, run, ledger
        self.rows = {item.shard.index: item.rows for item in work}

    def write(self, blocks: Iterable[pa.Table], ctx) -> None:
        for block in blocks:
            for shard in pc.unique(block[SHARD]).to_pylist():
                rows = block.filter(pc.equal(block[SHARD], shard)).sort_by(INDEX)
                if len(rows) != self.rows[shard]:
                    raise RuntimeError(
                        f"shard {shard} arrived with {len(rows)} rows of {self.rows[shard]}"
                    )
                part = Part(shard, rows[GENERATION][0].as_py(), self.run)
                peaks = (pc.max(rows[name]).as_py() or 0 for name in (PEAK, DEVICE_PEAK))
                self._commit(part, rows.drop_columns(list(HIDDEN)), *peaks)

    def _commit(self, part: Part, rows: pa.Table, peak: int, device_peak: int) -> None:
        old, done_now = None, tally_of(rows)
        if part.generation:
            old = Part(part.shard, part.generation - 1, part.run)
            earlier = read_tally(self.layout, old)
            rows = merged(read_part(self.layout, old), rows)
            peak = max(peak, earlier.peak_memory)
            device_peak = max(device_peak, earlier.peak_device_memory)
        tally = tally_of(rows, peak, device_peak)
        if create_part(self.layout, part, rows, tally):
            self.ledger.commit(done_now)
        else:
            self.ledger.found(done_now.rows)
        if old:
            empty_part(self.layout, old)


def merged(old: pa.Table, new: pa.Table) -> pa.Table:
    """The old rows in their order, with the new ones in place of those of the same id."""
    places = pc.index_in(old["id"], new["id"].combine_chunks())
    both = pa.concat_tables([old.replace_schema_metadata(), new.replace_schema_metadata()])
    kept = pa.array(range(len(old)), pa.int64())
    return both.take(pc.coalesce(pc.add(places, len(old)), kept))
