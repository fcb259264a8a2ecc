"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

RetryFailed = Annotated[
    bool, typer.Option("--retry-failed", help="Also restore once more the rows that failed.")
]
Fresh = Annotated[
    bool, typer.Option("--fresh", is_eager=True, help="Start anew; an output in use is refused.")
]


def _with_fresh(context: typer.Context, overwrite: bool) -> bool:
    if overwrite and not context.params.get("fresh"):
        raise typer.BadParameter("it goes with --fresh")
    return overwrite


Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="With --fresh: remove the earlier run's files.",
        callback=_with_fresh,
    ),
]


AllowCode = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-code",
        metavar="MODULE",
        help="A module or package of your own that the job may import (repeatable); your "
        "configuration may allow more.",
    ),
]


def allowed_code(given: list[str] | None) -> list[str]:
    """What this command and the user's configuration allow a job to import."""
    from jobs.settings import user_settings

    return [*(given or ()), *user_settings().allow_code]


def range_option(panel: str | None = None) -> Any:
    """``--range``, in a panel of the help."""
    return typer.Option(
        "--range",
        metavar="BLACK WHITE",
        help="The numbers in the files that are black and white.",
        show_default="all of 8 or 16 bits",
        rich_help_panel=panel,
    )


ValueRange = Annotated[tuple[float, float] | None, range_option()]


class Precision(StrEnum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


def local_path(value: str | Path) -> Path:
    """A path on this machine; a URI would become a folder with a strange name."""
    if "://" in str(value):
        raise typer.BadParameter(f"{value}: must be a path on this machine, not a URI")
    return Path(value)


def local_output(help: str) -> Any:
    """``--output`` of a command that writes on this machine."""
    return typer.Option("--output", "-o", parser=local_path, metavar="PATH", help=help)
