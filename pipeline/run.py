"""Running a job: check, plan or find the plan, restore what is left, finish."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from ray.exceptions import RayActorError, RayError

from manifests.errors import ManifestError, StorageError
from pipeline.errors import JobStopped, PipelineError
from pipeline.finish import Summary, clear, read_summary, summarise
from pipeline.flow import configure_ray_data, restore_shards
from pipeline.ledger import Ledger
from pipeline.originals import reads
from pipeline.output.drivers import Heartbeat
from pipeline.output.fresh import begin_anew, check_strange, check_unclaimed
from pipeline.output.plan import Work, rows_per_shard
from pipeline.output.state import State
from pipeline.prepare import Run, check, check_writable, find_run, plan_run
from pipeline.resources import Resources, plan_resources, start_ray
from pipeline.spec.job import JobSpec

POLL_SECONDS = 1.0
ADVICE = re.compile(r"\nFailed to .* attempts \(")  # begins what Ray Data adds to an error's text


@dataclass(frozen=True)
class Progress:
    """How far a job is.

    Attributes:
        rows: of the job.
        done: of them, by earlier runs too.
        failed: among those of this run.
        done_now: of this run.
        seconds: of this run.
    """

    rows: int
    done: int
    failed: int
    done_now: int
    seconds: float


def run_job(
    spec: JobSpec,
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    retry_failed: bool = False,
    fresh: bool = False,
    overwrite: bool = False,
) -> Summary:
    """Start the job, or resume it where an earlier run of it stopped.

    Uses the connected Ray cluster, the one at ``RAY_ADDRESS``, or starts Ray on this machine.

    Args:
        spec: of the job.
        on_progress: called about once a second.
        retry_failed: restore the rows that failed in earlier runs once more.
        fresh: start anew; an output that holds something is refused.
        overwrite: with ``fresh``, remove an earlier run's files from the output instead.

    Raises:
        PipelineError, ManifestError: the job is wrong; nothing was started.
        JobStopped: it was started and cannot go on; what is committed stays.
    """
    began = time.perf_counter()
    job = check(spec)
    if fresh:
        if overwrite:
            _startable(spec)  # before anything is removed
        begin_anew(job.layout, overwrite, reads(spec, job.table))
    else:
        check_unclaimed(job.layout)
    run, resources = find_run(job), None
    if run is None:
        resources = _startable(spec)
        rows = rows_per_shard(len(job.table), resources.max_actors, resources.batch_pixels)
        run = plan_run(job, spec.shard_rows or rows)

    try:
        return _finish(run, resources, retry_failed, on_progress, began)
    except StorageError as e:
        raise JobStopped(str(e)) from None


def _startable(spec: JobSpec) -> Resources:
    """What a run takes of the cluster.

    Raises:
        PipelineError: the cluster has not got it, or the pictures' folder takes no files.
    """
    start_ray()
    resources = plan_resources(spec)
    check_writable(spec)
    return resources


def _finish(
    run: Run,
    resources: Resources | None,
    retry_failed: bool,
    on_progress: Callable[[Progress], None],
    began: float,
) -> Summary:
    """Do what is left of a planned run; None for the resources of one that is resumed."""
    layout = run.job.layout
    with Heartbeat(layout) as heartbeat:
        state = State(layout, run.id)
        check_strange(layout, state.strange)
        work = state.pending(run.shards)
        if retry_failed:
            work += state.failed(run.shards)
        done_now = 0
        if work:
            resources = resources or _startable(run.job.spec)
            configure_ray_data()
            ledger = Ledger(run.id)
            to_do = sum(item.rows for item in work)

            def report(progress: Progress) -> None:
                heartbeat.say(asdict(progress))
                on_progress(progress)

            with _watching(run.rows, run.rows - to_do, ledger, report):
                _restore(run, work, resources, ledger)
            done_now = ledger.read().committed.rows
            state.refresh()
        missing = len(state.pending(run.shards))
        if missing:
            raise JobStopped(f"{missing} of {len(run.shards)} shards are missing after the run")
        clear(run, state, heartbeat)
        known = None if work else read_summary(layout)
        seconds = time.perf_counter() - began
        return known or summarise(run, state, seconds, done_now)


def _restore(run: Run, work: Sequence[Work], resources: Resources, ledger: Ledger) -> None:
    try:
        restore_shards(run, work, resources, ledger)
    except Exception as e:
        cause = _cause(e)
        if isinstance(cause, RayActorError):
            raise JobStopped(f"an actor failed: {_last_line(cause)}") from e
        known = isinstance(cause, PipelineError | ManifestError)
        text = ADVICE.split(str(cause))[0]
        raise JobStopped(text if known else f"{type(cause).__name__}: {text}") from e


def _cause(error: BaseException) -> BaseException:
    """What a worker raised, from inside of what Ray makes of it."""
    while True:
        inner = getattr(error, "cause", None) if isinstance(error, RayError) else None
        inner = inner or error.__cause__
        if not isinstance(inner, BaseException) or not str(inner):  # Ray Data's may have no words
            return error
        error = inner


def _last_line(error: RayActorError) -> str:
    """What its actor raised: Ray has it as the last line of a traceback."""
    line = str(error).strip().splitlines()[-1]
    name, _, text = line.partition(": ")
    ours = name.startswith(("diffpir.", "manifests.", "pipeline."))
    return text if ours and text else line


class _watching:
    """While it is entered, a thread reads the ledger and reports progress."""

    def __init__(
        self, rows: int, done_before: int, ledger: Ledger, report: Callable[[Progress], None]
    ):
        self.rows, self.done_before = rows, done_before
        self.ledger, self.report = ledger, report
        self.began = time.perf_counter()
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
            try:
                self._report()
            except RayError:
                continue  # the ledger's node died; the ledger comes again

    def _report(self) -> None:
        counts = self.ledger.read()
        done = self.done_before + counts.committed.rows + counts.found
        self.report(
            Progress(
                rows=self.rows,
                done=min(done, self.rows),
                failed=counts.committed.failed,
                done_now=counts.committed.rows,
                seconds=time.perf_counter() - self.began,
            )
        )
