"""The digest of a manifest's rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pyarrow as pa

DIGEST_ROWS = 65536


class ContentDigest:
    """SHA-256 of columns and rows, however these come in batches and chunks."""

    def __init__(self, schema: pa.Schema):
        self._schema = schema.remove_metadata()
        self._digest = hashlib.sha256(self._schema.to_string().encode())
        self._held = self._schema.empty_table()
        self.rows = 0

    def add(self, rows: pa.Table) -> None:
        """Take in the rows that come next."""
        self.rows += len(rows)
        self._held = pa.concat_tables([self._held, rows.replace_schema_metadata()])
        while len(self._held) >= DIGEST_ROWS:
            self._write(self._held.slice(0, DIGEST_ROWS))
            self._held = self._held.slice(DIGEST_ROWS)

    def hexdigest(self) -> str:
        """Of all rows; no more can be added."""
        if len(self._held):
            self._write(self._held)
        return self._digest.hexdigest()

    def _write(self, rows: pa.Table) -> None:
        # Written anew, so that offsets and padding depend on the rows alone.
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows.combine_chunks().take(pa.array(range(len(rows)))))
        self._digest.update(sink.getvalue())


def content_digest(tables: Iterable[pa.Table]) -> str:
    """Of the rows of several tables, of which there is one at least."""
    digest = None
    for table in tables:
        digest = digest or ContentDigest(table.schema)
        digest.add(table)
    assert digest is not None
    return digest.hexdigest()
