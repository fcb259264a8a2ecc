"""The commands on priors: train, models inspect, models convert."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import Precision, ValueRange, local_output
from jobs.console import user_errors

app = typer.Typer()
models = typer.Typer(help="Look into checkpoints.", no_args_is_help=True)
app.add_typer(models, name="models")
HeadChannels = Annotated[
    int | None, typer.Option(min=1, help="Width of a head; tensors do not tell it.")
]
Heads = Annotated[int | None, typer.Option(min=1, help="Number of heads, instead.")]


@models.command("inspect")
def inspect_model(
    file: Annotated[str, typer.Argument(help="'builtin', or a checkpoint's path or URI.")],
    num_head_channels: HeadChannels = None,
    num_heads: Heads = None,
) -> None:
    """Say what a checkpoint is: the architecture read off its tensors, its size, its digest."""
    with user_errors():
        from jobs.models import describe_model

        typer.echo(describe_model(file, num_head_channels=num_head_channels, num_heads=num_heads))


@models.command("convert")
def convert(
    file: Annotated[str, typer.Argument(help="'builtin', or a checkpoint's path or URI.")],
    output: Annotated[Path, local_output("File to write (.safetensors).")],
    precision: Annotated[Precision, typer.Option(help="Of the weights.")] = Precision.bf16,
    num_head_channels: HeadChannels = None,
    num_heads: Heads = None,
) -> None:
    """Write a checkpoint in the precision that jobs compute in: actors of a node then share it."""
    with user_errors():
        from jobs.models import convert_model

        options = {"num_head_channels": num_head_channels, "num_heads": num_heads}
        typer.echo(convert_model(file, output, precision.value, **options))


@models.command("calibrate")
def calibrate(
    file: Annotated[str, typer.Argument(help="'builtin', or a checkpoint's path or URI.")],
    manifest: Annotated[str, typer.Argument(help="Manifest of a few dozen clean photographs.")],
    output: Annotated[Path, local_output("File to write (.safetensors).")],
    evaluations: Annotated[
        int, typer.Option(min=20, max=100_000, help="Network evaluations in all.")
    ] = 200,
    side: Annotated[
        int, typer.Option(min=64, max=4096, help="Of the photographs' central squares, in pixels.")
    ] = 256,
    value_range: ValueRange = None,
    num_head_channels: HeadChannels = None,
    num_heads: Heads = None,
) -> None:
    """Measure how wrong a prior is at each frequency; the method diffpir-spectral needs that.

    Writes the checkpoint with its error spectrum. Take photographs like yours, in the form that the
    prior was trained on, but not those that you will measure quality with.
    """
    with user_errors():
        from jobs.models import calibrate_model

        with typer.progressbar(length=evaluations, label="evaluations", file=sys.stderr) as bar:
            told = calibrate_model(
                file,
                manifest,
                output,
                evaluations=evaluations,
                side=side,
                value_range=value_range,
                on_evaluation=lambda done, total: bar.update(1),
                num_head_channels=num_head_channels,
                num_heads=num_heads,
            )
        typer.echo(told)


@app.command()
def train(
    manifest: Annotated[str, typer.Argument(help="Manifest of photographs.")],
    output: Annotated[Path, local_output("Folder for state, log and model; resumes there.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps in all.")],
    batch: Annotated[int, typer.Option(min=1, help="Crops per step.")] = 32,
    crop: Annotated[int, typer.Option(min=8, help="Side of a crop in pixels.")] = 64,
    width: Annotated[
        int | None,
        typer.Option(min=32, help="Of the finest level, a multiple of 32 (usually 32)."),
    ] = None,
    channels: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of the pictures: 1 (grey) or 3 (colour).",
            show_default="3, or those of --from",
        ),
    ] = None,
    value_range: ValueRange = None,
    initial: Annotated[
        str | None,
        typer.Option(
            "--from", help="Model whose weights a new run begins with: path, URI, builtin."
        ),
    ] = None,
    validation: Annotated[
        str | None,
        typer.Option(help="Manifest of other photographs, to measure the prior as a denoiser."),
    ] = None,
    lr: Annotated[float, typer.Option(min=0, help="Peak learning rate.")] = 4e-4,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of everything random.")] = 0,
) -> None:
    """Train a small prior on photographs, or adapt one. A column 'weight' sets frequencies."""
    with user_errors():
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
            initial=initial,
            validation=validation,
            lr=lr,
            seed=seed,
        )
    typer.echo(f"model: {path}")
