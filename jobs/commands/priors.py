"""The commands on priors: train, and those of models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import (
    AllowCode,
    Precision,
    ValueRange,
    allowed_code,
    examples,
    local_output,
)
from jobs.console import user_errors

app = typer.Typer()
models = typer.Typer(help="Look into checkpoints.", no_args_is_help=True)
app.add_typer(models, name="models")
Prior = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The prior: 'builtin', a known name (diffpir models list), org/name of the Hugging "
        "Face Hub, the path or URI of a file or folder, or a path with facts that the file does "
        "not tell, such as '{path: m.pt, num_heads: 4}'.",
    ),
]


@models.command(
    "inspect",
    epilog=examples(
        "diffpir models inspect builtin", "diffpir models inspect '{path: m.pt, num_heads: 4}'"
    ),
)
def inspect_model(
    model: Prior,
    allow_code: AllowCode = None,
) -> None:
    """Say what a prior is, and how that is known: found, inferred, assumed, or given."""
    with user_errors():
        from jobs.models import describe_model
        from jobs.specfile import make_model

        typer.echo(describe_model(make_model(model), allowed_code(allow_code)))


@models.command("list", epilog=examples("diffpir models list"))
def list_models() -> None:
    """The priors that are known by a name: what they are, where they lie, their licences."""
    with user_errors():
        from jobs.fetching import list_known

        typer.echo(list_known())


@models.command("fetch", epilog=examples("diffpir models fetch ffhq"))
def fetch_model(name: Annotated[str, typer.Argument(help="Name of a known prior.")]) -> None:
    """Fetch a known prior before a job does, and verify it."""
    with user_errors():
        from jobs.fetching import fetch_shown

        typer.echo(fetch_shown(name))


@models.command(
    "convert", epilog=examples("diffpir models convert model.pt -o model-bf16.safetensors")
)
def convert(
    model: Prior,
    output: Annotated[Path, local_output("File to write (.safetensors).")],
    precision: Annotated[
        Precision, typer.Option(help="Number format of the weights.")
    ] = Precision.bf16,
) -> None:
    """Write a checkpoint in the precision that jobs compute in: actors of a node then share it."""
    with user_errors():
        from jobs.models import convert_model
        from jobs.specfile import make_model

        typer.echo(convert_model(make_model(model), output, precision.value))


@models.command(
    "calibrate",
    epilog=examples("diffpir models calibrate model.pt clean.parquet -o calibrated.safetensors"),
)
def calibrate(
    model: Prior,
    manifest: Annotated[str, typer.Argument(help="Manifest of a few dozen clean photographs.")],
    output: Annotated[Path, local_output("File to write (.safetensors).")],
    evaluations: Annotated[
        int,
        typer.Option(
            min=20, max=100_000, help="Number of network evaluations, over all photographs."
        ),
    ] = 200,
    side: Annotated[
        int,
        typer.Option(
            min=64,
            max=4096,
            help="Side of the central square of each photograph that is used, in pixels.",
        ),
    ] = 256,
    value_range: ValueRange = None,
) -> None:
    """Measure how wrong a prior is at each frequency; the method diffpir-spectral needs that.

    Writes the checkpoint with its error spectrum. Take photographs like yours, in the form that the
    prior was trained on, but not those that you will measure quality with.
    """
    with user_errors():
        from jobs.models import calibrate_model
        from jobs.specfile import make_model

        with typer.progressbar(length=evaluations, label="evaluations", file=sys.stderr) as bar:
            told = calibrate_model(
                make_model(model),
                manifest,
                output,
                evaluations=evaluations,
                side=side,
                value_range=value_range,
                on_evaluation=lambda done, total: bar.update(1),
            )
        typer.echo(told)


@app.command(
    epilog=examples(
        "diffpir train photos.parquet -o prior/ --steps 20000",
        "diffpir train frames.parquet -o grey/ --channels 1 --from builtin --steps 300",
    )
)
def train(
    manifest: Annotated[str, typer.Argument(help="Manifest of photographs.")],
    output: Annotated[Path, local_output("Folder for state, log and model; resumes there.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps in all.")],
    batch: Annotated[int, typer.Option(min=1, help="Number of crops in a step.")] = 32,
    crop: Annotated[int, typer.Option(min=8, help="Side of a crop in pixels.")] = 64,
    width: Annotated[
        int | None,
        typer.Option(
            min=32,
            help="Channels of the finest level of the network, a multiple of 32 (usually 32).",
        ),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Channels of the pictures: 1 (grey) or 3 (colour).",
            show_default="3, or those of --from",
        ),
    ] = None,
    value_range: ValueRange = None,
    initial: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="MODEL",
            help="Prior whose weights a new run begins with, as in diffpir restore.",
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(help="Manifest of other photographs, to measure the prior as a denoiser."),
    ] = None,
    lr: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 4e-4,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="Every random choice depends on it.")
    ] = 0,
) -> None:
    """Train a small prior on photographs, or adapt one. A column 'weight' sets frequencies."""
    with user_errors():
        from jobs.specfile import make_model
        from jobs.train import train_prior

        path = train_prior(
            manifest,
            output,
            steps=steps,
            batch=batch,
            crop=crop,
            width=width,
            channels=channels,
            value_range=value_range,
            initial=make_model(initial) if initial else None,
            validation=validation,
            lr=lr,
            seed=seed,
        )
    typer.echo(f"model: {path}")
