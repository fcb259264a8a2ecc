"""The output folder of a run: what is planned there, what is done, and what is left to do."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import TYPE_CHECKING

import pyarrow as pa

from manifests import storage
from pipeline.errors import JobStopped, PipelineError
from pipeline.output import drivers, plan
from pipeline.output.commit import Committer
from pipeline.output.drivers import Heartbeat
from pipeline.output.fresh import check_strange, check_unclaimed
from pipeline.output.layout import Layout
from pipeline.output.parts import Part
from pipeline.output.plan import Shard, Work, shards_in, write_plan
from pipeline.output.record import Record, create_record, read_record
from pipeline.output.selection import Selection
from pipeline.output.state import State
from pipeline.output.summary import Summary, read_summary, summary_of, write_summary

if TYPE_CHECKING:  # its import brings PyTorch, and those who only read an output need none
    from pipeline.job import Job


class RunFolder:
    """What an output holds of a run.

    Args:
        layout: of the output.
        record: of the run.

    Attributes:
        state: the run's parts, as they were listed last.
    """

    def __init__(self, layout: Layout, record: Record):
        self.layout, self.record = layout, record
        self.state = State(layout, record.id)

    @classmethod
    def open(cls, output: str) -> RunFolder:
        """The run that an output holds, for whoever wants to read of it.

        Args:
            output: folder or URI.

        Raises:
            PipelineError: no job has that output, or its record is damaged.
            StorageError: it cannot be read.
        """
        layout = Layout(storage.absolute(output))
        return cls(layout, read_record(layout))

    @classmethod
    def find(cls, job: Job) -> RunFolder | None:
        """The run that this job's output already holds; None where it holds none.

        Raises:
            PipelineError: it is another job's, with a list of what differs; or what the output
                holds would be taken for results.
        """
        check_unclaimed(job.layout)
        if not storage.exists(job.layout.run):
            return None
        record = read_record(job.layout)
        if changed := record.differences(job.identity, job.spec):
            raise PipelineError(
                f"{storage.shown(job.layout.output)} holds another job's results; choose another "
                f"output. Changed: {'; '.join(changed)}"
            )
        return cls(job.layout, record)

    @staticmethod
    def cut(job: Job, shard_rows: int, first: Selection | None = None) -> Iterator[pa.Table]:
        """The rows of each shard that :meth:`create` would plan."""
        cuts = first.cuts(job.rows) if first else ()
        return shards_in(job.manifest.batches(), shard_rows, job.pixel_ratio, cuts)

    @classmethod
    def create(cls, job: Job, shard_rows: int, first: Selection | None = None) -> RunFolder:
        """Cut the job's manifest into shards of at most this many rows, and record the run.

        Args:
            job: that was checked.
            shard_rows: at most.
            first: the rows that are to be restored first, in shards of their own.
        """
        files = write_plan(cls.cut(job, shard_rows, first), job.layout)
        if create_record(job.layout, job.identity, job.spec, files, job.version, job.model):
            return cls(job.layout, read_record(job.layout))
        for entry in files:  # another driver was faster: its plan counts
            storage.remove(job.layout.plan(entry["file"]))
        return cls.find(job) or cls.create(job, shard_rows, first)

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def shards(self) -> tuple[Shard, ...]:
        return self.record.shards

    @property
    def committer(self) -> Committer:
        """What workers commit their shards with."""
        return Committer(self.layout, self.id)

    @property
    def rows(self) -> int:
        """Of the whole job."""
        return sum(shard.rows for shard in self.shards)

    def rows_in(self, chosen: Container[int]) -> int:
        """Of these shards."""
        return sum(shard.rows for shard in self.shards if shard.index in chosen)

    @property
    def rows_done(self) -> int:
        """Of shards that have a part."""
        return sum(shard.rows for shard in self.shards if shard.index in self.state.latest)

    @property
    def parts(self) -> list[Part]:
        """The parts that hold the results, in the order of their shards."""
        return list(self.state.latest.values())

    def chosen(self, first: Selection | None) -> frozenset[int]:
        """The shards that a run is about: those of a selection, or all."""
        if first is None:
            return frozenset(shard.index for shard in self.shards)
        return first.shards(self.shards)

    def work(self, chosen: Container[int], retry_failed: bool = False) -> list[Work]:
        """What is left to do: shards without a part, and if asked for, rows that failed.

        Args:
            chosen: the shards that it is about.
            retry_failed: also restore once more the rows that failed.

        Raises:
            PipelineError: ``results/`` holds what no run made.
        """
        check_strange(self.layout, self.state.strange)
        failed = self.state.failed(self.shards) if retry_failed else ()
        work = [*self.state.pending(self.shards), *failed]
        return [item for item in work if item.shard.index in chosen]

    def finish(
        self, chosen: Container[int], heartbeat: Heartbeat, seconds: float, done_now: int | None
    ) -> Summary:
        """Clear away what killed runs left, and count; the job's end keeps the summary.

        Args:
            chosen: the shards that the run was about.
            heartbeat: of this driver.
            seconds: that this run took.
            done_now: rows that it restored; None where none were left.

        Raises:
            JobStopped: shards are missing.
        """
        if done_now is not None:
            self.state.refresh()
        pending = [item.shard for item in self.state.pending(self.shards)]
        if missing := sum(shard.index in chosen for shard in pending):
            raise JobStopped(f"{missing} of {len(self.shards)} shards are missing after the run")
        self._clear(heartbeat)
        if done_now is None and not pending and (known := read_summary(self.layout)):
            return known
        tallies = self.state.tallies().values()
        left = sum(shard.rows for shard in pending)
        summary = summary_of(tallies, seconds, done_now or 0, left)
        if not left:
            write_summary(self.layout, summary)
        return summary

    def _clear(self, heartbeat: Heartbeat) -> None:
        """Remove what killed runs have left behind, unless another driver is at work.

        Whatever has no name that a run gives is the user's, and stays.
        """
        self.state.empty_superseded()
        if heartbeat.others():
            return
        layout = self.layout
        for part in self.state.foreign:
            storage.remove(layout.part(part.name))
        planned = {shard.file for shard in self.shards}
        for name in storage.list_names(layout.plans):
            if plan.NAME.fullmatch(name) and name not in planned:
                storage.remove(layout.plan(name))
        for name in storage.list_names(layout.drivers):
            if drivers.NAME.fullmatch(name) and name != heartbeat.name:
                storage.remove(layout.driver(name))
        for folder in (layout.output, layout.results, layout.plans, layout.drivers):
            storage.remove_partials(folder)
