"""The commands that show a job's results to eyes: report."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import AllowCode, allowed_code
from jobs.console import user_errors
from jobs.report.full import Full

app = typer.Typer()


@app.command()
def report(
    outputs: Annotated[
        list[str],
        typer.Argument(
            help="A job's output folder or URI; of several over the same images, the others are "
            "compared with the first."
        ),
    ],
    file: Annotated[
        str, typer.Option("--output", "-o", help="The page, by path or URI (.html).")
    ] = "report.html",
    limit: Annotated[
        int, typer.Option(min=1, help="Images that are shown; of more, a sample.")
    ] = 200,
    full: Annotated[
        Full,
        typer.Option(
            help="Pictures that are larger than their previews: files beside the page, in the page "
            "itself (embed), or none."
        ),
    ] = Full.beside,
    allow_code: AllowCode = None,
) -> None:
    """Make a page of a job's results that opens in any browser: pictures, numbers, failures."""
    with user_errors():
        from jobs.progress import unfinished
        from jobs.report.write import write_report
        from manifests import storage

        notes = [unfinished(output) for output in dict.fromkeys(outputs)]
        written = write_report(
            outputs, file, limit=limit, full=full, allow_code=allowed_code(allow_code)
        )
    beside = f"; its full pictures: {storage.shown(written.folder)}" if written.folder else ""
    typer.echo(f"report: {storage.shown(file)} ({written.bytes / 1e6:.1f} MB){beside}")
    for note in filter(None, notes):
        typer.echo(note, err=True)
