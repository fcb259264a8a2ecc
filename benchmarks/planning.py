"""What it costs to plan manifests of many rows, and to look at one that is almost done.

A synthetic manifest (``id``, ``image``, ``label``) is written, planned as a job plans it, and
planned again with all but one in a hundred shards done. Each in a process of its own, whose peak
memory is told beside that of one that only imports what is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.manifest import Manifest
from manifests.read import open_source
from manifests.scan import scan
from manifests.version import version_of
from pipeline.output.layout import Layout
from pipeline.output.parts import Part
from pipeline.output.plan import shards_in, write_plan
from pipeline.output.record import create_record, read_record
from pipeline.output.run_folder import RunFolder
from pipeline.spec.job import JobSpec

GROUP_ROWS = 1_000_000


def write(path: Path, rows: int) -> None:
    with pq.ParquetWriter(path, pa.schema([(n, t) for n, t in COLUMNS.items()])) as writer:
        for start in range(0, rows, GROUP_ROWS):
            numbers = pa.array(np.arange(start, min(start + GROUP_ROWS, rows)))
            digits = pc.utf8_lpad(pc.cast(numbers, pa.string()), 9, "0")
            image = pc.binary_join_element_wise("images/", digits, ".jpg", "")
            label = pc.cast(pc.bit_wise_and(numbers, 1023), pa.int64())
            writer.write_table(pa.table({"id": digits, "image": image, "label": label}))


COLUMNS = {"id": pa.string(), "image": pa.string(), "label": pa.int64()}


def job(folder: Path) -> JobSpec:
    task = {"kind": "denoise", "noise_level": 0.1}
    manifest, output = str(folder / "m.parquet"), str(folder / "out")
    return JobSpec.model_validate({"manifest": manifest, "output": output, "task": task})


def plan(folder: Path, shard_rows: int) -> dict:
    spec, layout, began = job(folder), Layout(str(folder / "out")), time.perf_counter()
    manifest = Manifest(open_source(spec.manifest, max_bytes=2**40))
    contents = scan(manifest)
    scanned = time.perf_counter() - began
    files = write_plan(shards_in(manifest.batches(), shard_rows), layout)
    identity = {"manifest": {"rows": contents.rows, "sha256": contents.sha256}}
    create_record(layout, identity, spec, files, version_of(manifest.files))
    return {"scan_seconds": scanned, "plan_seconds": time.perf_counter() - began - scanned}


def resume(folder: Path) -> dict:
    """What a resumed run does before its work: is the manifest the same, and what is left?"""
    spec, layout, began = job(folder), Layout(str(folder / "out")), time.perf_counter()
    manifest = Manifest(open_source(spec.manifest, max_bytes=2**40))
    record = read_record(layout)
    assert record.version == version_of(manifest.files)
    left = RunFolder(layout, record).work()
    return {"resume_seconds": time.perf_counter() - began, "shards_left": len(left)}


def child(*arguments: object) -> dict:
    command = [sys.executable, __file__, "--child", *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measure(rows: int, shard_rows: int, folder: Path) -> dict:
    write(folder / "m.parquet", rows)
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
        "scan_seconds": round(planned["scan_seconds"], 1),
        "plan_seconds": round(planned["plan_seconds"], 1),
        "plan_memory_mb": planned["peak"] - nothing,
        "resume_seconds": round(resumed["resume_seconds"], 1),
        "resume_memory_mb": resumed["peak"] - nothing,
        "imports_mb": nothing,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10**6])
    parser.add_argument("--shard-rows", type=int, default=256)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        what, folder = given.child[0], Path(given.child[1])
        found = {}
        if what == "plan":
            found = plan(folder, int(given.child[2]))
        elif what == "resume":
            found = resume(folder)
        found["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(json.dumps(found))
        return
    for rows in given.rows:
        folder = Path(tempfile.mkdtemp(prefix="diffpir-planning-"))
        try:
            print(json.dumps(measure(rows, given.shard_rows, folder)), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
