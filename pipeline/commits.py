"""Which shards are done: what a resumed run, progress and readers of results go by."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

from manifests import storage
from pipeline.layout import Layout

READERS = 32  # threads: reading commits waits for storage


class Commits:
    """The commits of an output, as of the last :meth:`refresh`.

    Attributes:
        seen: index of each committed shard -> name of its part.
        rows, failed: counts over these shards.
    """

    def __init__(self, layout: Layout):
        self.layout = layout
        self.seen: dict[int, str] = {}
        self.rows = self.failed = 0

    def refresh(self) -> None:
        """Read the commits that have come since the last time."""
        names = storage.list_names(self.layout.commits, ".json")
        fresh = [name for name in names if int(name.removesuffix(".json")) not in self.seen]
        with ThreadPoolExecutor(READERS) as pool:
            for name, commit in zip(fresh, pool.map(self._read, fresh), strict=True):
                self.seen[int(name.removesuffix(".json"))] = commit["part"]
                self.rows += commit["rows"]
                self.failed += commit["failed"]

    def remove_orphans(self) -> None:
        """Remove parts that no commit names: for when every shard is committed, not before.

        No run, however late, can commit such a part any more.
        """
        kept = set(self.seen.values())
        for name in storage.list_names(self.layout.results, ".parquet"):
            if name not in kept:
                storage.remove(self.layout.part(name))

    def _read(self, name: str) -> dict:
        return json.loads(storage.read_bytes(storage.join(self.layout.commits, name)))
