"""The ``diffpir`` command, put together of its groups."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from diffpir import __version__
from jobs.commands import (
    beginning,
    cluster,
    manifest,
    priors,
    reproducing,
    restoring,
    results,
    running,
    viewing,
)
from jobs.console import STOPPED
from jobs.interrupts import leave_within

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(running.app)
app.add_typer(restoring.app)
app.add_typer(beginning.app)
app.add_typer(reproducing.app)
app.add_typer(cluster.app)
app.add_typer(results.app)
app.add_typer(viewing.app)
app.add_typer(manifest.app, name="manifest")
app.add_typer(priors.app)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"diffpir {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Restore datasets of images with a diffusion prior (DiffPIR) on Ray."""


def main() -> None:
    """The command as a process of its own."""
    # Whatever calls Ray after a job has ended must not start another Ray.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")
    try:
        app(prog_name="diffpir")
    except SystemExit as e:
        if e.code == STOPPED:  # what stopped the job may hold Ray's end as well
            leave_within(STOPPED)
        raise
