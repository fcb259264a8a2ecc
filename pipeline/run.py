"""Running a job: check, plan or find the plan, restore what is not yet committed, finish."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from manifests import storage
from pipeline.commits import Commits
from pipeline.flow import configure_ray_data, restore_shards
from pipeline.plan import rows_per_shard
from pipeline.prepare import Run, check, find_run, plan_run
from pipeline.resources import plan_resources, start_ray
from pipeline.spec import JobSpec

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Progress:
    """How far a job is: rows in all, done and failed (by earlier runs too), done by this run."""

    rows: int
    done: int
    failed: int
    done_now: int
    seconds: float


@dataclass(frozen=True)
class Summary:
    """How a finished job ended; kept as ``summary.json``. Times are of the run that finished it."""

    rows: int
    ok: int
    failed: int
    seconds: float
    images_per_second: float


def run_job(spec: JobSpec, on_progress: Callable[[Progress], None] = lambda _: None) -> Summary:
    """Start the job, or resume it where an earlier run of it stopped.

    Uses the connected Ray cluster, the one at ``RAY_ADDRESS``, or starts Ray on this machine.

    Raises:
        PipelineError, ManifestError: the job is wrong; nothing was started.
    """
    began = time.perf_counter()
    job = check(spec)
    run = find_run(job)
    if run is None:
        start_ray()
        resources = plan_resources(spec)
        rows = rows_per_shard(len(job.table), resources.actors, resources.batch)
        run = plan_run(job, spec.shard_rows or rows)

    commits = Commits(job.layout)
    commits.refresh()
    before = commits.rows
    pending = [shard for shard in run.shards if shard.index not in commits.seen]
    if pending:
        start_ray()
        configure_ray_data()
        resources = plan_resources(spec)
        with _watching(run, commits, on_progress):
            restore_shards(run, pending, resources)
        commits.refresh()
    commits.remove_orphans()

    seconds = time.perf_counter() - began
    summary = Summary(
        rows=run.rows,
        ok=commits.rows - commits.failed,
        failed=commits.failed,
        seconds=round(seconds, 2),
        images_per_second=round((commits.rows - before) / seconds, 4),
    )
    if pending or not storage.exists(job.layout.summary):
        storage.write_bytes(job.layout.summary, json.dumps(asdict(summary), indent=1).encode())
    return summary


class _watching:
    """While it is entered, a thread counts commits and reports progress."""

    def __init__(self, run: Run, commits: Commits, report: Callable[[Progress], None]):
        self.run, self.commits, self.report = run, commits, report
        self.before, self.began = commits.rows, time.perf_counter()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self.thread.start()

    def __exit__(self, *exc) -> None:
        self.stop.set()
        self.thread.join()
        if exc[0] is None:
            self._report()

    def _watch(self) -> None:
        while not self.stop.wait(POLL_SECONDS):
            self._report()

    def _report(self) -> None:
        self.commits.refresh()
        self.report(
            Progress(
                rows=self.run.rows,
                done=self.commits.rows,
                failed=self.commits.failed,
                done_now=self.commits.rows - self.before,
                seconds=time.perf_counter() - self.began,
            )
        )
