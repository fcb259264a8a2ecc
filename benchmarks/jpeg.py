"""What the task ``jpeg`` gains over libjpeg's own decoding, by quality.

    python benchmarks/jpeg.py SET [SET ...] -o OUT [--limit 8] [--side 256] [--qualities 10 20]

Central squares of each set's pictures are compressed (4:2:0), restored with the embedded prior and
its default settings, and scored by jobs; a job that is done is not run again. With ``--beside``
the same files go through what people use today where it is installed: OpenCV's non-local means
(``opencv-python-headless``) and BM3D (``bm3d``), each with the strength of a few that is best on
all of these pictures. HaarPSI (``piq``) is a perceptual score, of which 1 is the highest.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.dataset as ds
from PIL import Image
from tasks import square_manifest

from diffpir import metrics
from pipeline.pictures.jpeg import compressed
from pipeline.run import run_job
from pipeline.spec.job import JobSpec
from pipeline.tasks.row import to_tensor

STRENGTHS = (1, 2, 3, 5, 8, 12)  # standard deviations of the noise that is looked for, of 255
COLUMNS = ("baseline_psnr", "residual", "seconds")  # means of which are printed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", help="folders of pictures")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=8, help="pictures of each set")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--qualities", type=int, nargs="+", default=[10, 20, 30, 40])
    parser.add_argument("--beside", action="store_true", help="other methods too")
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
        if given.beside:
            for name, text in beside(rows, quality):
                print(f"{'':7} {name:14} {text}", flush=True)


def beside(rows: list[dict[str, Any]], quality: int) -> Iterator[tuple[str, str]]:
    """Mean gain in PSNR over the decoded pictures, and HaarPSI, of each method."""
    pairs = []
    for row in rows:
        clean = np.asarray(Image.open(row["image"]))
        decoded = np.asarray(Image.open(io.BytesIO(compressed(clean, quality=quality))))
        restored = np.asarray(Image.open(io.BytesIO(row["restored"]["bytes"])))
        pairs.append((clean, decoded, restored))
    yield "decoded", scores([(clean, decoded, decoded) for clean, decoded, _ in pairs])
    yield "jpeg", scores(pairs)
    for name, method in (("non-local means", non_local_means), ("BM3D", bm3d)):
        try:
            tried = [
                [(clean, decoded, method(decoded, strength)) for clean, decoded, _ in pairs]
                for strength in STRENGTHS
            ]
        except ImportError as e:
            yield name, f"not installed ({e})"
            continue
        gains = [np.mean([gain(*one) for one in found]) for found in tried]
        best = int(np.argmax(gains))
        yield name, f"{scores(tried[best])} (strength {STRENGTHS[best]})"


def gain(clean: np.ndarray, decoded: np.ndarray, found: np.ndarray) -> float:
    true = to_tensor(clean)
    return float(metrics.psnr(to_tensor(found), true) - metrics.psnr(to_tensor(decoded), true))


def scores(found: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> str:
    from piq import haarpsi

    gains = [gain(*one) for one in found]
    seen = [haarpsi(to_tensor(x), to_tensor(clean)).item() for clean, _, x in found]
    return f"gain {np.mean(gains):5.2f} dB, least {min(gains):5.2f}, HaarPSI {np.mean(seen):.4f}"


def non_local_means(decoded: np.ndarray, strength: float) -> np.ndarray:
    import cv2

    return np.asarray(
        cv2.fastNlMeansDenoisingColored(
            np.ascontiguousarray(decoded), None, strength, strength, 7, 21
        )
    )


def bm3d(decoded: np.ndarray, strength: float) -> np.ndarray:
    from bm3d import bm3d_rgb

    found = bm3d_rgb(decoded / 255, strength / 255)
    return (255 * found.clip(0, 1)).round().astype(np.uint8)


def decoded_ssim(image: str, quality: int) -> float:
    """Of the picture as libjpeg decodes it."""
    with Image.open(image) as opened:
        pixels = np.asarray(opened)
    decoded = np.asarray(Image.open(io.BytesIO(compressed(pixels, quality=quality))))
    return metrics.ssim(to_tensor(decoded), to_tensor(pixels)).item()


if __name__ == "__main__":
    main()
