"""The ``diffpir`` command: parses, calls, prints. Heavy imports wait until a command needs them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from jobs import cluster_commands
from jobs.console import ProgressLine, finish, user_errors
from jobs.options import Fresh, HeadChannels, Heads, Overwrite, RetryFailed, local_output
from jobs.tables import Style

app = typer.Typer(
    help="Restore datasets of images with a diffusion prior (DiffPIR) on Ray.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
manifest_app = typer.Typer(help="Build and check manifests.", no_args_is_help=True)
models_app = typer.Typer(help="Look into checkpoints.", no_args_is_help=True)
app.add_typer(manifest_app, name="manifest")
app.add_typer(models_app, name="models")
app.add_typer(cluster_commands.app)


class Kind(StrEnum):
    deblur = "deblur"
    sr = "sr"
    denoise = "denoise"
    inpaint = "inpaint"
    colorize = "colorize"
    demosaic = "demosaic"


class Precision(StrEnum):
    auto = "auto"
    fp32 = "fp32"
    bf16 = "bf16"
    fp16 = "fp16"


class Boundary(StrEnum):
    circular = "circular"
    reflect = "reflect"
    unknown = "unknown"


@app.command()
def run(
    job: Annotated[str, typer.Argument(help="Job file (YAML), by path or URI.")],
    retry_failed: RetryFailed = False,
    fresh: Fresh = False,
    overwrite: Overwrite = False,
) -> None:
    """Run a job, or resume it where it stopped.

    Exits with 0 if all rows are restored, 3 if some failed, 2 if the job is wrong (nothing was
    started), 1 if it stopped on the way (the same command goes on).
    """
    with user_errors():
        from jobs.specfile import load_job
        from pipeline.run import run_job

        spec = load_job(job)
        summary = run_job(
            spec, ProgressLine(), retry_failed=retry_failed, fresh=fresh, overwrite=overwrite
        )
    finish(summary, spec.output)


@app.command()
def restore(
    source: Annotated[
        str, typer.Argument(help="Folder, glob, bucket prefix, list (.txt), or a manifest.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Folder or URI for the results.")],
    task: Annotated[Kind, typer.Option(help="What happened to the images.")],
    kernel: Annotated[
        str | None,
        typer.Option(
            help="deblur, sr: file of the blur kernel (.npy, .npz, .mat, image), "
            "or a kernel such as '{gaussian: {std: 3}}'."
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(help="Standard deviation of the noise, pixels on [0, 1]; or 'auto'."),
    ] = None,
    factor: Annotated[int | None, typer.Option(help="sr: how many times larger.")] = None,
    mask: Annotated[
        str | None, typer.Option(help="inpaint, deblur: mask file; light is known, dark is hidden.")
    ] = None,
    boundary: Annotated[
        Boundary | None,
        typer.Option(
            help="deblur, sr: what the blur met beyond the border; unknown: the scene went on.",
            show_default="unknown",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="'builtin', or a checkpoint's path or URI.")] = (
        "builtin"
    ),
    preset: Annotated[str | None, typer.Option(help="Named sampler settings.")] = None,
    nfe: Annotated[int | None, typer.Option(help="Network evaluations per image.")] = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.")] = 0,
    actors: Annotated[int | None, typer.Option(help="How many hold a model.")] = None,
    precision: Annotated[
        Precision, typer.Option(help="Of the network; auto: bf16 where the hardware has it.")
    ] = Precision.auto,
    batch_pixels: Annotated[
        str, typer.Option(help="Pixels per network call at most, a number or 'auto'.")
    ] = "auto",
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the network, per size of image and batch.")
    ] = False,
    images: Annotated[
        str | None, typer.Option(help="Where the pictures go.", show_default="OUTPUT/images")
    ] = None,
    format: Annotated[
        str | None, typer.Option(help="Of them: png, webp, jpeg, tiff.", show_default="png")
    ] = None,
    quality: Annotated[
        int | None, typer.Option(help="1 to 100: jpeg (95), webp (lossless).", show_default=False)
    ] = None,
    bits: Annotated[int | None, typer.Option(help="8 or 16 (png, tiff).", show_default="8")] = None,
) -> None:
    """Restore degraded images: results in OUTPUT/results, pictures in OUTPUT/images."""
    with user_errors():
        from jobs.restore import restore_job
        from pipeline.run import run_job

        spec = restore_job(
            source,
            output,
            task={
                "kind": task.value,
                "kernel": kernel,
                "noise_level": noise,
                "factor": factor,
                "mask": mask,
                "boundary": boundary and boundary.value,
            },
            model=model,
            sampler={"preset": preset, "nfe": nfe},
            seed=seed,
            actors=actors,
            precision=precision.value,
            batch_pixels=batch_pixels,
            compile=compile,
            images=images,
            picture={"format": format, "quality": quality, "bits": bits},
        )
        summary = run_job(spec, ProgressLine())
    finish(summary, spec.output)


@manifest_app.command("build")
def manifest_build(
    source: Annotated[str, typer.Argument(help="Folder, glob, bucket prefix or list (.txt).")],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Manifest to write (.parquet, .csv, .jsonl).")
    ],
) -> None:
    """Make a manifest of images: id, image, width, height, bytes."""
    with user_errors():
        from manifests.build import build, write_manifest

        table = build(source)
        write_manifest(table, output)
    typer.echo(f"{len(table)} images: {output}")


@manifest_app.command("check")
def manifest_check(
    manifest: Annotated[str, typer.Argument(help="Manifest, by path or URI.")],
    deep: Annotated[bool, typer.Option(help="Decode every picture, mask and kernel.")] = False,
) -> None:
    """Say what is wrong with a manifest, row by row. Exits with 3 if anything is."""
    with user_errors():
        from manifests.check import check
        from pipeline.pictures.decode import file_fault
        from pipeline.schema import RESERVED
        from pipeline.spec.kernels import text_fault

        count = 0
        for finding in check(
            manifest,
            reserved=RESERVED,
            kernel_fault=text_fault,
            file_fault=file_fault if deep else None,
        ):
            count += 1
            typer.echo(str(finding))
    typer.echo(f"{count} faults" if count else "no faults", err=True)
    if count:
        raise typer.Exit(3)


@app.command()
def metrics(
    output: Annotated[str, typer.Argument(help="A job's output folder or URI.")],
    by: Annotated[str | None, typer.Option(help="Column to group by (sampler.nfe works).")] = None,
    format: Annotated[Style, typer.Option(help="How to print them.")] = Style.table,
) -> None:
    """Aggregate the metrics of a job's results: counts, mean, standard deviation, quantiles."""
    with user_errors():
        from jobs.progress import unfinished
        from jobs.report import report
        from jobs.tables import render

        notes = [unfinished(output)]  # before it is read: what comes in between is no harm
        typer.echo(render(report(output, by), format))
    _say(notes)


