"""What the task ``jpeg`` gains over libjpeg's own decoding, by quality.

    python benchmarks/jpeg.py SET [SET ...] -o OUT [--limit 8] [--side 256] [--qualities 10 20]

Central squares of each set's pictures are compressed (4:2:0), restored with the embedded prior and
its default settings, and scored by jobs; a job that is done is not run again.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
from PIL import Image
from tasks import square_manifest

from diffpir import metrics
from pipeline.pictures.jpeg import compressed
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from pipeline.tasks.row import to_tensor

COLUMNS = ("baseline_psnr", "residual", "seconds")  # means of which are printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", help="folders of pictures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=8, help="pictures of each set")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--qualities", type=int, nargs="+", default=[10, 20, 30, 40])
    given = parser.parse_args()
    manifest = square_manifest(given.sets, given.output, side=given.side, limit=given.limit)
    print("quality  decoded dB   gain dB  (s.e.)   least   SSIM gain   least   honoured  seconds")
    for quality in given.qualities:
        spec = JobSpec.model_validate(
            {
                "manifest": str(manifest),
                "output": str(given.output / f"quality-{quality}"),
                "mode": "benchmark",
                "task": {"kind": "jpeg", "quality": quality},
            }
        )
        run_job(spec)
        table = ds.dataset(f"{spec.output}/results", format="parquet").to_table()
        rows = [row for row in table.to_pylist() if row["status"] == "ok"]
        gains = np.array([row["psnr"] - row["baseline_psnr"] for row in rows])
        ssim = np.array([row["ssim"] - decoded_ssim(row["image"], quality) for row in rows])
        mean = {name: np.mean([row[name] for row in rows]) for name in COLUMNS}
        print(
            f"{quality:7} {mean['baseline_psnr']:11.2f} {gains.mean():9.2f}  "
            f"({gains.std(ddof=1) / len(gains) ** 0.5:.2f}) {gains.min():7.2f} "
            f"{ssim.mean():11.4f} {ssim.min():7.4f} {mean['residual']:10.4f} "
            f"{mean['seconds']:8.1f}",
            flush=True,
        )


def decoded_ssim(image: str, quality: int) -> float:
    """Of the picture as libjpeg decodes it."""
    with Image.open(image) as opened:
        pixels = np.asarray(opened)
    decoded = np.asarray(Image.open(io.BytesIO(compressed(pixels, quality=quality))))
    return metrics.ssim(to_tensor(decoded), to_tensor(pixels)).item()


if __name__ == "__main__":
    main()
