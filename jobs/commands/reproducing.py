"""The command that runs the paper's table anew."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Precision, examples, local_output
from jobs.console import ProgressLine, say, user_errors
from jobs.interrupts import interruptible

app = typer.Typer()


class Tables(StrEnum):
    ffhq = "ffhq"
    imagenet = "imagenet"


@app.command(
    epilog=examples(
        "diffpir reproduce --images ffhq/ -o tables/ --model ffhq",
        "diffpir reproduce --images faces/ -o faces-tables/ --model ffhq_10m.pt --quick",
    )
)
def reproduce(
    images: Annotated[
        str,
        typer.Option(
            help="Clean pictures of 256 x 256 pixels: a folder, glob or list. Of FFHQ's pictures "
            "the 100 of the authors are taken if all of them are there, else the first 100."
        ),
    ],
    output: Annotated[Path, local_output("Folder for the jobs, and for the table (table.md).")],
    model: Annotated[str, typer.Option(help="'builtin', or a checkpoint's path or URI.")] = (
        "builtin"
    ),
    dataset: Annotated[Tables, typer.Option(help="Which table of the paper.")] = Tables.ffhq,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="The five faces of the authors' demo, against numbers that others recorded; "
            "with 20 evaluations, unless --nfe says 100.",
        ),
    ] = False,
    nfe: Annotated[
        int | None,
        typer.Option(help="Network evaluations for each picture: 100 or 20.", show_default="100"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Restore so many pictures, the first ones.", show_default="100"),
    ] = None,
    lpips: Annotated[
        str | None,
        typer.Option(help="File with the weights of VGG-16 (vgg16-397923af.pth), for LPIPS."),
    ] = None,
    inception: Annotated[
        str | None, typer.Option(help="File with the weights of Inception, for FID.")
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="Number format of the network; the authors' is fp32.")
    ] = Precision.auto,
) -> None:
    """Run the paper's settings, and print the means beside the published ones.

    The same command goes on where it was interrupted.
    """
    with interruptible(), user_errors():
        from jobs.reproduce import reproduce as run_table
        from jobs.tables import print_records

        with ProgressLine() as progress:
            records = run_table(
                images,
                output,
                model=model,
                dataset="faces" if quick else dataset.value,
                nfe=nfe or (20 if quick else 100),
                limit=limit,
                lpips=lpips,
                inception=inception,
                settings={"precision": precision.value},
                on_progress=progress,
                on_note=say,
            )
    print_records(records, "table")
    say(f"also in {output / 'table.md'}")
