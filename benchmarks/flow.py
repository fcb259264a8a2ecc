"""What the flow costs beside the bare sampler: the same images, batch, threads and settings.

    python benchmarks/flow.py [--images 16] [--batch 2] [--nfe 20] [--json FILE]

First a loop over `diffpir.restore` on arrays that are in memory already, then `run_job` from PNG
files to Parquet on one actor. The ratios are of images per second: of the whole run, with the start
of Ray and the loading of the model, and of the restorer's own time.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import torch
from PIL import Image
from skimage import data

from diffpir import (
    Downsample,
    EpsDenoiser,
    Schedule,
    builtin_path,
    gaussian_kernel,
    load_model,
    noise_stream,
    preset,
    restore,
)
from diffpir.networks.precision import has_bf16
from manifests.build import build, write_manifest
from pipeline.run import run_job
from pipeline.spec import JobSpec

SIDE = 256


def photographs(count: int) -> list[np.ndarray]:
    """Squares of 256 pixels from scikit-image's photographs, from different places."""
    sources = [getattr(data, name)() for name in ("astronaut", "chelsea", "coffee", "rocket")]
    rng = np.random.default_rng(0)
    crops = []
    for i in range(count):
        source = sources[i % len(sources)]
        top, left = (int(rng.integers(side - SIDE + 1)) for side in source.shape[:2])
        crops.append(source[top : top + SIDE, left : left + SIDE])
    return crops


def bare_loop(crops: list[np.ndarray], batch: int, nfe: int, threads: int) -> float:
    """Seconds for all images, the model being loaded."""
    torch.set_num_threads(threads)
    schedule = Schedule.linear()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bf16 = has_bf16(device)
    net = load_model(builtin_path()).to(device)
    if bf16:
        net = net.to(memory_format=torch.channels_last)
    denoise = EpsDenoiser(net, schedule, bf16=bf16)
    kernel = torch.tensor(gaussian_kernel(61, 3.0)).float().to(device)
    config = dataclasses.replace(preset("ffhq-deblur-gaussian"), nfe=nfe)
    y = torch.tensor(np.stack(crops)).permute(0, 3, 1, 2).float().to(device) / 255
    denoise(y[:batch], 0)  # what the first call sets up is no part of the loop
    began = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, len(y), batch):
            chunk = y[start : start + batch]
            restore(
                denoise,
                Downsample(kernel),
                chunk,
                schedule=schedule,
                config=config,
                noise_level=0.05,
                noise=noise_stream(range(len(chunk)), (3, SIDE, SIDE), device),
            )
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def flow(crops: list[np.ndarray], batch: int, nfe: int, folder: Path) -> tuple[float, float]:
    """Seconds in all, and those of them that the restorer did not spend on restoring."""
    for i, crop in enumerate(crops):
        Image.fromarray(crop).save(folder / f"{i:03d}.png")
    write_manifest(build(str(folder)), str(folder / "manifest.parquet"))
    spec = JobSpec.model_validate(
        {
            "manifest": str(folder / "manifest.parquet"),
            "output": str(folder / "out"),
            "task": {
                "kind": "deblur",
                "kernel": {"gaussian": {"size": 61, "std": 3.0}},
                "noise_level": 0.05,
            },
            "sampler": {"nfe": nfe},
            "batch": batch,
            "actors": 1,
        }
    )
    began = time.perf_counter()
    summary = run_job(spec)
    total = time.perf_counter() - began
    if summary.failed:
        raise RuntimeError(f"{summary.failed} images failed")
    seconds = ds.dataset(str(folder / "out" / "results")).to_table(columns=["seconds"])
    return total, total - float(np.sum(seconds["seconds"].to_numpy()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--nfe", type=int, default=20)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    crops = photographs(options.images)
    threads = os.cpu_count() or 1
    bare = bare_loop(crops, options.batch, options.nfe, threads)
    with tempfile.TemporaryDirectory() as folder:
        total, outside = flow(crops, options.batch, options.nfe, Path(folder))
    figures = {
        "images": options.images,
        "batch": options.batch,
        "nfe": options.nfe,
        "threads": threads,
        "bare_images_per_second": options.images / bare,
        "flow_images_per_second": options.images / total,
        "flow_seconds_outside_the_restorer": outside,
        "flow_over_bare": bare / total,
        "flow_over_bare_inside_the_restorer": bare / (total - outside),
    }
    for name, value in figures.items():
        print(f"{name:36} {value:.4g}")
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
