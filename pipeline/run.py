"""Running a job: check it, open or plan its folder, restore what is pending, finish."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict

from manifests.errors import StorageError
from manifests.secrets import texts_of
from pipeline.errors import JobStopped
from pipeline.flow.flow import configure_ray_data, restore_shards
from pipeline.flow.ledger import Ledger
from pipeline.flow.progress import Progress, run_reporting
from pipeline.flow.ray_errors import in_words
from pipeline.flow.resources import Resources, plan_resources, start_ray
from pipeline.job import Job
from pipeline.originals import is_read
from pipeline.output.drivers import Heartbeat
from pipeline.output.fresh import begin_anew
from pipeline.output.plan import Work, rows_per_shard
from pipeline.output.run_folder import RunFolder
from pipeline.output.selection import Selection
from pipeline.output.summary import Summary
from pipeline.prepare import check, check_writable
from pipeline.spec.job import JobSpec

Report = Callable[[Progress], None]

WAVE = 20_000  # shards that Ray Data is given at a time: its driver holds a task for each


def run_job(
    spec: JobSpec,
    on_progress: Report = lambda _: None,
    *,
    retry_failed: bool = False,
    fresh: bool = False,
    overwrite: bool = False,
    first: Selection | None = None,
    allow_code: Collection[str] = (),
    on_note: Callable[[str], None] = lambda _: None,
) -> Summary:
    """Start the job, or resume it where an earlier run of it stopped.

    Uses the connected Ray cluster, the one at ``RAY_ADDRESS``, or starts Ray on this machine.

    Args:
        spec: of the job.
        on_progress: called about once a second.
        retry_failed: restore the rows that failed in earlier runs once more.
        fresh: start anew; an output that holds something is refused.
        overwrite: with ``fresh``, remove an earlier run's files from the output instead.
        first: restore these rows only; a later run keeps them, and restores the others.
        allow_code: modules and packages of your own that the job may import.
        on_note: told, where a run is planned, what is particular in its prior, and in how its
            manifest is read.

    Raises:
        PipelineError, ManifestError: the job is wrong; nothing was started.
        JobStopped: it was started and cannot go on; what is committed stays.
    """
    began = time.perf_counter()
    job = check(spec, allow_code, fresh=fresh)
    if fresh:
        if overwrite:
            resources_for(spec)  # before anything is removed
        begin_anew(job.layout, overwrite, is_read(spec, job.manifest))
    folder, resources = RunFolder.find(job), None
    if folder is None:
        resources = resources_for(spec)
        rows = rows_per_shard(job.rows, resources.max_actors, resources.batch_pixels)
        folder = RunFolder.create(job, spec.shard_rows or rows, first)
        for note in (*job.notes, *job.manifest.notes):
            on_note(note)
        if job.activations:
            on_note(job.memory_note(resources.batch_pixels))
    chosen = folder.chosen(first)
    if first and (more := folder.rows_in(chosen) - min(first.count, folder.rows)):
        on_note(
            f"{more} rows more than asked for: this output was begun in shards of several rows, "
            "which are restored as a whole"
        )
    try:
        with Heartbeat(folder.layout) as heartbeat:
            done_now = None
            if work := folder.work(chosen, retry_failed):

                def report(progress: Progress) -> None:
                    heartbeat.say(asdict(progress))
                    on_progress(progress)

                resources = resources or resources_for(spec)
                rows = folder.rows_in(chosen)
                done_now = _restore(job, folder, work, rows, resources, report)
            return folder.finish(chosen, heartbeat, time.perf_counter() - began, done_now)
    except StorageError as e:
        raise JobStopped(str(e)) from None


def resources_for(spec: JobSpec) -> Resources:
    """What a run takes of the cluster, which is started if there is none.

    Raises:
        PipelineError: the cluster has not got it, or the pictures' folder takes no files.
    """
    start_ray()
    resources = plan_resources(spec)
    check_writable(spec)
    return resources


def _restore(
    job: Job,
    folder: RunFolder,
    work: Sequence[Work],
    rows: int,
    resources: Resources,
    report: Report,
) -> int:
    """Restore and commit this work, of so many rows that the run is about.

    Returns how many rows this run committed.
    """
    configure_ray_data()
    ledger = Ledger(folder.id)
    done_before = rows - sum(item.rows for item in work)

    def restore() -> None:
        for start in range(0, len(work), WAVE):
            restore_shards(job, folder, work[start : start + WAVE], resources, ledger)

    try:
        run_reporting(restore, ledger, rows, done_before, report)
    except JobStopped:
        raise
    except Exception as e:
        raise JobStopped(in_words(e, texts_of(job.spec.model_dump()))) from e
    return ledger.read().committed.rows
