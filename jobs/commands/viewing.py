"""The commands that show results to eyes: report, show."""

from __future__ import annotations

import contextlib
from typing import Annotated

import typer

from jobs.commands.options import AllowCode, allowed_code, default_place, examples
from jobs.console import user_errors
from jobs.report.full import Full

app = typer.Typer()


@app.command(
    epilog=examples(
        "diffpir report out/",
        "diffpir report out1/ out2/ -o compared.html",
        "diffpir report s3://bucket/runs/1 --live",
    )
)
def report(
    outputs: Annotated[
        list[str],
        typer.Argument(
            help="A job's output folder or URI; of several over the same images, the others are "
            "compared with the first."
        ),
    ],
    file: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            help="Where the page is written, a path or URI (.html).",
            show_default="report.html in the output, if it is one on this machine; else here",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(
            min=1, help="Most images that are shown; if there are more, a sample of them."
        ),
    ] = 200,
    full: Annotated[
        Full,
        typer.Option(
            help="Where pictures go that are larger than their previews: to files beside the page, "
            "into the page itself (embed), or nowhere (none)."
        ),
    ] = Full.beside,
    live: Annotated[
        bool,
        typer.Option("--live", help="Serve the page instead, and keep it up to date."),
    ] = False,
    host: Annotated[
        str,
        typer.Option(
            help="With --live: address to listen at. One that is not loopback can be reached from "
            "other machines."
        ),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="With --live: port; 0 for any that is free.")
    ] = 0,
    allow_code: AllowCode = None,
) -> None:
    """Make a page of a job's results that opens in any browser: pictures, numbers, failures.

    With --live the page is served, to those who have the link that is printed, and shows a job
    while it runs, wherever it runs: only its output is read. Ctrl-C ends the page, not the job.
    """
    if live:
        if file is not None:
            raise typer.BadParameter("--live writes no file; leave out --output")
        _serve(outputs, limit, host, port, allow_code)
        return
    with user_errors():
        from jobs.progress import unfinished
        from jobs.report.write import write_report
        from manifests import storage

        file = file or default_place(outputs, "report.html")
        notes = [unfinished(output) for output in dict.fromkeys(outputs)]
        written = write_report(
            outputs, file, limit=limit, full=full, allow_code=allowed_code(allow_code)
        )
    beside = f"; its full pictures: {storage.shown(written.folder)}" if written.folder else ""
    typer.echo(f"report: {storage.shown(file)} ({written.bytes / 1e6:.1f} MB){beside}")
    for note in filter(None, notes):
        typer.echo(note, err=True)


def _serve(
    outputs: list[str], limit: int, host: str, port: int, allow_code: list[str] | None
) -> None:
    if len(outputs) > 1:
        raise typer.BadParameter("--live shows one output")
    with user_errors(), contextlib.suppress(KeyboardInterrupt):
        from jobs.report.live import serve

        serve(
            outputs[0],
            limit=limit,
            host=host,
            port=port,
            allow_code=allowed_code(allow_code),
            ready=lambda link: typer.echo(f"open {link}"),
        )


@app.command(epilog=examples("diffpir show out/ 2023/beach", "diffpir show out/ 7 -o shown/"))
def show(
    output: Annotated[str, typer.Argument(help="A job's output folder or URI.")],
    id: Annotated[str, typer.Argument(metavar="ID", help="Id of the row.")],
    folder: Annotated[
        str, typer.Option("--output", "-o", help="Folder or URI for its pictures.")
    ] = "shown",
    allow_code: AllowCode = None,
) -> None:
    """Print one row of a job's results in full, and write its pictures as files."""
    with user_errors():
        from jobs.export.values import as_cell
        from jobs.show import show_row
        from jobs.tables import print_records
        from manifests import storage

        values, files, note = show_row(output, id, folder, allowed_code(allow_code))
    records = [{"column": name, "value": as_cell(value)} for name, value in values.items()]
    print_records([record for record in records if record["value"]], "table")
    for file in files:
        typer.echo(storage.shown(file))
    if note:
        typer.echo(note, err=True)
