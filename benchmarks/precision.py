"""What half precision costs in quality: bf16 against fp32, same prior, images, noise and seeds.

    python benchmarks/precision.py SET [SET ...] -o OUT [--limit 8] [--nfe 20] [--json FILE]

Each task of `tasks.py` is restored twice by the pipeline itself; printed are the mean difference
of the PSNR (bf16 - fp32, in dB) and that of the image which loses most. A second call resumes.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
from tasks import TASKS, benchmark_job, square_manifest
from timing import parser, write

from jobs.console import ProgressLine
from pipeline.run import run_job


def scores(manifest: Path, out: Path, name: str, precision: str, nfe: int) -> pa.Table:
    """PSNR by id of a task's job."""
    spec = benchmark_job(
        manifest,
        out / f"{name}-{precision}-{nfe}",
        name,
        sampler={"nfe": nfe},
        precision=precision,
    )
    run_job(spec, ProgressLine())
    return ds.dataset(f"{spec.output}/results", format="parquet").to_table(["id", "psnr"])


def main() -> None:
    options = parser(__doc__)
    options.add_argument("sets", nargs="+", metavar="SET", help="folders of clean pictures")
    options.add_argument("-o", "--output", type=Path, required=True)
    options.add_argument("--limit", type=int)
    options.add_argument("--side", type=int, default=256)
    options.add_argument("--nfe", type=int, default=20)
    options.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    options = options.parse_args()
    manifest = square_manifest(options.sets, options.output, side=options.side, limit=options.limit)
    found = {}
    print(f"{'task':16} images  mean difference  worst image (dB)")
    for name in options.tasks:
        exact, rounded = (
            scores(manifest, options.output, name, precision, options.nfe).to_pydict()
            for precision in ("fp32", "bf16")
        )
        by_id = dict(zip(exact["id"], exact["psnr"], strict=True))
        lost = [psnr - by_id[id] for id, psnr in zip(rounded["id"], rounded["psnr"], strict=True)]
        found[name] = {"images": len(lost), "mean": sum(lost) / len(lost), "worst": min(lost)}
        row = found[name]
        print(f"{name:16} {row['images']:6} {row['mean']:16.4f} {row['worst']:12.4f}", flush=True)
    write(options.json, {"nfe": options.nfe, "side": options.side, "tasks": found})


if __name__ == "__main__":
    main()
