"""What the tasks declip, dequantize and ``then: jpeg`` gain over leaving pictures as they are.

    python benchmarks/bounds.py SET [SET ...] -o OUT [--limit 8] [--side 256]

Central squares of each set's pictures are degraded, restored with the embedded prior and its
default settings, and scored by jobs; a job that is done is not run again. Of clipped pictures the
PSNR is that of the values that were clipped; of a blurred picture in a JPEG file there are three
jobs: one that knows of both, one that takes the file's pixels for those of the blur, and one that
knows of the compression alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import torch
from PIL import Image
from tasks import square_manifest

from diffpir.kernels import gaussian_kernel
from diffpir.operators import Downsample
from diffpir.randomness import image_seed
from diffpir.synthesis import synthesise
from manifests.build import write_manifest
from manifests.read import read_manifest
from pipeline.pictures.decode import decode_image
from pipeline.pictures.jpeg import compressed
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from pipeline.tasks.row import to_tensor

TASKS = {
    "declip, 10 % of values": {"kind": "declip", "clipped": 0.1},
    "dequantize, 4 levels": {"kind": "dequantize", "levels": 4},
    "dequantize, 8 levels": {"kind": "dequantize", "levels": 8},
    "dequantize, 16 levels": {"kind": "dequantize", "levels": 16},
}
QUALITY, STD, NOISE = 40, 1.6, 0.01  # of blurred pictures that were compressed since
BLUR = {
    "kind": "deblur",
    "kernel": {"gaussian": {"std": STD}},
    "boundary": "circular",
    "noise_level": NOISE,
}
COMPRESSED = {
    "blur and JPEG, knowing of both": {**BLUR, "then": "jpeg"},
    "the blur alone": BLUR,
    "the blur, noise 0.02": {**BLUR, "noise_level": 0.02},
    "the compression alone": {"kind": "jpeg"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", help="folders of pictures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=8, help="pictures of each set")
    parser.add_argument("--side", type=int, default=256)
    given = parser.parse_args()
    manifest = square_manifest(given.sets, given.output, side=given.side, limit=given.limit)
    print(f"{'':30} before dB   gain dB  (s.e.)   least  honoured")
    files = compressed_manifest(manifest, given.output)
    for name, task in (TASKS | COMPRESSED).items():
        mode = {"mode": "benchmark", "manifest": str(manifest)}
        if name in COMPRESSED:
            mode = {"mode": "restore", "manifest": str(files)}
        rows = restored(given.output / name.replace(" ", "-"), task, **mode)
        before = [row["baseline_psnr"] for row in rows]
        after = [row["psnr"] for row in rows]
        if task["kind"] == "declip":
            pairs = [clipped_psnr(row, task["clipped"]) for row in rows]
            before, after = zip(*pairs, strict=True)
        gains = np.subtract(after, before)
        honoured = np.mean([row["residual"] for row in rows])
        print(
            f"{name:30} {np.mean(before):9.2f} {gains.mean():9.2f}  "
            f"({gains.std(ddof=1) / len(gains) ** 0.5:.2f}) {gains.min():7.2f} {honoured:9.4f}",
            flush=True,
        )


def compressed_manifest(manifest: Path, output: Path) -> Path:
    """Of the manifest's pictures, blurred, with noise, and stored as JPEG files."""
    folder, rows = output / "compressed", []
    folder.mkdir(exist_ok=True)
    blur = Downsample(torch.from_numpy(gaussian_kernel(25, STD)).float())
    for row in read_manifest(str(manifest)).to_pylist():
        clean = to_tensor(np.asarray(Image.open(row["image"]).convert("RGB")))
        y = synthesise(clean, blur, NOISE, image_seed(0, row["id"], "noise"))
        pixels = (255 * y[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
        file = folder / f"{row['id'].replace('/', '-')}.jpg"
        file.write_bytes(compressed(np.ascontiguousarray(pixels), quality=QUALITY))
        rows.append({"id": row["id"], "image": str(file.resolve()), "reference": row["image"]})
    write_manifest(pa.Table.from_pylist(rows), str(output / "compressed.parquet"))
    return output / "compressed.parquet"


def restored(output: Path, task: dict[str, Any], **job: str) -> list[dict[str, Any]]:
    """The rows of a job that is run unless it is done."""
    spec = JobSpec.model_validate(
        {"output": str(output), "task": task, "picture": {"bits": 16}, **job}
    )
    run_job(spec)
    table = ds.dataset(output / "results", format="parquet").to_table()
    return [row for row in table.to_pylist() if row["status"] == "ok"]


def clipped_psnr(row: dict[str, Any], share: float) -> tuple[float, float]:
    """Of the values that were clipped: as they were left, and restored."""
    clean = np.asarray(Image.open(row["image"]).convert("RGB")) / 255
    found = decode_image(row["restored"]["bytes"]) / 65535
    low, high = np.quantile(clean, [share / 2, 1 - share / 2])
    clipped = (clean <= low) | (clean >= high)
    left = clean.clip(low, high)
    return tuple(-10 * np.log10(np.square(x - clean)[clipped].mean()) for x in (left, found))


if __name__ == "__main__":
    main()
