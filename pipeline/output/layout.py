"""Where things lie in a job's output folder.

run.json                    the job: specification, plan, digests, versions; created once
plan/*.parquet              the manifest's rows as planned, one row group per shard
results/SHARD-GEN-RUN.parquet   the results of a shard; created once, whole, or not at all
drivers/*.json              a file for each driver that is at work: touched, tells its progress
summary.json                counts and times, written when every shard is done

Names are told apart exactly (``NAME`` in ``parts``, ``plan`` and ``drivers``): what has another is
the user's, and is never removed.
"""

from __future__ import annotations

from dataclasses import dataclass

from manifests import storage
from pipeline.errors import PipelineError


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
    def plans(self) -> str:
        return storage.join(self.output, "plan")

    @property
    def results(self) -> str:
        return storage.join(self.output, "results")

    @property
    def drivers(self) -> str:
        return storage.join(self.output, "drivers")

    def plan(self, name: str) -> str:
        return storage.join(self.plans, name)

    def part(self, name: str) -> str:
        return storage.join(self.results, name)

    def driver(self, name: str) -> str:
        return storage.join(self.drivers, name)

    def check_present(self) -> None:
        """Before writing: what is written elsewhere than the run's record would be nobody's.

        Raises:
            PipelineError: the record is gone.
            StorageError: the output cannot be read.
        """
        if not storage.exists(self.run):
            raise PipelineError(
                f"{storage.shown(self.run)} is gone: the output was moved or removed while the run "
                "was at work; move it back first"
            )
