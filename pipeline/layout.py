"""Where things lie in a job's output folder.

run.json                 the job: specification, plan, digests, versions; created once
plan/*.parquet           the manifest's rows as planned, one row group per shard
commits/SHARD.json       a shard is done, and this is its part; created once
results/SHARD-*.parquet  the results, one part per shard
summary.json             counts and times, written when every shard is done
"""

from __future__ import annotations

from dataclasses import dataclass

from manifests import storage


@dataclass(frozen=True)
class Layout:
    output: str

    @property
    def run(self) -> str:
        return storage.join(self.output, "run.json")

    @property
    def summary(self) -> str:
        return storage.join(self.output, "summary.json")

    @property
    def commits(self) -> str:
        return storage.join(self.output, "commits")

    @property
    def results(self) -> str:
        return storage.join(self.output, "results")

    def plan(self, name: str) -> str:
        return storage.join(self.output, "plan", name)

    def commit(self, shard: int) -> str:
        return storage.join(self.commits, f"{shard_name(shard)}.json")

    def part(self, name: str) -> str:
        return storage.join(self.results, name)


def shard_name(shard: int) -> str:
    return f"{shard:09d}"
