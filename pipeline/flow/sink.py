"""The end of the flow: each shard that arrives is committed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa
import pyarrow.compute as pc
from ray.data import Datasink

from pipeline.flow.ledger import Ledger
from pipeline.output.commit import Committer
from pipeline.output.parts import tally_of
from pipeline.output.plan import Work
from pipeline.schema import ACTOR, DEVICE_PEAK, GENERATION, HIDDEN, INDEX, PEAK, SHARD

LONGEST = 300  # letters of an error that is told while the run is at work


class ShardSink(Datasink):
    """Creates the part of each shard that arrives; whoever creates it first wins.

    Args:
        committer: of the run.
        work: what is to come; a block that holds less of a shard is a fault of the flow.
        ledger: of this run; learns what was committed.
    """

    def __init__(self, committer: Committer, work: Sequence[Work], ledger: Ledger):
        self.committer, self.ledger = committer, ledger
        self.rows = {item.shard.index: item.rows for item in work}

    def write(self, blocks: Iterable[pa.Table], ctx) -> None:
        for block in blocks:
            for shard in pc.unique(block[SHARD]).to_pylist():
                self._write(shard, block.filter(pc.equal(block[SHARD], shard)).sort_by(INDEX))

    def _write(self, shard: int, rows: pa.Table) -> None:
        if len(rows) != self.rows[shard]:
            raise RuntimeError(f"shard {shard} arrived with {len(rows)} rows of {self.rows[shard]}")
        peak, device_peak = (pc.max(rows[name]).as_py() or 0 for name in (PEAK, DEVICE_PEAK))
        results, done_now = rows.drop_columns(list(HIDDEN)), tally_of(rows)
        actor = rows[ACTOR][0].as_py() or ""
        generation = rows[GENERATION][0].as_py()
        if self.committer.commit(shard, generation, results, peak, device_peak, actor):
            self.ledger.commit(done_now, _last_error(results))
        else:
            self.ledger.found(done_now.rows)


def _last_error(results: pa.Table) -> str:
    failed = results.filter(pc.equal(results["status"], "error"))
    if not len(failed):
        return ""
    last = failed.select(["id", "error"]).slice(len(failed) - 1).to_pylist()[0]
    return f"{last['id']}: {last['error']}"[:LONGEST]
