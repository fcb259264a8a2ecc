"""Bisection to the row that kills its process.

Ray runs a task again whose process died, without end. So each step says in the run's ledger what
it begins: rows that killed their process before are worked on in halves, and one row that does so
alone, again and again, is that row's error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc

from manifests.errors import ManifestError
from manifests.secrets import redacted, texts_of
from pipeline.errors import PipelineError
from pipeline.schema import INDEX, SHARD

Step = Callable[[pa.Table], pa.Table]

# Deaths before a shard is worked on in halves; of a half, one is enough. Workers also die for
# reasons that are not their rows': a row is given up only when it was alone three times.
SHARD_DEATHS = 2
ROW_DEATHS = 3


class Book(Protocol):
    def begin(self, work: tuple) -> int: ...
    def end(self, work: tuple) -> None: ...


class Isolated:
    """A step that survives its own rows.

    Args:
        step: maps a table of rows to as many; rows whose ``error`` is not empty it only passes on.
        name: of the step, unique in the flow.
        book: keeps what was begun and not ended (:class:`pipeline.flow.ledger.Ledger`).
    """

    def __init__(self, step: Step, name: str, book: Book):
        self.step, self.name, self.book = step, name, book

    def __call__(self, table: pa.Table) -> pa.Table:
        results = []
        for shard in pc.unique(table[SHARD]).to_pylist():
            rows = table.filter(pc.equal(table[SHARD], shard))
            results += self._work(rows, SHARD_DEATHS)
        return pa.concat_tables(results)

    def _work(self, rows: pa.Table, deaths: int) -> list[pa.Table]:
        first, last = rows[INDEX][0].as_py(), rows[INDEX][-1].as_py()
        work = (self.name, rows[SHARD][0].as_py(), first, last)
        alone = len(rows) == 1
        if alone:
            deaths = ROW_DEATHS
        died = self.book.begin(work)
        if died < deaths:
            done = [self._step(rows)]
            self.book.end(work)
            return done
        # What was found to be deadly is not ended: a neighbour may yet kill this process, and
        # then it must be known from the start.
        if alone:
            return [self._step(_given_up(rows))]
        half = len(rows) // 2
        return self._work(rows.slice(0, half), 1) + self._work(rows.slice(half), 1)

    def _step(self, rows: pa.Table) -> pa.Table:
        """What it raises goes to logs, and here its rows' secrets are known."""
        try:
            return self.step(rows)
        except (ManifestError, PipelineError):
            raise
        except Exception as e:
            uris = [uri for row in rows["row"].to_pylist() for uri in texts_of(row)]
            words = redacted(f"{type(e).__name__}: {e}", uris)
            raise PipelineError(words).with_traceback(e.__traceback__) from None


def _given_up(row: pa.Table) -> pa.Table:
    text = (
        f"the process that worked on this row alone died {ROW_DEATHS} times "
        "(out of memory, or a fault in a library that decodes or computes)"
    )
    for name, value in (("error", text), ("error_kind", "crash")):
        column = pa.array([value], pa.string())
        row = row.set_column(row.column_names.index(name), name, column)
    return row
