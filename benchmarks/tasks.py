"""The tasks of the quality benchmarks, and the pictures and jobs that they are run with."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from PIL import Image

from manifests.build import build, write_manifest
from pipeline.spec.job import JobSpec
from pipeline.tasks import benchmarks

TASKS = benchmarks()


def square_manifest(
    folders: list[str],
    out: Path,
    *,
    side: int = 256,
    limit: int | None = None,
    noise_levels: list[float] | None = None,
) -> Path:
    """Central squares of the folders' pictures (evenly chosen where limited), and their manifest.

    Its column ``set`` names each picture's folder. With ``noise_levels`` there is a row for each
    of them, which wins over the task's. Pictures smaller than ``side`` keep their own size.
    """
    rows = []
    for folder in folders:
        name = Path(folder).name
        found = build(folder).to_pylist()
        step = max(1, len(found) // limit) if limit else 1
        for row in found[::step][:limit]:
            file = out / "squares" / name / f"{Path(row['id']).name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                picture = Image.open(row["image"]).convert("RGB")
                width, height = (min(side, s) for s in picture.size)
                left, top = (picture.width - width) // 2, (picture.height - height) // 2
                picture.crop((left, top, left + width, top + height)).save(file)
            row = {"id": f"{name}/{file.stem}", "image": str(file.resolve()), "set": name}
            if noise_levels is None:
                rows.append(row)
            else:
                rows += [
                    {**row, "id": f"{row['id']}@{level:g}", "noise_level": level}
                    for level in noise_levels
                ]
    tag = "" if noise_levels is None else "-" + "-".join(f"{level:g}" for level in noise_levels)
    manifest = out / f"manifest{tag}.parquet"
    write_manifest(pa.Table.from_pylist(rows), str(manifest))
    return manifest


def benchmark_job(manifest: Path, output: Path, task: str, **settings) -> JobSpec:
    """A job that degrades the manifest's pictures as the task of that name, and restores them."""
    return JobSpec.model_validate(
        {
            "manifest": str(manifest),
            "output": str(output),
            "mode": "benchmark",
            "task": TASKS[task],
            **settings,
        }
    )
