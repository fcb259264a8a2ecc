"""How far the job of an output is, from its files alone: readable from anywhere, by anyone."""

from __future__ import annotations

import time
from dataclasses import dataclass

from jobs.console import ROWS_FAILED, RUNNING, STOPPED
from manifests import storage
from pipeline.output.drivers import at_work
from pipeline.output.run_folder import RunFolder
from pipeline.output.summary import read_summary


@dataclass(frozen=True)
class OutputProgress:
    """The state of an output.

    Attributes:
        state: ``finished``; ``running``: a driver is at work; ``stopped``: none is, and shards
            are missing.
        rows: of the job.
        done: rows in committed shards.
        failed: rows that failed: in all when the job is finished, else as far as the drivers at
            work know; None where none is.
        images_per_second: of the drivers at work, since each began; None before their first image.
        seconds_left: by that rate.
        drivers: host, process, seconds since the last sign of life of each, and bytes free on the
            disk of its machine.
    """

    state: str
    rows: int
    done: int
    failed: int | None
    images_per_second: float | None
    seconds_left: float | None
    drivers: list[dict]

    @property
    def meaning(self) -> int:
        """The exit code for a script that asks for this output."""
        if self.state == "finished":
            return ROWS_FAILED if self.failed else 0
        return RUNNING if self.state == "running" else STOPPED


def progress_of(output: str) -> OutputProgress:
    """Look at an output: a listing of its parts, and a few small files.

    Raises:
        PipelineError: no job has that output, or its record is damaged.
        StorageError: it cannot be read.
    """
    folder = RunFolder.open(output)
    done, rows = folder.rows_done, folder.rows
    drivers = at_work(folder.layout, time.time())
    reports = [report for driver in drivers if (report := driver.get("progress"))]
    summary = None if drivers else read_summary(folder.layout)
    if drivers:
        state_now, failed = "running", sum(report["failed"] for report in reports)
    elif summary and done == rows:
        state_now, failed = "finished", summary.failed
    else:
        state_now, failed = "stopped", None
    rate = sum(report["done_now"] / report["seconds"] for report in reports if report["done_now"])
    return OutputProgress(
        state=state_now,
        rows=rows,
        done=done,
        failed=failed,
        images_per_second=round(rate, 4) if rate else None,
        seconds_left=round((rows - done) / rate) if rate else None,
        drivers=[
            {
                "host": d["host"],
                "pid": d["pid"],
                "seen_seconds_ago": round(d["age"]),
                "free_disk": d["free_disk"],
            }
            for d in drivers
        ],
    )


def unfinished(output: str) -> str | None:
    """That rows of an output are missing, in words; None where all are there.

    Raises as :func:`progress_of`.
    """
    folder = RunFolder.open(output)
    done, rows = folder.rows_done, folder.rows
    if done >= rows:
        return None
    return f"{storage.shown(output)}: {done} of {rows} rows: the job is not finished"
