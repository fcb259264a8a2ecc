"""Pictures that nobody degraded for the purpose, restored, on one contact sheet to judge by eye.

    python benchmarks/real.py -o out/real [--nfe 12]

The pictures come with scikit-image: a clock moved during the exposure, handwriting out of focus,
galaxies in the camera's noise, small pictures of coins and of a page, a photograph without colour,
and a depth map of a stereo camera that found nothing behind the edges. What is asked for is what a
person would try; nothing is known of the truth, so nothing is scored. Some of it changes little:
that is a result too. It takes minutes; a second call with the same output resumes.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data

from jobs.console import ProgressLine
from jobs.sheet import write_sheet
from jobs.specfile import make_job
from manifests.build import build, write_manifest
from pipeline.run import run_job

CASES = {  # job: its task, and the pictures that it is for
    "motion": (
        # At a noise level of its own noise, 0.004, the blur's model is trusted too far: rings.
        {"kind": "deblur", "kernel": {"motion": {"length": 20, "angle": 0}}, "noise_level": 0.02},
        ["clock"],
    ),
    "focus": ({"kind": "deblur", "kernel": {"estimate": "disk"}, "noise_level": "auto"}, ["text"]),
    "noise": ({"kind": "denoise", "noise_level": "auto"}, ["galaxies"]),
    "small": ({"kind": "sr", "factor": 2, "noise_level": 0.01}, ["coins", "page"]),
    "grey": ({"kind": "colorize"}, ["camera"]),
    "holes": ({"kind": "inpaint", "mask": "depth-known.png"}, ["depth"]),
}


def save_pictures(folder: Path) -> None:
    """One folder for each case, and the mask of the depth map beside them."""
    depth = data.stereo_motorcycle()[2]
    known = np.isfinite(depth)
    depth = np.where(known, depth / depth[known].max() * 255, 0).astype(np.uint8)
    pictures = {
        "clock": data.clock(),
        "text": data.text(),
        "galaxies": middle(data.hubble_deep_field(), 256),
        "coins": middle(data.coins(), 256),
        "page": middle(data.page(), 256),
        "camera": data.camera(),
        "depth": middle(depth, 512),
    }
    for case, (_, names) in CASES.items():
        (folder / case).mkdir(parents=True, exist_ok=True)
        for name in names:
            Image.fromarray(pictures[name]).save(folder / case / f"{name}.png")
    Image.fromarray(middle(known, 512)).save(folder / "depth-known.png")


def middle(picture: np.ndarray, side: int) -> np.ndarray:
    """The central part, of at most ``side`` pixels each way."""
    top, left = (max(0, length - side) // 2 for length in picture.shape[:2])
    return picture[top : top + side, left : left + side]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--nfe", type=int, default=12)
    options = parser.parse_args()
    save_pictures(options.output / "pictures")
    outputs = []
    for case, (task, _) in CASES.items():
        if "mask" in task:
            task = {**task, "mask": str(options.output / "pictures" / task["mask"])}
        manifest = options.output / f"{case}.parquet"
        write_manifest(build(str(options.output / "pictures" / case)), str(manifest))
        job = {
            "manifest": str(manifest),
            "output": str(options.output / f"{case}-{options.nfe}"),
            "task": task,
            "sampler": {"nfe": options.nfe},
        }
        print(case, flush=True)
        run_job(make_job(job, case), ProgressLine())
        outputs.append(job["output"])
    sheet = options.output / "contact-sheet.png"
    write_sheet(outputs, str(sheet), limit=2, side=384)
    print(f"contact sheet: {sheet}")


if __name__ == "__main__":
    main()