@app.command()
def compare(
    a: Annotated[str, typer.Argument(help="A job's output folder or URI.")],
    b: Annotated[str, typer.Argument(help="Another's, over the same images.")],
    confidence: Annotated[
        float, typer.Option(min=0.5, max=0.9999, help="Of the interval of the mean difference.")
    ] = 0.95,
    format: Annotated[Style, typer.Option(help="How to print it.")] = Style.table,
) -> None:
    """Compare two runs image by image: differences B - A, paired by id."""
    with user_errors():
        from jobs.compare import compare as differences
        from jobs.progress import unfinished
        from jobs.tables import render

        notes = [unfinished(output) for output in dict.fromkeys((a, b))]
        records, counts = differences(a, b, confidence)
    typer.echo(render(records, format))
    typer.echo(
        "{both} ids in both (failed: {failed_a} in A, {failed_b} in B), {only_a} only in A, "
        "{only_b} only in B".format(**counts),
        err=True,
    )
    _say(notes)


@app.command()
def fid(
    outputs: Annotated[list[str], typer.Argument(help="Output folders or URIs of jobs, as one.")],
    against: Annotated[
        str | None,
        typer.Option(
            help="Mean and covariance of another set (.npz: mu, sigma).",
            show_default="the references",
        ),
    ] = None,
    format: Annotated[Style, typer.Option(help="How to print it.")] = Style.table,
) -> None:
    """Fréchet and kernel inception distance of restored images, from features in the results."""
    with user_errors():
        from jobs.fid import distances
        from jobs.progress import unfinished
        from jobs.tables import render

        missing = [unfinished(output) for output in outputs]
        records, notes = distances(outputs, against)
    typer.echo(render(records, format))
    _say([*notes, *missing])


