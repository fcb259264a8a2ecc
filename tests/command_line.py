"""The command line, called within the test's own process."""

from __future__ import annotations

from click.testing import Result
from typer.testing import CliRunner

from jobs.cli import app


def diffpir(*arguments: object) -> Result:
    """Call ``diffpir`` with such arguments. Errors that it does not put into words are raised."""
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result
