"""What an output holds of a run: its parts, as storage lists them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow.compute as pc

from manifests import storage
from pipeline.output.layout import Layout
from pipeline.output.parts import Part, Tally, empty_part, parse, read_part, read_tally
from pipeline.output.plan import Shard, Work

READERS = 32  # threads: reading parts waits for storage


class State:
    """The parts of a run, as of the last :meth:`refresh`.

    Attributes:
        latest: shard -> its part of the highest generation, which holds its results.
        superseded: parts of lower generations.
        foreign: parts of another run, whose writer outlived the removal of its files.
        strange: what else a reader of ``results/*.parquet`` would take for results.
    """

    def __init__(self, layout: Layout, run: str):
        self.layout, self.run = layout, run
        self.refresh()

    def refresh(self) -> None:
        """List what is there now: one request for each thousand parts, and no reading."""
        self.latest: dict[int, Part] = {}
        self.superseded: list[Part] = []
        self.foreign: list[Part] = []
        self.strange: list[str] = []
        for name in storage.list_names(self.layout.results, ".parquet", files_only=False):
            part = parse(name)
            if part is None:
                self.strange.append(name)
                continue
            if part.run != self.run:
                self.foreign.append(part)
                continue
            # Names are sorted: the generations of a shard come in their order.
            if part.shard in self.latest:
                self.superseded.append(self.latest[part.shard])
            self.latest[part.shard] = part

    def pending(self, shards: tuple[Shard, ...]) -> list[Work]:
        """What is left to do: shards without a part."""
        return [Work(shard) for shard in shards if shard.index not in self.latest]

    def tallies(self) -> dict[int, Tally]:
        """Shard -> the tally of its part."""
        with ThreadPoolExecutor(READERS) as pool:
            read = pool.map(lambda part: read_tally(self.layout, part), self.latest.values())
            return dict(zip(self.latest, read, strict=True))

    def failed(self, shards: tuple[Shard, ...]) -> Iterator[Work]:
        """The failed rows of each shard that has some, as work for the next generation."""
        for shard, tally in self.tallies().items():
            if tally.failed:
                part = self.latest[shard]
                status = read_part(self.layout, part, ["status"])["status"]
                places = pc.indices_nonzero(pc.equal(status, "error")).to_pylist()
                yield Work(shards[shard], part.generation + 1, tuple(places))

    def empty_superseded(self) -> None:
        """Take the rows out of superseded parts. Safe at any time, done by anyone, twice too."""
        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(self._empty, self.superseded))

    def _empty(self, part: Part) -> None:
        if read_tally(self.layout, part).rows:
            empty_part(self.layout, part)
