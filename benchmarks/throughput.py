"""The most rows per second that the flow moves, when there is next to nothing to compute.

    python benchmarks/throughput.py [--rows 2000 8000] [--json FILE]

Rows name one PNG of 8 x 8 pixels; the network has a single level and is asked twice. Told are the
rows per second of the whole run and those of its growth from the first number of rows to the last,
the peak memory of this process, which drives the run, and that of Ray's object store.
"""

from __future__ import annotations

import resource
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray
from PIL import Image
from ray._private.internal_api import memory_summary
from timing import parser, write

from diffpir.checkpoints.checkpoint import save_model
from diffpir.networks.unet import UNet, UNetConfig
from pipeline.run import run_job
from pipeline.spec.job import JobSpec

SIDE = 8


class StorePeak(threading.Thread):
    """The most MiB that the object store held, asked four times a second."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended, self.peak = threading.Event(), 0.0

    def run(self) -> None:
        while not self.ended.wait(0.25):
            try:
                text = memory_summary(stats_only=True)
            except Exception:  # Ray is not up yet
                continue
            line = next(x for x in text.splitlines() if x.startswith("Plasma memory usage"))
            self.peak = max(self.peak, float(line.split()[3]))

    def end(self) -> float:
        self.ended.set()
        self.join()
        return self.peak


def make_files(folder: Path) -> None:
    """The one picture, and the checkpoint."""
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(noise).save(folder / "tiny.png")
    shape = {"model_channels": 32, "level_channels": (32,), "num_head_channels": 32}
    save_model(UNet(UNetConfig(**shape, num_res_blocks=1)), folder / "tiny.safetensors")


def job(folder: Path, rows: int, shard_rows: int) -> JobSpec:
    """A job of so many rows, with its manifest."""
    ids = pa.array([f"{i:09d}" for i in range(rows)])
    table = pa.table({"id": ids, "image": pa.repeat("tiny.png", rows)})
    pq.write_table(table, folder / f"{rows}.parquet")
    return JobSpec.model_validate(
        {
            "manifest": str(folder / f"{rows}.parquet"),
            "output": str(folder / f"out-{rows}"),
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": str(folder / "tiny.safetensors"),
            "sampler": {"nfe": 2},
            "precision": "fp32",
            "shard_rows": shard_rows,
            "batch_pixels": 256 * SIDE**2,
        }
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[2000, 8000])
    options.add_argument("--shard-rows", type=int, default=256)
    options = options.parse_args()
    found = {}
    print(f"{'rows':>8} seconds  rows/s  driver MiB  object store MiB")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_files(folder)
        for rows in options.rows:
            spec = job(folder, rows, options.shard_rows)
            store = StorePeak()
            store.start()
            began = time.perf_counter()
            summary = run_job(spec)
            seconds = time.perf_counter() - began
            if summary.failed:
                raise RuntimeError(f"{summary.failed} rows failed")
            found[rows] = {
                "seconds": seconds,
                "rows_per_second": rows / seconds,
                "driver_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10,
                "object_store_mib": store.end(),
            }
            row = found[rows]
            print(
                f"{rows:8} {seconds:7.1f} {rows / seconds:7.1f} {row['driver_mib']:11.0f} "
                f"{row['object_store_mib']:17.1f}",
                flush=True,
            )
            ray.shutdown()
    if len(found) > 1:
        first, last = min(found), max(found)
        grown = found[last]["seconds"] - found[first]["seconds"]
        print(f"growth: {(last - first) / grown:.1f} rows/s")
    write(options.json, {"rows": found})


if __name__ == "__main__":
    main()
