"""How well the noise of a measurement is told from it (``noise_level: auto``).

    python benchmarks/noise.py FOLDER [--limit 20] [--grey]

FOLDER holds clean pictures. Each is degraded as a task does, noise is added, and its level is
estimated from that; a row tells, for each task and level, the median of the relative error with its
sign, the 90th percentile of its size, and the share of pictures where it is within 15 %. A second
table is of the same, rounded to 8 bits and so cut off at black and white, as in a file. The
pictures' own noise counts as an error here.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from diffpir.errors import EstimationError
from diffpir.kernels import gaussian_kernel, stroke_kernel
from diffpir.masks import random_mask
from diffpir.noise import estimate_noise
from diffpir.operators import Downsample
from diffpir.resize import bicubic_downsample
from manifests.build import build

LEVELS = (0.01, 0.02, 0.05, 0.1)
BLURS = {
    "blur, gaussian 1": gaussian_kernel(61, 1.0),
    "blur, gaussian 2": gaussian_kernel(61, 2.0),
    "blur, gaussian 3": gaussian_kernel(61, 3.0),
    "blur, motion 25": stroke_kernel(25, 30),
}


def measured(x: Tensor):
    """Names of tasks, noiseless measurements and masks of a picture (1, C, H, W)."""
    yield "noise alone", x, None
    for name, kernel in BLURS.items():
        yield name, Downsample(torch.from_numpy(kernel).to(x)).forward(x), None
    for factor in (2, 4):
        height, width = (side // factor * factor for side in x.shape[2:])
        yield f"reduced by {factor}", bicubic_downsample(x[..., :height, :width], factor), None
    mask = random_mask(*x.shape[2:], 0.5, np.random.default_rng(0))
    yield "half hidden", x, torch.from_numpy(np.array(mask))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="folder or glob of clean pictures")
    parser.add_argument("--limit", type=int, help="so many pictures, evenly chosen")
    parser.add_argument("--grey", action="store_true", help="of one channel")
    options = parser.parse_args()
    files = build(options.folder)["image"].to_pylist()
    if options.limit:
        files = files[:: max(1, len(files) // options.limit)][: options.limit]
    errors: dict[tuple, list[float]] = {}
    seconds, count = 0.0, 0
    for number, file in enumerate(files):
        picture = Image.open(Path(file)).convert("L" if options.grey else "RGB")
        values = np.atleast_3d(np.asarray(picture, np.float32) / 255).transpose(2, 0, 1)
        for task, y, mask in measured(torch.from_numpy(np.ascontiguousarray(values))[None]):
            for level in LEVELS:
                noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(number))
                noisy = y + level * noise
                for rounded in (False, True):
                    given = (noisy * 255).round().clamp(0, 255) / 255 if rounded else noisy
                    began = time.perf_counter()
                    try:
                        error = estimate_noise(given, mask) / level - 1
                    except EstimationError:
                        error = float("nan")
                    seconds, count = seconds + time.perf_counter() - began, count + 1
                    errors.setdefault((rounded, task, level), []).append(error)
    print(f"{len(files)} pictures, {seconds / count:.3f} s for each estimate")
    for rounded in (False, True):
        print(f"\n{'8 bits' if rounded else 'not rounded':18} level   median   90 %  within 15 %")
        for (kind, task, level), found in errors.items():
            if kind == rounded:
                told = np.array(found)[np.isfinite(found)]
                size = np.percentile(abs(told), 90) if len(told) else float("nan")
                middle = np.median(told) if len(told) else float("nan")
                share = (abs(told) <= 0.15).sum() / len(found)
                refused = f"  {len(found) - len(told)} refused" if len(told) < len(found) else ""
                print(f"{task:18} {level:5}  {middle:+7.1%} {size:6.1%} {share:9.0%}{refused}")


if __name__ == "__main__":
    main()
