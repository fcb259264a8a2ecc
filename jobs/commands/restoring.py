"""The commands that restore without a job file: restore and demo."""

from __future__ import annotations

from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from jobs.commands.options import (
    IMAGES,
    MACHINE,
    OUTPUT,
    SAMPLER,
    SOURCE,
    AllowCode,
    DryRun,
    Limit,
    Precision,
    Price,
    Sample,
    WatchIds,
    allowed_code,
    examples,
    first_rows,
    local_output,
    range_option,
)
from jobs.commands.running import no_price, run_with_progress, show_plan
from jobs.console import ProgressLine, finish, user_errors
from jobs.interrupts import interruptible

app = typer.Typer()


def known_kind(value: str) -> str:
    from pipeline.tasks import TASKS

    if value not in TASKS:
        raise typer.BadParameter(f"{value!r} is none of {', '.join(TASKS)}")
    return value


class RestoreCommand(TyperCommand):
    """Asks for the kinds of tasks only when it is used: their modules take a while to load."""

    def get_params(self, ctx: Any) -> list[Any]:
        from pipeline.tasks import TASKS

        params = super().get_params(ctx)
        for param in params:
            if param.name == "task":
                param.metavar = " | ".join(TASKS)
        return params


class Boundary(StrEnum):
    circular = "circular"
    reflect = "reflect"
    unknown = "unknown"


