"""What the metrics of many parts fetch and take, beside the size of the parts.

    python benchmarks/metrics.py --parts 2000 [--image-kb 200] [--output s3://bucket/prefix]

Writes parts as a job does, with noise for images, and reads the metrics of all of them.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa

from jobs.aggregate import metrics_of
from jobs.results import METRICS
from manifests import storage
from pipeline.output.layout import Layout
from pipeline.output.parts import Part, create_part, tally_of

RUN = "0123456789ab"
ROWS = 16  # of a part


def write_parts(layout: Layout, parts: int, image_bytes: int) -> int:
    """An output of a finished job; returns the bytes of its images."""
    rng = np.random.default_rng(0)
    images = [rng.bytes(image_bytes) for _ in range(ROWS)]
    record = {"id": RUN, "identity": {}, "plan": []}
    storage.write_bytes(layout.run, json.dumps(record).encode())

    def write(shard: int) -> None:
        values = np.random.default_rng(shard).normal(28, 2, ROWS)
        rows = pa.table(
            {
                "id": [f"{shard}-{i}" for i in range(ROWS)],
                "site": [f"{(shard + i) % 3}" for i in range(ROWS)],
                "status": ["ok"] * ROWS,
                "error_kind": [""] * ROWS,
                "restored": [{"bytes": image, "path": ""} for image in images],
                **{name: values for name in METRICS if name != "gain"},
            }
        )
        create_part(layout, Part(shard, 0, RUN), rows, tally_of(rows))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(parts)))
    return parts * ROWS * image_bytes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", type=int, default=2000)
    parser.add_argument("--image-kb", type=int, default=20)
    parser.add_argument("--output", help="folder or URI; default: a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(storage.absolute(options.output or folder))
        size = write_parts(layout, options.parts, options.image_kb << 10)
        began = time.perf_counter()
        records = metrics_of(layout.output, "site")
        seconds = time.perf_counter() - began
    if sum(r["count"] for r in records if r["metric"] == "psnr") != options.parts * ROWS:
        raise RuntimeError("rows are missing")
    print(f"{options.parts} parts, {options.parts * ROWS} rows, {size / 1e6:.0f} MB of images")
    print(f"metrics: {seconds:.1f} s")


if __name__ == "__main__":
    main()
