"""What safety costs: planning a large job, and knowing what is left of one that is 99 % done.

    python benchmarks/planning.py [--rows 1000000] [--output s3://bucket/prefix] [--json FILE]

Each stage runs in a process of its own, so that its peak memory is its own; sizes of N/4, N/2 and
N show how it grows. Parts stand in ``results/`` by their names: resuming reads nothing else.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import tempfile
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from timing import parser, write

from manifests import storage
from pipeline.output.drivers import Heartbeat
from pipeline.output.parts import Part, Tally, create_part
from pipeline.output.run_folder import RunFolder
from pipeline.prepare import check
from pipeline.spec.job import JobSpec

DONE = 0.99
WRITERS = 16


def make_manifest(rows: int, path: Path) -> None:
    """A manifest of that many rows, with the columns that ``manifest build`` makes."""
    places = range(rows)
    table = pa.table(
        {
            "id": [f"photographs/{i // 1000:05d}/{i:09d}" for i in places],
            "image": [f"s3://bucket/photographs/{i // 1000:05d}/{i:09d}.jpg" for i in places],
            "width": pa.repeat(256, rows),
            "height": pa.repeat(256, rows),
            "bytes": pa.array(places, pa.int64()),
        }
    )
    pq.write_table(table, path)


def job(manifest: Path, output: str) -> JobSpec:
    return JobSpec.model_validate(
        {
            "manifest": str(manifest),
            "output": output,
            "allowed_schemes": ["s3"],
            "task": {"kind": "denoise", "noise_level": 0.1},
        }
    )


def plan(spec: JobSpec, shard_rows: int) -> int:
    """Check the job and plan it; returns the number of shards."""
    return len(RunFolder.create(check(spec), shard_rows).shards)


def commit(spec: JobSpec) -> int:
    """Create the parts of all but the last hundredth of the shards."""
    folder = RunFolder.find(check(spec))
    rows = pa.table({"id": pa.array([], pa.string())})
    done = [
        Part(shard.index, 0, folder.id) for shard in folder.shards[: int(len(folder.shards) * DONE)]
    ]
    with ThreadPoolExecutor(WRITERS) as pool:
        created = pool.map(lambda part: create_part(folder.layout, part, rows, Tally()), done)
        return sum(created)


def resume(spec: JobSpec) -> int:
    """Find the run again and what is left of it; returns the number of shards left."""
    folder = RunFolder.find(check(spec))
    with Heartbeat(folder.layout):
        return len(folder.work())


def measured(function, *arguments) -> tuple[int, float, float]:
    """Result, seconds and peak memory in GiB of a function in a process of its own."""
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    process = context.Process(target=_report, args=(results, function, arguments))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{function.__name__} failed")
    return results.get()


def _report(results, function, arguments) -> None:
    began = time.perf_counter()
    value = function(*arguments)
    seconds = time.perf_counter() - began
    results.put((value, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--shard-rows", type=int, default=256, help="what one GPU gets by default")
    options.add_argument("--output", help="folder or URI; default: a temporary folder")
    options = options.parse_args()
    found = []
    scratch = Path(tempfile.mkdtemp())
    print(f"{'rows':>9} {'shards':>7}  stage     seconds   GiB")
    for rows in (options.rows // 4, options.rows // 2, options.rows):
        manifest = scratch / f"{rows}.parquet"
        make_manifest(rows, manifest)
        output = storage.join(options.output or str(scratch), uuid.uuid4().hex[:8])
        spec = job(manifest, output)
        shards = 0
        for stage, arguments in ((plan, (options.shard_rows,)), (commit, ()), (resume, ())):
            value, seconds, memory = measured(stage, spec, *arguments)
            shards = value if stage is plan else shards
            found.append(
                {"rows": rows, "shards": shards, "stage": stage.__name__}
                | {"seconds": seconds, "gib": memory}
            )
            print(
                f"{rows:9d} {shards:7d}  {stage.__name__:8} {seconds:8.1f} {memory:5.2f}",
                flush=True,
            )
    shutil.rmtree(scratch)
    write(options.json, {"stages": found})


if __name__ == "__main__":
    main()
