"""The commands that restore: run, restore, demo."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from jobs.commands.options import (
    AllowCode,
    Fresh,
    Overwrite,
    Precision,
    RetryFailed,
    allowed_code,
    local_output,
    range_option,
)
from jobs.console import ProgressLine, finish, say, show_outlook, user_errors
from jobs.interrupts import interruptible

app = typer.Typer()


TASK_OPTIONS = {"kernel", "noise_level", "noise", "factor", "mask", "boundary"}


def kinds() -> list[str]:
    """The tasks that need no more than this command's options can say."""
    from pipeline.tasks import TASKS

    return [
        kind
        for kind, task in TASKS.items()
        if {name for name, field in task.model_fields.items() if field.is_required()}
        <= {"kind", *TASK_OPTIONS}
    ]


def known_kind(value: str) -> str:
    if value not in kinds():
        raise typer.BadParameter(f"{value!r} is none of {', '.join(kinds())}")
    return value


class RestoreCommand(TyperCommand):
    """Asks for the kinds of tasks only when it is used: their modules take a while to load."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for param in params:
            if param.name == "task":
                param.metavar = " | ".join(kinds())
        return params


# Panels of options in the help.
IMAGES, SAMPLER = "What was done to the images", "Prior and sampler"
MACHINE, OUTPUT = "Machine", "Output"
SOURCE = "Where SOURCE is a manifest or Parquet files"


WatchIds = Annotated[
    list[str] | None,
    typer.Option(
        "--watch-ids",
        metavar="ID",
        help="Whose steps are saved (repeatable).",
        show_default="the first four images",
        rich_help_panel=SAMPLER,
    ),
]


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
    allow_code: AllowCode = None,
    watch_ids: WatchIds = None,
) -> None:
    """Run a job, or resume it where it stopped.

    Exits with 0 if all rows are restored, 3 if some failed, 2 if the job is wrong (nothing was
    started), 1 if it stopped on the way, 130 or 143 if SIGINT or SIGTERM interrupted it (the same
    command goes on).

    Examples:

    diffpir run job.yaml

    diffpir run job.yaml --retry-failed

    diffpir run job.yaml --fresh --overwrite
    """
    with interruptible(), user_errors():
        from jobs.fetching import fetch_of
        from jobs.specfile import load_job
        from pipeline.run import run_job

        spec = load_job(job, watch_ids)
        fetch_of(spec.model)
        summary = run_job(
            spec,
            ProgressLine(),
            retry_failed=retry_failed,
            fresh=fresh,
            overwrite=overwrite,
            allow_code=allowed_code(allow_code),
            on_note=say,
        )
    finish(summary, spec.output)


@app.command()
def plan(
    job: Annotated[str, typer.Argument(help="Job file (YAML), by path or URI.")],
    allow_code: AllowCode = None,
) -> None:
    """Check a job as `run` does, and say what that would do; nothing is restored.

    Exits with 2 if the job is wrong.

    Example: diffpir plan job.yaml
    """
    with interruptible(), user_errors():
        from jobs.fetching import fetch_of
        from jobs.specfile import load_job
        from pipeline.outlook import outlook

        spec = load_job(job)
        fetch_of(spec.model)
        found = outlook(spec, allowed_code(allow_code))
    for note in found.notes:
        say(note)
    show_outlook(found)


@app.command(cls=RestoreCommand)
def restore(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder, glob, bucket prefix or list (.txt) of pictures; a manifest; Parquet or "
            "WebDataset files; or the output of another job."
        ),
    ],
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", help="Folder or URI for the results.", rich_help_panel=OUTPUT
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            parser=known_kind, help="What happened to the images.", rich_help_panel=IMAGES
        ),
    ],
    kernel: Annotated[
        str | None,
        typer.Option(
            help="deblur, sr: file of the blur kernel (.npy, .npz, .mat, image), "
            "or a kernel such as '{gaussian: {std: 3}}'.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Standard deviation of the noise, pixels on [0, 1], or 'auto'; "
            "gaussian=0.01,poisson=0.004 for the variance 0.01^2 + 0.004 x (or auto for both); "
            "map=FILE (.npy, .npz, .mat).",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    factor: Annotated[
        int | None, typer.Option(help="sr: how many times larger.", rich_help_panel=IMAGES)
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="inpaint, deblur: mask file (light is known, dark is hidden); or what tells the "
            "hidden pixels of each picture: 'alpha', 'values:0,255', 'colour:#ff00ff', or "
            "'{values: [0, 255], channels: each}'.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    grow: Annotated[
        int | None,
        typer.Option(
            help="Of what the mask hides: by so many pixels to all sides.", rich_help_panel=IMAGES
        ),
    ] = None,
    boundary: Annotated[
        Boundary | None,
        typer.Option(
            help="deblur, sr: what the blur met beyond the border; unknown: the scene went on.",
            show_default="unknown",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="As a job has it: 'builtin', a known name (diffpir models list), org/name of the "
            "Hugging Face Hub, the path or URI of a file or folder, or one with what is to be said "
            "of it, such as '{path: m.pt, num_heads: 4}'.",
            rich_help_panel=SAMPLER,
        ),
    ] = "builtin",
    allow_code: AllowCode = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="Of colours, with a prior of one channel: each, or luma (the chroma stays).",
            show_default="each",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    value_range: Annotated[tuple[float, float] | None, range_option(IMAGES)] = None,
    preset: Annotated[
        str | None, typer.Option(help="Named sampler settings.", rich_help_panel=SAMPLER)
    ] = None,
    nfe: Annotated[
        int | None, typer.Option(help="Network evaluations per image.", rich_help_panel=SAMPLER)
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="diffpir, diffpir-spectral (priors with an error spectrum); or to compare with: "
            "hqs, ddnm, ddrm, red-diff, dds, daps, pigdm, dps.",
            show_default="the prior's best",
            rich_help_panel=SAMPLER,
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            help="Of the posterior of each image; their mean is restored.", rich_help_panel=SAMPLER
        ),
    ] = 1,
    estimate: Annotated[
        str | None,
        typer.Option(help="Of several samples: mean, sample, best.", rich_help_panel=SAMPLER),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Of several samples: a picture of how far they differ.",
            rich_help_panel=SAMPLER,
        ),
    ] = False,
    save_steps: Annotated[
        int | None,
        typer.Option(
            help="Keep what the sampler saw at so many steps, for diffpir report.",
            rich_help_panel=SAMPLER,
        ),
    ] = None,
    watch_ids: WatchIds = None,
    seed: Annotated[int, typer.Option(help="Of every random choice.", rich_help_panel=SAMPLER)] = 0,
    actors: Annotated[
        int | None, typer.Option(help="How many hold a model.", rich_help_panel=MACHINE)
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Of the network; auto: bf16 where the hardware has it.", rich_help_panel=MACHINE
        ),
    ] = Precision.auto,
    batch_pixels: Annotated[
        str,
        typer.Option(
            help="Pixels per network call at most, a number or 'auto'.", rich_help_panel=MACHINE
        ),
    ] = "auto",
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the network, per size of image and batch.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    images: Annotated[
        str | None,
        typer.Option(
            help="Where the pictures go.", show_default="OUTPUT/images", rich_help_panel=OUTPUT
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="Of them: png, webp, jpeg, tiff, npy.", show_default="png", rich_help_panel=OUTPUT
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            help="1 to 100: jpeg (95), webp (lossless).", show_default=False, rich_help_panel=OUTPUT
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="8, 16 (png, tiff, npy), or 32, floating point (tiff, npy).",
            show_default="8",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    image_column: Annotated[
        str | None,
        typer.Option(
            help="What the column image is called there.",
            show_default="image",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="What the column id is called there.", show_default="id", rich_help_panel=SOURCE
        ),
    ] = None,
) -> None:
    """Restore degraded images: results in OUTPUT/results, pictures in OUTPUT/images.

    Examples:

    diffpir restore photos/ -o out/ --task deblur --kernel k.npy --noise 0.02

    diffpir restore small/ -o out/ --task sr --factor 2 --noise auto

    diffpir restore scans/ -o out/ --task inpaint --mask values:0,255
    """
    with interruptible(), user_errors():
        from jobs.fetching import fetch_of
        from jobs.option_names import told_by_options
        from jobs.restore import grown_mask, noise_fields, restore_job
        from pipeline.run import run_job

        with told_by_options(task):
            spec = restore_job(
                source,
                output,
                task={
                    "kind": task,
                    "kernel": kernel,
                    **noise_fields(noise),
                    "factor": factor,
                    "mask": grown_mask(mask, grow),
                    "boundary": boundary and boundary.value,
                },
                model=model,
                channels=channels,
                range=value_range,
                sampler={
                    "preset": preset,
                    "method": method,
                    "nfe": nfe,
                    "save_steps": save_steps,
                    "watch_ids": watch_ids,
                },
                samples=samples,
                estimate=estimate,
                uncertainty=uncertainty,
                seed=seed,
                actors=actors,
                precision=precision.value,
                batch_pixels=batch_pixels,
                compile=compile,
                images=images,
                picture={"format": format, "quality": quality, "bits": bits},
                columns={"image": image_column, "id": id_column},
            )
            fetch_of(spec.model)
            summary = run_job(
                spec, ProgressLine(), on_note=say, allow_code=allowed_code(allow_code)
            )
    finish(summary, spec.output)


@app.command()
def demo(
    output: Annotated[Path, local_output("Folder for everything the demo makes.")] = Path(
        "out/demo"
    ),
    nfe: Annotated[int, typer.Option(help="Network evaluations per image.")] = 8,
) -> None:
    """Degrade a few photographs, restore them with the embedded prior, show and score them."""
    with interruptible(), user_errors():
        from jobs.demo import run_demo

        run_demo(output, nfe, ProgressLine())
