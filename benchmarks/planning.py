"""What safety costs: planning a large job, and knowing what is left of one that is 99 % done.

    python benchmarks/planning.py [--rows 1000000 10000000] [--shard-rows 256] [--json FILE]

A synthetic manifest (``id``, ``image``, ``label``) is planned, and looked at again when 99 of 100
shards have a part. Each in a process of its own, whose peak memory is told beyond that of one that
only imports what is needed. Parts stand in ``results/`` by their names: resuming reads nothing
else.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from timing import parser, write

from pipeline.output.layout import Layout
from pipeline.output.parts import Part
from pipeline.output.record import read_record
from pipeline.output.run_folder import RunFolder
from pipeline.prepare import check
from pipeline.spec.job import JobSpec

GROUP_ROWS = 1_000_000


def make_manifest(path: Path, rows: int) -> None:
    with pq.ParquetWriter(path, pa.schema([(n, t) for n, t in COLUMNS.items()])) as writer:
        for start in range(0, rows, GROUP_ROWS):
            numbers = pa.array(np.arange(start, min(start + GROUP_ROWS, rows)))
            digits = pc.utf8_lpad(pc.cast(numbers, pa.string()), 9, "0")
            image = pc.binary_join_element_wise("images/", digits, ".jpg", "")
            label = pc.cast(pc.bit_wise_and(numbers, 1023), pa.int64())
            writer.write_table(pa.table({"id": digits, "image": image, "label": label}))


COLUMNS = {"id": pa.string(), "image": pa.string(), "label": pa.int64()}


def job(folder: Path) -> JobSpec:
    return JobSpec.model_validate(
        {
            "manifest": str(folder / "m.parquet"),
            "output": str(folder / "out"),
            "task": {"kind": "denoise", "noise_level": 0.1},
            "max_manifest_bytes": 2**40,
        }
    )


def plan(folder: Path, shard_rows: int) -> dict:
    began = time.perf_counter()
    checked = check(job(folder))
    seconds = time.perf_counter() - began
    RunFolder.create(checked, shard_rows)
    return {"check_seconds": seconds, "plan_seconds": time.perf_counter() - began - seconds}


def resume(folder: Path) -> dict:
    """What a resumed run does before its work: is the job the same, and what is left?"""
    began = time.perf_counter()
    found = RunFolder.find(check(job(folder)))
    assert found is not None
    return {
        "resume_left": len(found.work(found.chosen(None))),
        "resume_seconds": time.perf_counter() - began,
    }


def child(*arguments: object) -> dict:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure(rows: int, shard_rows: int, folder: Path) -> dict:
    make_manifest(folder / "m.parquet", rows)
    nothing = child("nothing", folder)["peak"]
    planned = child("plan", folder, shard_rows)
    layout = Layout(str(folder / "out"))
    record = read_record(layout)
    os.makedirs(layout.results, exist_ok=True)
    for shard in record.shards:
        if shard.index % 100:
            Path(layout.part(Part(shard.index, 0, record.id).name)).touch()
    resumed = child("resume", folder)
    size = sum(file.stat().st_size for file in Path(layout.plans).iterdir())
    return {
        "rows": rows,
        "shards": len(record.shards),
        "manifest_mb": (folder / "m.parquet").stat().st_size >> 20,
        "plan_mb": size >> 20,
        "check_seconds": round(planned["check_seconds"], 1),
        "plan_seconds": round(planned["plan_seconds"], 1),
        "plan_memory_mb": planned["peak"] - nothing,
        "resume_seconds": round(resumed["resume_seconds"], 1),
        "resume_memory_mb": resumed["peak"] - nothing,
        "imports_mb": nothing,
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, nargs="+", default=[10**6])
    options.add_argument("--shard-rows", type=int, default=256)
    options.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.child:
        what, folder = given.child[0], Path(given.child[1])
        found: dict = {}
        if what == "plan":
            found = plan(folder, int(given.child[2]))
        elif what == "resume":
            found = resume(folder)
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps(found))
        return
    measured = []
    for rows in given.rows:
        with tempfile.TemporaryDirectory(prefix="diffpir-planning-") as name:
            measured.append(measure(rows, given.shard_rows, Path(name)))
        print(*(f"{key} {value}" for key, value in measured[-1].items()), sep=", ", flush=True)
    write(given.json, {"planning": measured})


if __name__ == "__main__":
    main()
