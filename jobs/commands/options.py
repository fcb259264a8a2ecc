"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from pipeline.output.selection import Selection

# Panels of options in the help.
IMAGES, SAMPLER = "What was done to the images", "Prior and sampler"
ROWS, MACHINE, OUTPUT = "Which images", "Machine", "Output"
SOURCE = "Where SOURCE is a manifest or Parquet files"


def examples(*lines: str) -> str:
    """The end of a command's help: command lines that can be run as they are."""
    return "\n\n".join(["Examples:", *lines])


RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Restore the rows that failed earlier once more, too.",
        rich_help_panel=ROWS,
    ),
]
Fresh = Annotated[
    bool,
    typer.Option(
        "--fresh",
        is_eager=True,
        help="Start anew. An output that holds a run is refused.",
        rich_help_panel=OUTPUT,
    ),
]


def _with_fresh(context: typer.Context, overwrite: bool) -> bool:
    if overwrite and not context.params.get("fresh"):
        raise typer.BadParameter("it goes with --fresh")
    return overwrite


Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="With --fresh: remove the files of the earlier run from the output.",
        callback=_with_fresh,
        rich_help_panel=OUTPUT,
    ),
]

Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Restore the first N images only. A later run without this option keeps them, and "
        "restores the others.",
        metavar="N",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
Sample = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Restore N images by a random choice, which depends on the seed alone; otherwise as "
        "--limit.",
        metavar="N",
        show_default=False,
        rich_help_panel=ROWS,
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Only say what would be done and how long it would take, as diffpir plan does.",
        rich_help_panel=OUTPUT,
    ),
]
Price = Annotated[
    float | None,
    typer.Option(
        "--price-per-hour",
        min=0,
        metavar="PRICE",
        help="Price of an hour of all the machines that work on the job. The plan then says what "
        "the job would cost.",
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]


AllowCode = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-code",
        metavar="MODULE",
        help="Name of a module or package of yours that the job may import. Repeat the option for "
        "several; your configuration may allow more.",
        rich_help_panel=MACHINE,
    ),
]


def first_rows(limit: int | None, sample: int | None, seed: int) -> Selection | None:
    """The rows that a run restores, where it is not all of them."""
    from pipeline.output.selection import Selection

    if limit is not None and sample is not None:
        raise typer.BadParameter("give one of --limit and --sample, not both")
    if sample is not None:
        return Selection(sample, seed)
    return None if limit is None else Selection(limit)


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


def default_place(outputs: Sequence[str], name: str) -> str:
    """Where a command writes what it makes of outputs, if it is not told: into the one output.

    Of several outputs, or of one that is not on this machine, into the current folder.
    """
    from manifests import storage

    if len(set(outputs)) == 1 and storage.is_local(outputs[0]):
        return storage.join(outputs[0], name)
    return name


def local_path(value: str | Path) -> Path:
    """A path on this machine; a URI would become a folder with a strange name."""
    if "://" in str(value):
        raise typer.BadParameter(f"{value}: must be a path on this machine, not a URI")
    return Path(value)


def local_output(help: str) -> Any:
    """``--output`` of a command that writes on this machine."""
    return typer.Option("--output", "-o", parser=local_path, metavar="PATH", help=help)


WatchIds = Annotated[
    list[str] | None,
    typer.Option(
        "--watch-ids",
        metavar="ID",
        help="If steps of the sampler are kept (save_steps): id of an image whose steps these are. "
        "Repeat the option for several.",
        show_default="the first four images",
        rich_help_panel=SAMPLER,
    ),
]
