"""The output folder of a run: what is planned there, what is done, and what is left to do."""

from __future__ import annotations

from collections.abc import Iterator
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
from pipeline.output.state import State
from pipeline.output.summary import Summary, read_summary, write_summary

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
    def cut(job: Job, shard_rows: int) -> Iterator[pa.Table]:
        """The rows of each shard that :meth:`create` would plan."""
        enlarged = job.spec.task.enlargement**2 if job.spec.mode == "restore" else 1
        return shards_in(job.manifest.batches(), shard_rows, enlarged)

    @classmethod
    def create(cls, job: Job, shard_rows: int) -> RunFolder:
        """Cut the job's manifest into shards of at most this many rows, and record the run."""
        files = write_plan(cls.cut(job, shard_rows), job.layout)
        if create_record(job.layout, job.identity, job.spec, files, job.version, job.model):
            return cls(job.layout, read_record(job.layout))
        for entry in files:  # another driver was faster: its plan counts
            storage.remove(job.layout.plan(entry["file"]))
        return cls.find(job) or cls.create(job, shard_rows)

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

    @property
    def rows_done(self) -> int:
        """Of shards that have a part."""
        return sum(shard.rows for shard in self.shards if shard.index in self.state.latest)

    @property
    def parts(self) -> list[Part]:
        """The parts that hold the results, in the order of their shards."""
        return list(self.state.latest.values())

    def work(self, retry_failed: bool = False) -> list[Work]:
        """What is left to do: shards without a part, and if asked for, rows that failed.

        Raises:
            PipelineError: ``results/`` holds what no run made.
        """
        check_strange(self.layout, self.state.strange)
        failed = self.state.failed(self.shards) if retry_failed else ()
        return [*self.state.pending(self.shards), *failed]

    def finish(self, heartbeat: Heartbeat, seconds: float, done_now: int | None) -> Summary:
        """Clear away what killed runs left, and write the summary, if every shard is done.

        Args:
            heartbeat: of this driver.
            seconds: that this run took.
            done_now: rows that it restored; None where none were left.

        Raises:
            JobStopped: shards are missing.
        """
        if done_now is not None:
            self.state.refresh()
        if missing := len(self.state.pending(self.shards)):
            raise JobStopped(f"{missing} of {len(self.shards)} shards are missing after the run")
        self._clear(heartbeat)
        if done_now is None and (known := read_summary(self.layout)):
            return known
        return write_summary(self.layout, self.state.tallies().values(), seconds, done_now or 0)

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
