"""The commands on job files: run and plan."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.options import (
    AllowCode,
    DryRun,
    Fresh,
    Limit,
    Overwrite,
    Price,
    RetryFailed,
    Sample,
    WatchIds,
    allowed_code,
    examples,
    first_rows,
)
from jobs.console import ProgressLine, finish, say, show_outlook, user_errors
from jobs.interrupts import interruptible

if TYPE_CHECKING:
    from pipeline.output.selection import Selection
    from pipeline.output.summary import Summary
    from pipeline.spec.job import JobSpec

app = typer.Typer()


@app.command(
    epilog=examples(
        "diffpir run job.yaml",
        "diffpir run job.yaml --limit 8",
        "diffpir run job.yaml --retry-failed",
        "diffpir run job.yaml --fresh --overwrite",
    )
)
def run(
    job: Annotated[str, typer.Argument(help="Job file (YAML), by path or URI.")],
    limit: Limit = None,
    sample: Sample = None,
    retry_failed: RetryFailed = False,
    fresh: Fresh = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    price_per_hour: Price = None,
    allow_code: AllowCode = None,
    watch_ids: WatchIds = None,
) -> None:
    """Run a job, or resume it where it stopped.

    Exits with 0 if all rows are restored, 3 if some failed, 2 if the job is wrong (nothing was
    started), 1 if it stopped on the way, 130 or 143 if SIGINT or SIGTERM interrupted it (the same
    command goes on).
    """
    if dry_run and (fresh or retry_failed):
        raise typer.BadParameter("--dry-run goes with neither --fresh nor --retry-failed")
    with interruptible(), user_errors():
        from jobs.specfile import load_job

        spec = load_job(job, watch_ids)
        first = first_rows(limit, sample, spec.seed)
        allowed = allowed_code(allow_code)
        if dry_run:
            show_plan(spec, first, allowed, price_per_hour)
            return
        no_price(price_per_hour)
        summary = run_with_progress(
            spec,
            first=first,
            retry_failed=retry_failed,
            fresh=fresh,
            overwrite=overwrite,
            allow_code=allowed,
        )
    finish(summary, spec.output)


@app.command(
    epilog=examples(
        "diffpir plan job.yaml",
        "diffpir plan job.yaml --price-per-hour 3.5",
        "diffpir plan job.yaml --sample 100",
    )
)
def plan(
    job: Annotated[str, typer.Argument(help="Job file (YAML), by path or URI.")],
    price_per_hour: Price = None,
    limit: Limit = None,
    sample: Sample = None,
    allow_code: AllowCode = None,
) -> None:
    """Check a job as `run` does, and say what it would do and how long that would take.

    Small parts of three images are restored to measure the speed. Nothing is written. Exits with 2
    if the job is wrong.
    """
    with interruptible(), user_errors():
        from jobs.specfile import load_job

        spec = load_job(job)
        first = first_rows(limit, sample, spec.seed)
        show_plan(spec, first, allowed_code(allow_code), price_per_hour)


def show_plan(
    spec: JobSpec,
    first: Selection | None,
    allow_code: Collection[str],
    price_per_hour: float | None,
) -> None:
    from jobs.fetching import fetch_of
    from pipeline.outlook.outlook import outlook

    fetch_of(spec.model)
    show_outlook(outlook(spec, allow_code, first=first), price_per_hour)


def run_with_progress(spec: JobSpec, **options: Any) -> Summary:
    from jobs.fetching import fetch_of
    from pipeline.run import run_job

    fetch_of(spec.model)
    with ProgressLine() as progress:
        return run_job(spec, progress, on_note=say, **options)


def no_price(price_per_hour: float | None) -> None:
    if price_per_hour is not None:
        raise typer.BadParameter("--price-per-hour goes with --dry-run, or with diffpir plan")
