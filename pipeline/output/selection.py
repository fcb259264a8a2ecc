"""The rows that a run begins with, where it is told to restore a few first."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise

from pipeline.output.plan import Shard


@dataclass(frozen=True)
class Selection:
    """The first rows of a job, or rows by a random choice.

    A choice of more rows holds those of a choice of fewer.

    Attributes:
        count: of rows.
        seed: of the random choice; None for the first rows.
    """

    count: int
    seed: int | None = None

    def spans(self, rows: int) -> list[range]:
        """The places of the chosen rows, of so many, in order; neighbours are in one range."""
        count = min(self.count, rows)
        if self.seed is None or count == rows:
            return [range(count)]
        draw, chosen = random.Random(self.seed), set[int]()
        while len(chosen) < count:
            chosen.add(draw.randrange(rows))
        places = sorted(chosen)
        breaks = [i for i, (a, b) in enumerate(pairwise(places), start=1) if b > a + 1]
        return [
            range(places[start], places[stop - 1] + 1)
            for start, stop in pairwise([0, *breaks, count])
        ]

    def cuts(self, rows: int) -> list[int]:
        """Where a plan is cut, so that its shards hold chosen rows only, or none."""
        return sorted({edge for span in self.spans(rows) for edge in (span.start, span.stop)})

    def shards(self, shards: Iterable[Shard]) -> frozenset[int]:
        """The shards that hold a chosen row.

        They hold others too where the plan was cut without this selection.
        """
        shards = list(shards)
        starts = [0, *accumulate(shard.rows for shard in shards)]
        return frozenset(
            shards[i].index
            for span in self.spans(starts[-1])
            for i in range(bisect_right(starts, span.start) - 1, bisect_left(starts, span.stop))
        )