@app.command()
def verify(
    output: Annotated[str, typer.Argument(help="A job's output folder or URI.")],
) -> None:
    """Check a job's results: every id once, every part whole. Exits with 3 if anything is wrong."""
    with user_errors():
        from jobs.verify import verify_output

        findings, text = verify_output(output)
    for finding in findings:
        typer.echo(finding)
    typer.echo(text, err=True)
    if findings:
        raise typer.Exit(3)


@app.command()
def sheet(
    outputs: Annotated[list[str], typer.Argument(help="Output folders or URIs of jobs.")],
    file: Annotated[
        str, typer.Option("--output", "-o", help="The sheet, by path or URI (.png, .jpg, .webp).")
    ],
    limit: Annotated[int, typer.Option(min=1, help="Rows of each output, the first ones.")] = 12,
    side: Annotated[int, typer.Option(min=64, max=2048, help="Of a cell in pixels.")] = 256,
) -> None:
    """Make a contact sheet: measured, restored, reference; of large pictures a part at 100 %."""
    with user_errors():
        from jobs.sheet import write_sheet

        for text in write_sheet(outputs, file, limit=limit, side=side):
            typer.echo(text, err=True)
    typer.echo(f"contact sheet: {file}")


@models_app.command("inspect")
def models_inspect(
    file: Annotated[str, typer.Argument(help="'builtin', or a checkpoint's path or URI.")],
    num_head_channels: HeadChannels = None,
    num_heads: Heads = None,
) -> None:
    """Say what a checkpoint is: the architecture read off its tensors, its size, its digest."""
    with user_errors():
        from jobs.models import describe_model

        typer.echo(describe_model(file, num_head_channels=num_head_channels, num_heads=num_heads))


@models_app.command("convert")
def models_convert(
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


@app.command()
def demo(
    output: Annotated[Path, local_output("Folder for everything the demo makes.")] = Path(
        "out/demo"
    ),
    nfe: Annotated[int, typer.Option(help="Network evaluations per image.")] = 16,
) -> None:
    """Degrade a few photographs, restore them with the embedded prior, show and score them."""
    with user_errors():
        from jobs.demo import run_demo

        run_demo(output, nfe, ProgressLine())


@app.command()
def train(
    manifest: Annotated[str, typer.Argument(help="Manifest of photographs.")],
    output: Annotated[Path, local_output("Folder for state, log and model; resumes there.")],
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps in all.")],
    batch: Annotated[int, typer.Option(min=1, help="Crops per step.")] = 32,
    crop: Annotated[int, typer.Option(min=8, help="Side of a crop in pixels.")] = 64,
    channels: Annotated[
        int | None,
        typer.Option(min=32, help="Width of the finest level, a multiple of 32 (usually 32)."),
    ] = None,
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
            channels=channels,
            initial=initial,
            validation=validation,
            lr=lr,
            seed=seed,
        )
    typer.echo(f"model: {path}")


def _say(notes: list[str | None]) -> None:
    for note in filter(None, notes):
        typer.echo(note, err=True)
