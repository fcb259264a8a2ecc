"""``diffpir demo``: three jobs on a few photographs, their metrics and a contact sheet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import typer
from PIL import Image

from jobs.console import ProgressLine
from jobs.report import report
from jobs.sheet import Row, contact_sheet
from jobs.specfile import make_job
from jobs.tables import render
from manifests.build import build, write_manifest
from pipeline.errors import PipelineError
from pipeline.pictures.decode import decode_image
from pipeline.prepare import check
from pipeline.problem import Inputs, baseline_of, build_problem
from pipeline.run import run_job
from pipeline.spec import JobSpec

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
TITLES = {
    "deblur": "Gaussian blur, noise 0.05",
    "sr4": "reduced 4 times, noise 0.05",
    "inpaint": "half of the pixels hidden",
}


def run_demo(output: Path, nfe: int, progress: ProgressLine) -> None:
    """Degrade, restore and score the photographs; everything goes below ``output``.

    Raises:
        PipelineError: scikit-image, where the photographs come from, is not installed.
    """
    manifest = output / "photographs.parquet"
    write_manifest(build(str(save_photographs(output / "photographs"))), str(manifest))
    rows, tables = [], []
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
        typer.echo(f"{name}: {TITLES[name]}", err=True)
        run_job(spec, progress)
        rows += shown(spec, TITLES[name])
        tables += report(spec.output, "task")
    kept = ("task", "metric", "count", "mean", "min", "max")
    typer.echo(render([{k: r[k] for k in kept if k in r} for r in tables], "table"))
    sheet = output / "contact-sheet.png"
    contact_sheet(rows).save(sheet)
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


def shown(spec: JobSpec, title: str) -> list[Row]:
    """For the contact sheet: each image's measurement as a picture, its result and the truth."""
    job = check(spec)
    results = ds.dataset(f"{job.layout.results}", format="parquet").to_table()
    rows = []
    for row in job.table.to_pylist():
        image = decode_image(Path(row["image"]).read_bytes())
        problem = build_problem(row, Inputs(image), spec, job.assets)
        baseline = baseline_of(problem)
        result = _result_of(results, row["id"])
        filled = "; filled by local means" if problem.mask is not None else ""
        rows.append(
            Row(
                title=f"{row['id']}: {title}",
                pictures=(
                    _picture(problem.y if problem.mask is not None else baseline),
                    decode_image(result["restored"]["bytes"]),
                    image,
                ),
                captions=(
                    f"measured{filled}, {result['baseline_psnr']:.1f} dB",
                    f"restored, {result['psnr']:.1f} dB",
                    "original",
                ),
            )
        )
    return rows


def _result_of(results: pa.Table, image_id: str) -> dict:
    return results.filter(pc.equal(results["id"], image_id)).to_pylist()[0]


def _picture(x) -> np.ndarray:
    return (x[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
