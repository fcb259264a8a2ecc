"""The commands to begin with: init, schema, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand

from jobs.commands.options import examples, local_output
from jobs.console import user_errors

app = typer.Typer()


class InitCommand(TyperCommand):
    """Asks for the kinds of tasks only when it is used: their modules take a while to load."""

    def get_params(self, ctx: Any) -> list[Any]:
        from pipeline.tasks import TASKS

        params = super().get_params(ctx)
        for param in params:
            if isinstance(param, TyperArgument) and param.name == "task":
                param.help = f"What happened to the images: {', '.join(TASKS)}."
        return params


def known_task(value: str) -> str:
    from pipeline.tasks import TASKS

    if value not in TASKS:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(TASKS)}")
    return value


@app.command(
    cls=InitCommand,
    epilog=examples("diffpir init deblur -o job.yaml", "diffpir init sr > job.yaml"),
)
def init(
    task: Annotated[str, typer.Argument(parser=known_task, metavar="TASK")],
    output: Annotated[
        Path | None, local_output("The job file; without it, the text is printed.")
    ] = None,
) -> None:
    """Write a commented job file to begin with, and beside it the schema that editors read."""
    with user_errors():
        from jobs.job_template import SCHEMA, job_text, write_job

        if output is None:
            typer.echo(job_text(task), nl=False)
            return
        try:
            write_job(task, output)
        except FileExistsError:
            typer.secho(
                f"error: {output} is there already; choose another name, or remove it first",
                err=True,
                fg="red",
            )
            raise typer.Exit(2) from None
    typer.echo(f"{output} (and {SCHEMA}, for editors); when it says what you want: ", nl=False)
    typer.echo(f"diffpir run {output}")


@app.command(epilog=examples("diffpir schema > diffpir-job.schema.json"))
def schema() -> None:
    """Print the JSON Schema of job files, with which editors complete keys and show faults."""
    with user_errors():
        from jobs.job_schema import job_schema_text

        typer.echo(job_schema_text(), nl=False)


COLOURS = {"ok": "green", "warning": "yellow", "broken": "red"}


@app.command(epilog=examples("diffpir doctor", "diffpir doctor out/ s3://bucket/runs"))
def doctor(
    places: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PLACE]...",
            help="Folders or URIs to try: a small file is written there, read and removed.",
        ),
    ] = None,
) -> None:
    """Check the installation, by trying it, and say what to mend.

    Exits with 1 if something is broken that jobs need.
    """
    broken = 0
    with user_errors():
        from jobs.doctor import examine

        for finding in examine(places or ()):
            state = typer.style(f"{finding.state:8}", fg=COLOURS[finding.state])
            typer.echo(f"{state} {finding.name}: {finding.words}")
            broken += finding.state == "broken"
    if broken:
        typer.echo(f"{broken} broken", err=True)
        raise typer.Exit(1)
