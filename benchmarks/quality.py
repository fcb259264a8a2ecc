"""What the prior gains on unseen photographs, for each task of the paper and two more.

    python benchmarks/quality.py FOLDER -o OUT [--nfe N] [--limit N] [--tasks sr4 denoise]

Takes the central 256 x 256 pixels of each image in FOLDER, runs the jobs through the pipeline
itself and prints, for each task, mean PSNR and SSIM, the baseline's PSNR (blurred, enlarged
bicubically, filled by local means, grey) and the gain over it with its standard error. A second
call with the same output resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image

from jobs.console import ProgressLine
from jobs.report import report
from manifests.build import build, write_manifest
from pipeline.run import run_job
from pipeline.spec import JobSpec

TASKS = {
    "deblur-gaussian": {
        "kind": "deblur",
        "kernel": {"gaussian": {"size": 61, "std": 3.0}},
        "noise_level": 0.05,
    },
    "deblur-motion": {
        "kind": "deblur",
        "kernel": {"motion": {"size": 61, "intensity": 0.5}},
        "noise_level": 0.05,
    },
    "sr4": {"kind": "sr", "factor": 4, "noise_level": 0.05},
    "inpaint-random": {"kind": "inpaint", "mask": {"random": 0.5}},
    "inpaint-box": {"kind": "inpaint", "mask": {"box": 64}},
    "denoise": {"kind": "denoise", "noise_level": 0.1},
    "demosaic": {"kind": "demosaic", "noise_level": 0.01},
    "colorize": {"kind": "colorize"},
}


def squares(folder: Path, out: Path, side: int, limit: int | None) -> Path:
    """Central squares of the folder's images (evenly chosen where limited), and their manifest."""
    out.mkdir(parents=True, exist_ok=True)
    rows = build(str(folder)).to_pylist()
    step = max(1, len(rows) // limit) if limit else 1
    for row in rows[::step][:limit]:
        picture = Image.open(row["image"]).convert("RGB")
        left, top = (picture.width - side) // 2, (picture.height - side) // 2
        picture.crop((left, top, left + side, top + side)).save(out / f"{Path(row['id']).name}.png")
    manifest = out.parent / "manifest.parquet"
    write_manifest(build(str(out)), str(manifest))
    return manifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--nfe", type=int, help="default: the task's usual")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--lam", type=float)
    parser.add_argument("--zeta", type=float)
    options = parser.parse_args()
    manifest = squares(options.folder, options.output / "squares", options.side, options.limit)
    print(f"{'task':16} images   PSNR  baseline   gain (+- s.e.)   SSIM  residual")
    for name in options.tasks:
        settings = {"nfe": options.nfe, "lam": options.lam, "zeta": options.zeta}
        tag = "".join(f"-{k}{v:g}" for k, v in settings.items() if v is not None)
        spec = JobSpec.model_validate(
            {
                "manifest": str(manifest),
                "output": str(options.output / f"{name}{tag}"),
                "mode": "benchmark",
                "task": TASKS[name],
                "model": options.model,
                "sampler": settings,
            }
        )
        run_job(spec, ProgressLine())
        stats = {r["metric"]: r for r in report(spec.output, None)}
        gain, count = stats["gain"], stats["gain"]["count"]
        print(
            f"{name:16} {count:6}  {stats['psnr']['mean']:5.2f}     "
            f"{stats['baseline_psnr']['mean']:5.2f}  {gain['mean']:5.2f} "
            f"(+- {(gain['std'] or 0) / count**0.5:.2f})  {stats['ssim']['mean']:.3f}  "
            f"{stats['residual']['mean']:8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
