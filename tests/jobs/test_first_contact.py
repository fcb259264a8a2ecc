"""What somebody meets first on the command line: help, versions, job files to begin with."""

from __future__ import annotations

from typer.testing import CliRunner

import diffpir
from jobs.cli import app


def command(*arguments):
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_the_version_is_that_of_the_package():
    result = command("--version")
    assert (result.exit_code, result.stdout) == (0, f"diffpir {diffpir.__version__}\n")
