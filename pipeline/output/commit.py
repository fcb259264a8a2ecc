"""Committing a shard: the only place where results come into being."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.output.layout import Layout
from pipeline.output.parts import Part, create_part, empty_part, read_part, read_tally, tally_of


@dataclass(frozen=True)
class Committer:
    """Creates the parts of a run; small enough to travel to every worker.

    Attributes:
        layout: of the output.
        run: the run's id.
    """

    layout: Layout
    run: str

    def commit(
        self, shard: int, generation: int, rows: pa.Table, peak: int, device_peak: int, actor: str
    ) -> bool:
        """Create a shard's part; False if another writer was faster, whose part counts.

        Args:
            shard: its index.
            generation: of the part. Above 0, ``rows`` replace those of the same ids in the part
                before, which is then taken for superseded.
            rows: of the results.
            peak, device_peak: bytes of the restorer's process, and of its GPU, at most.
            actor: host and process of the restorer.

        Raises:
            PipelineError: the output is gone.
            StorageError: it cannot be written.
        """
        self.layout.check_present()
        part, old = Part(shard, generation, self.run), None
        if generation:
            old = Part(shard, generation - 1, self.run)
            earlier = read_tally(self.layout, old)
            rows = merged(read_part(self.layout, old), rows)
            peak = max(peak, earlier.peak_memory)
            device_peak = max(device_peak, earlier.peak_device_memory)
        created = create_part(self.layout, part, rows, tally_of(rows, peak, device_peak, actor))
        if old:
            empty_part(self.layout, old)
        return created


def merged(old: pa.Table, new: pa.Table) -> pa.Table:
    """The old rows in their order, with the new ones in place of those of the same id."""
    places = pc.index_in(old["id"], new["id"].combine_chunks())
    both = pa.concat_tables([old.replace_schema_metadata(), new.replace_schema_metadata()])
    kept = pa.array(range(len(old)), pa.int64())
    return both.take(pc.coalesce(pc.add(places, len(old)), kept))
