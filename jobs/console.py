"""What the command line prints, and its exit codes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pipeline.outlook import Outlook
    from pipeline.output.summary import Summary
    from pipeline.progress import Progress

# Codes of 128 and more: the job was interrupted by a signal (jobs.interrupts).
STOPPED = 1  # the job was at work and cannot go on: storage or cluster failed; run it again
WRONG = 2  # the job, an option or a file is wrong; nothing was done
ROWS_FAILED = 3  # the job is finished, and some of its rows failed
RUNNING = 4  # the job that was asked about waits or is at work


@contextmanager
def user_errors() -> Iterator[None]:
    """A user's mistake becomes one message and exit code 2, never a traceback."""
    from diffpir.errors import DiffPIRError
    from manifests.errors import ManifestError
    from pipeline.errors import JobStopped, PipelineError

    try:
        yield
    except (FileExistsError, NotADirectoryError) as e:  # a folder was asked for
        words = f"{e.filename} is a file, not a folder" if e.filename else str(e)
        typer.secho(f"error: {words}", err=True, fg="red")
        raise typer.Exit(WRONG) from None
    except (FileNotFoundError, PermissionError) as e:  # it cannot be made there
        words = f"{e.filename}: {e.strerror}" if e.filename else str(e)
        typer.secho(f"error: {words}", err=True, fg="red")
        raise typer.Exit(WRONG) from None
    except JobStopped as e:
        typer.secho(f"stopped: {e}", err=True, fg="red")
        say_how_to_go_on()
        raise typer.Exit(STOPPED) from None
    except (DiffPIRError, ManifestError, PipelineError) as e:
        typer.secho(f"error: {e}", err=True, fg="red")
        raise typer.Exit(WRONG) from None


def say_how_to_go_on() -> None:
    """Of a job that was at work and has not finished."""
    without = " without --fresh" if "--fresh" in sys.argv else ""
    typer.echo(f"what is done is kept; the same command{without} goes on from there", err=True)


def say(note: str) -> None:
    """What a user may want to know beside the results."""
    typer.echo(note, err=True)


def say_left_out(files: list[str]) -> None:
    """Of files that can stand in no manifest."""
    typer.echo(
        f"{len(files)} file(s) left out, whose names are not UTF-8; rename them to restore them: "
        f"{', '.join(map(ascii, files[:3]))}{', ...' if len(files) > 3 else ''}",
        err=True,
    )


class ProgressLine:
    """Images done, images per second and time left: a line rewritten, or a new one a while."""

    PLAIN_SECONDS = 10  # between lines where output is no terminal

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.last: float = -self.PLAIN_SECONDS

    def __call__(self, progress: Progress) -> None:
        if progress.seconds < self.last:  # another job
            self.last = -self.PLAIN_SECONDS
        finished = progress.done == progress.rows
        if not (self.terminal or finished or progress.seconds - self.last > self.PLAIN_SECONDS):
            return
        self.last = progress.seconds
        text = describe(progress)
        if self.terminal:
            typer.echo(f"\r\033[K{text}", err=True, nl=finished)
        else:
            typer.echo(text, err=True)


def describe(progress: Progress) -> str:
    text = f"{progress.done}/{progress.rows} images"
    if progress.failed:
        text += f" ({progress.failed} failed)"
    if not progress.done_now:
        return f"{text}, {progress.seconds:.0f} s"
    rate = progress.done_now / progress.seconds
    left = (progress.rows - progress.done) / rate
    return f"{text}, {rate:.2f} images/s, {duration(left)} left"


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def finish(summary: Summary, output: str) -> None:
    """Print how a job ended, and exit with what that means."""
    from manifests import storage

    typer.echo(
        f"{summary.ok} restored, {summary.failed} failed, in {duration(summary.seconds)} "
        f"({summary.images_per_second:.2f} images/s): {storage.shown(output)}/results"
    )
    for warning in summary.warnings:
        typer.secho(f"warning: {warning}", err=True, fg="yellow")
    if summary.failed:
        kinds = ", ".join(f"{n} {kind}" for kind, n in summary.failures.items())
        typer.echo(f"failed: {kinds} (their column 'error' says more)", err=True)
        raise typer.Exit(ROWS_FAILED)


def show_outlook(found: Outlook) -> None:
    """Print what a job would do."""
    from manifests import storage

    actors = f"{found.min_actors}"
    if found.max_actors > found.min_actors:
        actors += f" to {found.max_actors}"
    typer.echo(f"rows: {found.rows} in {found.shards} shards")
    if found.begun:
        done = found.rows - found.rows_left
        typer.echo(
            f"there already: {done} rows; left: {found.rows_left} in {found.shards_left} shards"
        )
    else:
        typer.echo("there already: nothing")
    total = found.evaluations * found.rows_left
    typer.echo(f"network evaluations: {found.evaluations} for each row, {total} in all")
    typer.echo(f"actors: {actors}")
    typer.echo(f"results: {storage.shown(found.output)}/results")
    if found.images:
        typer.echo(f"pictures: {storage.shown(found.images)}")
