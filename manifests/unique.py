"""Whether ids are unique, in eight bytes for each: where their hashes agree, they are compared."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


class SeenIds:
    """The hashes of ids."""

    def __init__(self) -> None:
        self._hashes: list[np.ndarray] = []

    def add(self, ids: pa.ChunkedArray) -> None:
        for chunk in ids.chunks:
            hashes = map(hash, chunk.to_pylist())
            self._hashes.append(np.fromiter(hashes, np.int64, len(chunk)))

    def suspects(self) -> frozenset[int]:
        """The hashes that stand there more than once; forgets them all."""
        hashes, self._hashes = np.concatenate([np.empty(0, np.int64), *self._hashes]), []
        hashes.sort()
        return frozenset(hashes[1:][hashes[1:] == hashes[:-1]].tolist())


def duplicates(
    columns: Iterable[pa.ChunkedArray], suspects: frozenset[int]
) -> list[tuple[str, int, int]]:
    """Each id that occurs more than once, with its first and last row (counted from 1).

    Args:
        columns: all ids, in batches.
        suspects: hashes of ids that may occur more than once.
    """
    rows: dict[str, list[int]] = {}
    start = 1
    for ids in columns:
        for row, value in enumerate(ids.to_pylist(), start):
            if value and hash(value) in suspects:
                rows.setdefault(value, []).append(row)
        start += len(ids)
    found = [(value, at[0], at[-1]) for value, at in rows.items() if len(at) > 1]
    return sorted(found, key=lambda one: one[2])


def duplicate_ids(ids: pa.ChunkedArray) -> list[tuple[str, int, int]]:
    """As :func:`duplicates`, of one column."""
    if pc.count_distinct(ids).as_py() == len(ids):
        return []
    seen = SeenIds()
    seen.add(ids)
    return duplicates([ids], seen.suspects())
