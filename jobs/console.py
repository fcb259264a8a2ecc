"""What the command line prints, and its exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pipeline.flow.progress import Progress
    from pipeline.outlook.outlook import Outlook
    from pipeline.output.summary import Summary

# Codes of 128 and more: the job was interrupted by a signal (jobs.interrupts).
STOPPED = 1  # the job was at work and cannot go on: storage or cluster failed; run it again
WRONG = 2  # the job, an option or a file is wrong; nothing was done
ROWS_FAILED = 3  # the job is finished, and some of its rows failed
RUNNING = 4  # the job that was asked about waits or is at work

USUAL_WIDTH = 80  # of a terminal that does not tell


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
    """How far a job is, on standard error: one line that is rewritten, or lines in a log.

    On a terminal the line has a bar, images, images per second, time left, failures by kind and
    the last error, as far as they fit. Elsewhere there is a new line every ten seconds. Leave it
    (it is a context manager) before anything else is printed.
    """

    PLAIN_SECONDS = 10  # between lines where output is no terminal
    BAR = 24  # width in characters, of a third of a narrow terminal at most

    def __init__(self) -> None:
        self.terminal = sys.stderr.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")
        self.last: float = -self.PLAIN_SECONDS
        self.open = False  # the cursor is still in the line
        self.over = False  # the end of the job was shown

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *exc: object) -> None:
        self._end()

    def __call__(self, progress: Progress) -> None:
        finished = progress.done == progress.rows
        if progress.seconds < self.last or (self.over and not finished):  # another job
            self.last, self.over = -self.PLAIN_SECONDS, False
            self._end()
        shown = self.terminal or finished or progress.seconds - self.last > self.PLAIN_SECONDS
        if self.over or not shown:
            return
        self.last, self.over = progress.seconds, finished
        if self.terminal:
            typer.echo(f"\r\033[K{self._drawn(progress)}", err=True, nl=False)
            self.open = True
            if finished:
                self._end()
        else:
            typer.echo(describe(progress), err=True)

    def _end(self) -> None:
        if self.open:
            typer.echo(err=True)
            self.open = False

    def _drawn(self, progress: Progress) -> str:
        """The line for a terminal, cut to its width."""
        from rich.console import Console
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        try:
            width = os.get_terminal_size(sys.stderr.fileno()).columns or USUAL_WIDTH
        except OSError:
            width = USUAL_WIDTH
        console = Console(stderr=True, highlight=False, width=width)
        text = Text(describe(progress), no_wrap=True, overflow="ellipsis")
        if progress.last_error:
            text.append(f"; {one_line(progress.last_error)}", style="red")
        bar = ProgressBar(progress.rows, progress.done, width=min(self.BAR, console.width // 3))
        line = Table.grid(padding=(0, 1, 0, 0))
        line.add_column(no_wrap=True)
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_row(bar, text)
        with console.capture() as drawn:
            # The last column stays free: some terminals begin a new line after it.
            console.print(line, width=console.width - 1)
        return drawn.get().rstrip("\n")


def one_line(text: str) -> str:
    """A text of anybody's for a terminal: no line breaks, and nothing that steers it."""
    return "".join(c if c.isprintable() else "\ufffd" for c in " ".join(text.split()))


def describe(progress: Progress) -> str:
    text = f"{progress.done}/{progress.rows} images"
    if progress.failures:
        text += f", failed: {kinds_in_words(progress.failures)}"
    if not progress.done_now:
        return f"{text}, {progress.seconds:.0f} s"
    rate = progress.done_now / progress.seconds
    left = (progress.rows - progress.done) / rate
    return f"{text}, {rate:.2f} images/s, {duration(left)} left"


def kinds_in_words(failures: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in failures.items())


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
    if summary.left:
        typer.echo(
            f"{summary.left} rows are left; the same command without --limit and --sample "
            "restores them, and keeps these"
        )
    for warning in summary.warnings:
        typer.secho(f"warning: {warning}", err=True, fg="yellow")
    if summary.failed:
        kinds = kinds_in_words(summary.failures)
        typer.echo(f"failed: {kinds} (their column 'error' says more)", err=True)
        raise typer.Exit(ROWS_FAILED)


def show_outlook(found: Outlook, price_per_hour: float | None = None) -> None:
    """Print what a job would do, and how long that would take."""
    from manifests import storage

    for note in found.notes:
        say(note)
    actors = f"{found.min_actors}"
    if found.max_actors > found.min_actors:
        actors += f" to {found.max_actors}"
    typer.echo(f"rows: {found.rows} in {found.shards} shards")
    there = f"{found.done} rows" if found.begun else "nothing"
    typer.echo(f"there already: {there}")
    typer.echo(f"to restore: {found.rows_left} rows in {found.shards_left} shards")
    total = found.evaluations * found.rows_left
    typer.echo(f"network evaluations: {found.evaluations} for each row, {total} in all")
    typer.echo(f"actors: {actors}")
    typer.echo(f"results: {storage.shown(found.output)}/results")
    if found.images:
        typer.echo(f"pictures: {storage.shown(found.images)}")
    if found.unmeasured:
        say(
            f"no estimate of the time: small parts of the images could not be restored: "
            f"{found.unmeasured}"
        )
    if found.estimate is None:
        return
    estimate = found.estimate
    typer.echo(
        f"time: about {duration(estimate.seconds)} for {estimate.pixels / 1e6:.3g} million pixels"
    )
    typer.echo(
        f"  assumed: {estimate.actors} x {estimate.device}, each as fast as one has just restored "
        f"small parts of {estimate.measured} of the images"
    )
    if price_per_hour is not None:
        cost = estimate.seconds / 3600 * price_per_hour
        typer.echo(f"cost: about {cost:.4g}, at {price_per_hour:g} an hour for all machines")
