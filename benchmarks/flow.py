"""What the flow costs beside the bare sampler: the same images, batches, threads and settings.

    python benchmarks/flow.py [--network builtin] [--images 16] [--nfe 20] [--actors 1 2]
        [--json FILE]

`run_job` from PNG files to Parquet with each number of actors, which share the cores. `bare` is a
loop over `diffpir.restore` on arrays that are in memory already, with the threads of one actor:
over half the images before the run and over the others after it, as machines change their pace.
`steady` counts the images that were committed after the first part of each actor, and the time
from that to the last; `start` is what a run takes beside that pace: Ray's start, the loading of
the model, the end. `beside` is what all other processes than the actors take of a core meanwhile:
the driver, Ray's own, reading and writing. With two numbers of actors there is also one actor
with as many threads as each of the many has.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.dataset as ds
import ray
import torch
from PIL import Image
from processes import Processes
from skimage import data
from timing import NETWORKS, device, network, parser, synchronize, write

from diffpir import (
    Downsample,
    EpsDenoiser,
    Schedule,
    gaussian_kernel,
    noise_stream,
    preset,
    restore,
)
from diffpir.checkpoints.checkpoint import save_model
from diffpir.networks.precision import place
from diffpir.networks.unet import UNet
from manifests.build import build, write_manifest
from pipeline.run import run_job
from pipeline.spec.job import JobSpec

SIDE = 256
ACTOR = "ray::MapWorker"  # title of an actor's process


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


def bare_loop(net: UNet, crops: list[np.ndarray], batch: int, nfe: int, threads: int) -> float:
    """Seconds for all images, the model being loaded."""
    torch.set_num_threads(threads)
    schedule, on = Schedule.linear(), device()
    denoise = EpsDenoiser(place(net, on), schedule)
    kernel = torch.tensor(gaussian_kernel(61, 3.0)).float().to(on)
    config = dataclasses.replace(preset("ffhq-deblur-gaussian"), nfe=nfe)
    y = torch.tensor(np.stack(crops)).permute(0, 3, 1, 2).float().to(on) / 255
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
                noise=noise_stream(range(len(chunk)), (3, SIDE, SIDE), on),
            )
    synchronize()
    return time.perf_counter() - began


def flow(manifest: Path, out: Path, settings: dict) -> dict[str, float]:
    """Images per second in the end, and in the steady part of the run; what its start took."""
    spec = JobSpec.model_validate(
        {
            "manifest": str(manifest),
            "output": str(out),
            "mode": "benchmark",
            "task": {
                "kind": "deblur",
                "kernel": {"gaussian": {"size": 61, "std": 3.0}},
                "noise_level": 0.05,
            },
            **settings,
        }
    )
    began = time.perf_counter()
    processes = Processes()
    processes.start()
    summary = run_job(spec)
    processes.end()
    total = time.perf_counter() - began
    ray.shutdown()
    if summary.failed:
        raise RuntimeError(f"{summary.failed} images failed")
    parts = sorted(
        (path.stat().st_mtime, ds.dataset(str(path)).count_rows())
        for path in (out / "results").iterdir()
    )
    rows = sum(count for _, count in parts)
    first = parts[: settings["actors"]]  # all actors work from the first commits on
    first_commit, last_commit = first[-1][0], parts[-1][0]
    steady = (rows - sum(count for _, count in first)) / (last_commit - first_commit)
    cores = processes.cores(first_commit, last_commit)
    return {
        "images_per_second": rows / total,
        "steady": steady,
        "start": total - rows / steady,
        "beside": sum(taken for title, taken in cores.items() if title != ACTOR),
        "processes": {title[-80:]: taken for title, taken in cores.most_common(12)},
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--network", choices=NETWORKS, default="builtin")
    options.add_argument("--images", type=int, default=16)
    options.add_argument("--batch", type=int, default=2)
    options.add_argument("--nfe", type=int, default=20)
    options.add_argument("--actors", type=int, nargs="+", default=[1, 2])
    options = options.parse_args()
    crops, cores = photographs(options.images), os.cpu_count() or 1
    found = {}
    print(f"{'':28} images/s  steady   bare  of the bare loop  start in s  beside")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in").mkdir()
        for i, crop in enumerate(crops):
            Image.fromarray(crop).save(folder / "in" / f"{i:03d}.png")
        manifest = folder / "manifest.parquet"
        write_manifest(build(str(folder / "in")), str(manifest))
        model = "builtin"
        if options.network != model:
            model = str(save_model(network(options.network), folder / "model.safetensors"))
        most = max(options.actors)
        runs = [(count, cores // count) for count in options.actors]
        if most > 1 and (1, cores // most) not in runs:
            runs.append((1, cores // most))
        net, half = network(options.network), options.images // 2
        for actors, threads in runs:

            def bare(part: list[np.ndarray], threads: int = threads) -> float:
                return bare_loop(net, part, options.batch, options.nfe, threads)

            settings = {
                "model": model,
                "sampler": {"nfe": options.nfe},
                "batch_pixels": options.batch * SIDE**2,
                "shard_rows": options.batch,
                "actors": actors,
            }
            if actors * threads < cores:
                settings["cpus"] = threads
            title = f"{actors} actor(s), {threads} thread(s)"
            before = bare(crops[:half])
            row = flow(manifest, folder / title, settings)
            row["bare"] = len(crops) / (before + bare(crops[half:]))
            row["of_the_bare_loop"] = row["steady"] / (row["bare"] * actors)
            found[title] = row
            print(
                f"{title:28} {row['images_per_second']:8.3f} {row['steady']:7.3f} "
                f"{row['bare']:6.3f} {row['of_the_bare_loop']:17.3f} {row['start']:11.1f} "
                f"{row['beside']:7.3f}",
                flush=True,
            )
    if most > 1:
        many, one = (found[f"{n} actor(s), {cores // most} thread(s)"] for n in (most, 1))
        gain = most * many["of_the_bare_loop"] / one["of_the_bare_loop"]
        print(f"{most} actors over one, of the same threads and each by its bare loop: {gain:.3f}")
    write(
        options.json,
        {
            "network": options.network,
            "images": options.images,
            "batch": options.batch,
            "nfe": options.nfe,
            "flow": found,
        },
    )


if __name__ == "__main__":
    main()
