"""``diffpir reproduce``: the paper's table, run anew, beside what was published."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa

from jobs.aggregate import metrics_of
from jobs.console import say_left_out
from jobs.fid import distances
from jobs.published import BOX, FFHQ_TEST, PUBLISHED, Dataset, Published
from jobs.specfile import make_job
from jobs.tables import render
from manifests.build import build, write_manifest
from manifests.digest import content_digest
from manifests.read import read_manifest
from pipeline.errors import PipelineError
from pipeline.flow.progress import Progress
from pipeline.run import run_job

SCORES = {"psnr": "psnr", "ssim": "ssim", "lpips": "lpips_vgg"}  # heading -> metric
MOST = 100  # pictures, as in the paper's tables


def reproduce(
    images: str,
    output: Path,
    *,
    model: str,
    dataset: Dataset,
    nfe: int,
    limit: int | None = None,
    lpips: str | None = None,
    inception: str | None = None,
    settings: dict[str, Any] | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    on_note: Callable[[str], None] = lambda _: None,
) -> list[dict]:
    """A record for each line of the table; jobs that are done are not run again.

    Args:
        images: clean pictures, as ``diffpir manifest build`` takes them.
        output: folder for the jobs, and for the table (``table.md``).
        model: ``builtin``, or the checkpoint's path or URI.
        dataset: whose table.
        nfe: evaluations, 100 or 20.
        limit: pictures, the first ones; None for 100.
        lpips, inception: files of networks, without which there is no LPIPS and no FID.
        settings: others, of every job.
        on_progress, on_note: as of :func:`pipeline.run.run_job`.

    Raises:
        PipelineError, ManifestError: no such table, or a job that is wrong.
        JobStopped: a job that cannot go on.
    """
    lines = PUBLISHED.get((dataset, nfe))
    if lines is None:
        known = ", ".join(f"{name} with {count}" for name, count in PUBLISHED)
        raise PipelineError(f"nothing was published of {dataset} with {nfe} evaluations: {known}")
    pictures = _pictures(images, output, limit, on_note)
    perceptual = {"lpips_vgg": lpips, "inception": inception}
    perceptual = {name: file for name, file in perceptual.items() if file}
    records = []
    for line in lines:
        on_note(f"{line.name}, noise {line.noise:g}")
        spec = make_job(
            {
                "manifest": str(output / "pictures.parquet"),
                "output": str(output / f"{dataset}-{nfe}" / line.name),
                "mode": "benchmark",
                "task": {**(line.task or _box(pictures)), "noise_level": line.noise},
                "model": model,
                "sampler": {"preset": line.preset},
                "perceptual": perceptual,
                **(settings or {}),
            },
            line.name,
        )
        run_job(spec, on_progress, on_note=on_note)
        records.append(_record(line, spec.output, fid=bool(inception)))
        (output / "table.md").write_text(render(records, "markdown") + "\n")
    return records


def _pictures(
    images: str, output: Path, limit: int | None, on_note: Callable[[str], None]
) -> pa.Table:
    """The manifest of the pictures, which stays that of the output."""
    table = build(images, say_left_out)
    names = [Path(name).stem for name in table["id"].to_pylist()]
    chosen = [name in FFHQ_TEST for name in names]
    if sum(chosen) == len(FFHQ_TEST):  # all of the authors' own are there
        table = table.filter(pa.array(chosen))
    table = table.slice(0, MOST if limit is None else limit)
    if not len(table):
        raise PipelineError(f"{images}: no pictures")
    file = output / "pictures.parquet"
    if file.exists() and content_digest([read_manifest(str(file))]) != content_digest([table]):
        raise PipelineError(f"{file} names other pictures than {images} has: choose another output")
    write_manifest(table, str(file))
    return table


def _box(pictures: pa.Table) -> dict[str, Any]:
    """The paper's box, or in pictures that are too small for it, of half their side."""
    known = [name for name in ("width", "height") if name in pictures.column_names]
    sides = [side for name in known for side in pictures[name].to_pylist() if side]
    return {"kind": "inpaint", "mask": {"box": min([BOX, *(side // 2 for side in sides)])}}


def _record(line: Published, output: str, *, fid: bool) -> dict[str, Any]:
    found = {r["metric"]: r for r in metrics_of(output, None) if "metric" in r}
    counts = next(iter(found.values()), None)
    record: dict[str, Any] = {
        "line": line.name,
        "noise": line.noise,
        "pictures": counts["rows"] - counts["failed"] if counts else 0,
    }
    means = {name: found[metric] for name, metric in SCORES.items() if metric in found}
    values = {name: mean["mean"] for name, mean in means.items()}
    if fid and counts:
        (distance, *_), _ = distances([output])
        values["fid"] = distance["value"]
    for name in (*SCORES, "fid"):
        published, value = getattr(line, name), values.get(name)
        record[name] = value
        record[f"{name} published"] = published
        record[f"{name} difference"] = value - published if None not in (value, published) else None
    record["psnr s.e."] = means["psnr"]["sem"] if "psnr" in means else None
    record["remark"] = line.remark
    return {name: v for name, v in record.items() if v is not None or name in ("psnr", "remark")}
