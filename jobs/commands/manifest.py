"""The commands on manifests: build, check."""

from __future__ import annotations

from typing import Annotated

import typer

from jobs.commands.options import examples
from jobs.console import say_left_out, user_errors

app = typer.Typer(help="Build and check manifests.", no_args_is_help=True)


@app.command(
    "build",
    epilog=examples(
        "diffpir manifest build photos/ -o manifest.parquet",
        "diffpir manifest build 2023/ 2024/ s3://bucket/photos -o s3://bucket/manifest.parquet",
        "diffpir manifest build 'shards/{000..127}.tar' -o manifest.csv",
    ),
)
def build_manifest(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders, pictures, globs, bucket prefixes or lists (.txt) of pictures; or "
            "Parquet or WebDataset files, by one name.",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Manifest to write (.parquet, .csv, .jsonl).")
    ],
) -> None:
    """Make a manifest: id, image, width, height, bytes; of Parquet and tar files their columns."""
    with user_errors():
        from manifests import storage
        from manifests.build import build, write_manifest
        from pipeline.schema import RESERVED

        table = build(sources, say_left_out, RESERVED)
        write_manifest(table, output)
    typer.echo(f"{len(table)} images: {storage.shown(output)}")


@app.command(
    "check",
    epilog=examples(
        "diffpir manifest check manifest.parquet", "diffpir manifest check photos.csv --deep"
    ),
)
def check_manifest(
    manifest: Annotated[str, typer.Argument(help="Manifest, by path or URI.")],
    deep: Annotated[
        bool, typer.Option(help="Decode every picture, mask, kernel and noise map.")
    ] = False,
) -> None:
    """Say what is wrong with a manifest, row by row. Exits with 3 if anything is."""
    with user_errors():
        from manifests.check import check
        from pipeline.fence.decoders import file_fault
        from pipeline.schema import RESERVED
        from pipeline.tasks import kernels, noise

        count = 0
        for finding in check(
            manifest,
            reserved=RESERVED,
            text_faults={"kernel": kernels.text_fault, "noise": noise.text_fault},
            file_fault=file_fault if deep else None,
        ):
            count += 1
            typer.echo(str(finding))
    typer.echo(f"{count} faults" if count else "no faults", err=True)
    if count:
        raise typer.Exit(3)
