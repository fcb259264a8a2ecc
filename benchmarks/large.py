"""Time and memory of one large photograph through the flow.

    python benchmarks/large.py [--width 6000] [--height 4000] [--nfe 2] [--boundary unknown]

A photograph of scikit-image's, enlarged and blurred, is deblurred by a job of its own. Printed:
seconds, and what the restorer's process had in memory at most.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from skimage import data

from manifests.build import build, write_manifest
from pipeline.run import run_job
from pipeline.spec.job import JobSpec


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=6000)
    parser.add_argument("--height", type=int, default=4000)
    parser.add_argument("--nfe", type=int, default=2)
    parser.add_argument("--boundary", default="unknown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        size = options.width, options.height
        picture = Image.fromarray(data.astronaut()).resize(size, Image.Resampling.BICUBIC)
        blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(3)), np.float32)
        blurred += np.random.default_rng(0).standard_normal(blurred.shape, np.float32) * 0.02 * 255
        pixels = blurred.clip(0, 255).round().astype(np.uint8)
        Image.fromarray(pixels).save(folder / "in" / "large.png")
        del picture, blurred, pixels
        write_manifest(build(str(folder / "in")), str(folder / "m.parquet"))
        spec = JobSpec.model_validate(
            {
                "manifest": str(folder / "m.parquet"),
                "output": str(folder / "out"),
                "task": {
                    "kind": "deblur",
                    "kernel": {"gaussian": {"std": 3.0}},
                    "noise_level": 0.02,
                    "boundary": options.boundary,
                },
                "sampler": {"nfe": options.nfe},
            }
        )
        summary = run_job(spec)
    print(
        f"{options.width} x {options.height}, {options.nfe} evaluations, {options.boundary}: "
        f"{summary.busy_seconds:.0f} s, {summary.peak_memory / 2**30:.2f} GiB"
    )


if __name__ == "__main__":
    main()