@app.command(
    cls=RestoreCommand,
    epilog=examples(
        "diffpir restore photos/ -o out/ --task deblur --kernel k.npy --noise 0.02",
        "diffpir restore small/ more/*.png -o out/ --task sr --factor 2 --noise auto",
        "diffpir restore scans/ -o out/ --task inpaint --mask values:0,255",
        "diffpir restore photos/ -o out/ --task jpeg --limit 8",
        "diffpir restore raw/ -o out/ --task demosaic --noise 0.01 --set pattern=bggr",
    ),
)
def restore(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders, pictures, globs, bucket prefixes or lists (.txt) of pictures, as many "
            "as you like. Or one manifest; Parquet or WebDataset files by one name; or the output "
            "of another job.",
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
    limit: Limit = None,
    sample: Sample = None,
    kernel: Annotated[
        str | None,
        typer.Option(
            help="deblur, sr: file of the blur kernel (.npy, .npz, .mat, or a picture), or a "
            "kernel such as '{gaussian: {std: 3}}'.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    noise: Annotated[
        str | None,
        typer.Option(
            help="Standard deviation of the noise, for pixel values on [0, 1], or 'auto' to "
            "estimate it from each image; gaussian=0.01,poisson=0.004 for noise of the variance "
            "0.01^2 + 0.004 x (or auto for both); map=FILE (.npy, .npz, .mat) for a level of "
            "each pixel.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    factor: Annotated[
        int | None,
        typer.Option(
            help="sr: how many times wider and higher the restored image is.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(
            help="inpaint, deblur: mask file (light is known, dark is hidden); or how the pixels "
            "of each picture tell which are hidden: 'alpha', 'values:0,255', 'colour:#ff00ff', or "
            "'{values: [0, 255], channels: each}'.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    grow: Annotated[
        int | None,
        typer.Option(
            help="Also hide so many pixels on all sides of those that the mask hides.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    boundary: Annotated[
        Boundary | None,
        typer.Option(
            help="deblur, sr: what lies beyond the border of the picture; unknown: the scene "
            "continues.",
            show_default="unknown",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    fields: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Any other field of the task, as in a job file: pattern=bggr, levels=16, "
            "high=0.8, then=jpeg. Repeat the option for several.",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            help="The prior: 'builtin', a known name (diffpir models list), org/name of the "
            "Hugging Face Hub, the path or URI of a file or folder, or a path with facts that the "
            "file does not tell, such as '{path: m.pt, num_heads: 4}'.",
            rich_help_panel=SAMPLER,
        ),
    ] = "builtin",
    allow_code: AllowCode = None,
    channels: Annotated[
        str | None,
        typer.Option(
            help="With a prior of one channel: restore each channel of a colour image, or its luma "
            "alone (the chroma stays as measured).",
            show_default="each",
            rich_help_panel=IMAGES,
        ),
    ] = None,
    value_range: Annotated[tuple[float, float] | None, range_option(IMAGES)] = None,
    preset: Annotated[
        str | None, typer.Option(help="Name of a set of sampler settings.", rich_help_panel=SAMPLER)
    ] = None,
    nfe: Annotated[
        int | None, typer.Option(help="Network evaluations per image.", rich_help_panel=SAMPLER)
    ] = None,
    method: Annotated[
        str | None,
        typer.Option(
            help="diffpir; diffpir-spectral, for priors with an error spectrum; or another method "
            "to compare with: hqs, ddnm, ddrm, red-diff, dds, daps, pigdm, dps.",
            show_default="diffpir-spectral if the prior and the task allow it",
            rich_help_panel=SAMPLER,
        ),
    ] = None,
    samples: Annotated[
        int,
        typer.Option(
            help="How many samples are drawn for each image. Their mean is the restored image.",
            rich_help_panel=SAMPLER,
        ),
    ] = 1,
    estimate: Annotated[
        str | None,
        typer.Option(
            help="With several samples: what becomes the restored image: their mean, the first "
            "sample, or the best one.",
            rich_help_panel=SAMPLER,
        ),
    ] = None,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="With several samples: also keep a picture of how far they differ.",
            rich_help_panel=SAMPLER,
        ),
    ] = False,
    save_steps: Annotated[
        int | None,
        typer.Option(
            help="Keep the images between at so many steps of the sampler, for diffpir report.",
            rich_help_panel=SAMPLER,
        ),
    ] = None,
    watch_ids: WatchIds = None,
    seed: Annotated[
        int, typer.Option(help="Every random choice depends on it.", rich_help_panel=SAMPLER)
    ] = 0,
    actors: Annotated[
        int | None,
        typer.Option(
            help="Number of processes that restore images, each with its own copy of the model.",
            show_default="as many as the machines have room for",
            rich_help_panel=MACHINE,
        ),
    ] = None,
    precision: Annotated[
        Precision,
        typer.Option(
            help="Number format of the network; auto: bf16 where the hardware supports it.",
            rich_help_panel=MACHINE,
        ),
    ] = Precision.auto,
    batch_pixels: Annotated[
        str,
        typer.Option(
            help="Most pixels that the network is given at a time, a number or 'auto'.",
            rich_help_panel=MACHINE,
        ),
    ] = "auto",
    compile: Annotated[
        bool,
        typer.Option(
            "--compile",
            help="Compile the network, once for each size of image and of batch.",
            rich_help_panel=MACHINE,
        ),
    ] = False,
    images: Annotated[
        str | None,
        typer.Option(
            help="Folder or URI for the restored pictures.",
            show_default="OUTPUT/images",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            help="Format of the restored pictures: png, webp, jpeg, tiff, npy.",
            show_default="png",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    quality: Annotated[
        int | None,
        typer.Option(
            help="Quality of jpeg and webp, 1 to 100.",
            show_default="jpeg: 95; webp: lossless",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    bits: Annotated[
        int | None,
        typer.Option(
            help="Bits of each value: 8; 16 (png, tiff, npy); or 32, floating point (tiff, npy).",
            show_default="8",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    dry_run: DryRun = False,
    price_per_hour: Price = None,
    image_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the column with the images.",
            show_default="image",
            rich_help_panel=SOURCE,
        ),
    ] = None,
    id_column: Annotated[
        str | None,
        typer.Option(
            help="Name of the column with the ids.",
            show_default="id",
            rich_help_panel=SOURCE,
        ),
    ] = None,
) -> None:
    """Restore degraded images: results in OUTPUT/results, pictures in OUTPUT/images.

    If the command is interrupted, the same command goes on. Exits as `diffpir run` does.
    """
    if not dry_run:
        no_price(price_per_hour)
    first = first_rows(limit, sample, seed)
    with interruptible(), user_errors(), ExitStack() as stack:
        from jobs.option_names import told_by_options
        from jobs.restore import grown_mask, noise_fields, other_fields, restore_job

        stack.enter_context(told_by_options(task))
        allowed = allowed_code(allow_code)
        scratch = stack.enter_context(TemporaryDirectory()) if dry_run else None
        spec = restore_job(
            sources,
            output,
            scratch=scratch,
            task={
                "kind": task,
                "kernel": kernel,
                **noise_fields(noise),
                "factor": factor,
                "mask": grown_mask(mask, grow),
                "boundary": boundary and boundary.value,
                **other_fields(fields),
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
        if dry_run:
            show_plan(spec, first, allowed, price_per_hour)
            return
        summary = run_with_progress(spec, first=first, allow_code=allowed)
    finish(summary, spec.output)


@app.command(epilog=examples("diffpir demo", "diffpir demo -o demo/ --nfe 20"))
def demo(
    output: Annotated[Path, local_output("Folder for everything the demo makes.")] = Path(
        "out/demo"
    ),
    nfe: Annotated[int, typer.Option(help="Network evaluations per image.")] = 8,
) -> None:
    """Degrade a few photographs, restore them with the embedded prior, show and score them."""
    with interruptible(), user_errors():
        from jobs.demo import run_demo

        with ProgressLine() as progress:
            run_demo(output, nfe, progress)
