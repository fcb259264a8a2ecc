"""``diffpir demo``: three jobs on a few photographs, their metrics and a contact sheet."""

from __future__ import annotations

from pathlib import Path

import typer
from PIL import Image

from jobs.aggregate import metrics_of
from jobs.console import ProgressLine
from jobs.sheet import write_sheet
from jobs.specfile import make_job
from jobs.tables import render
from manifests.build import build, write_manifest
from pipeline.errors import PipelineError
from pipeline.run import run_job

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee")
SIDE = 256  # pixels
TASKS = {
    "deblur": {
        "kind": "deblur",
        "kernel": {"gaussian": {"size": 61, "std": 3.0}},
        "noise_level": 0.05,
    },
    "sr4": {"kind": "sr", "factor": 4, "noise_level": 0.05},
    "inpaint": {"kind": "inpaint", "mask": {"random": 0.5}},
}


def run_demo(output: Path, nfe: int, progress: ProgressLine) -> None:
    """Degrade, restore and score the photographs; everything goes below ``output``.

    Raises:
        PipelineError: scikit-image, where the photographs come from, is not installed.
    """
    manifest = output / "photographs.parquet"
    write_manifest(build(str(save_photographs(output / "photographs"))), str(manifest))
    outputs, tables = [], []
    for name, task in TASKS.items():
        spec = make_job(
            {
                "manifest": str(manifest),
                "output": str(output / f"{name}-{nfe}"),
                "mode": "benchmark",
                "task": task,
                "sampler": {"nfe": nfe},
            },
            "demo",
        )
        typer.echo(name, err=True)
        run_job(spec, progress)
        outputs.append(spec.output)
        tables += metrics_of(spec.output, "task")
    kept = ("task", "metric", "count", "mean", "min", "max")
    typer.echo(render([{k: r[k] for k in kept if k in r} for r in tables], "table"))
    sheet = output / "contact-sheet.png"
    write_sheet(outputs, str(sheet), limit=len(PHOTOGRAPHS), side=SIDE)
    typer.echo(f"contact sheet: {sheet.resolve()}")


def save_photographs(folder: Path) -> Path:
    """Central squares of scikit-image's photographs, reduced to 256 x 256, as PNG files."""
    try:
        from skimage import data
    except ImportError:
        raise PipelineError(
            "the demo needs scikit-image: pip install 'diffpir-on-ray[demo]'"
        ) from None
    folder.mkdir(parents=True, exist_ok=True)
    for name in PHOTOGRAPHS:
        picture = Image.fromarray(getattr(data, name)())
        side = min(picture.size)
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        square = picture.crop((left, top, left + side, top + side))
        square.resize((SIDE, SIDE), Image.Resampling.LANCZOS).save(folder / f"{name}.png")
    return folder
