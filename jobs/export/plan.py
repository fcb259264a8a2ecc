"""Which rows go into which file of an export: known before the first one is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """What the plan needs to know of a part of the results.

    Attributes:
        rows: that it has.
        bytes: that those of its columns take which are exported.
    """

    rows: int
    bytes: int


@dataclass(frozen=True)
class Piece:
    """The rows from ``start`` to ``stop`` of a shard."""

    shard: int
    start: int
    stop: int


def plan_files(parts: Sequence[Part], limit: int) -> list[list[Piece]]:
    """Cut all rows, in their order, into files of about ``limit`` bytes.

    The same parts are always cut in the same way. A part that has more bytes is cut into pieces of
    equally many rows.

    Args:
        parts: of the results, in the order of their shards.
        limit: bytes of a file.
    """
    files: list[list[Piece]] = []
    size = 0
    for shard, part in enumerate(parts):
        if not part.rows:
            continue
        pieces = max(1, min(part.rows, -(-part.bytes // limit)))
        for i in range(pieces):
            more = part.bytes // pieces
            if not files or size + more > limit:
                files.append([])
                size = 0
            files[-1].append(Piece(shard, part.rows * i // pieces, part.rows * (i + 1) // pieces))
            size += more
    return files
