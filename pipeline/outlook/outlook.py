"""What a job would do, found without doing it."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from pipeline.errors import PipelineError
from pipeline.flow.resources import plan_resources, start_ray
from pipeline.job import Job
from pipeline.outlook.speed import IMAGES, Speed, measure
from pipeline.output.plan import Shard, read_shard, rows_per_shard
from pipeline.output.run_folder import RunFolder
from pipeline.output.selection import Selection
from pipeline.prepare import check, check_place
from pipeline.spec.job import JobSpec

T = TypeVar("T")
SEEN = 20  # shards of a plan whose rows are looked at for the sizes of their images


@dataclass(frozen=True)
class Estimate:
    """How long a job would take.

    Attributes:
        seconds: with the start of Ray, if there is no cluster, and of the actors.
        actors: that work at a time.
        device: that each of them has, in words.
        pixels: of all restored images that are left.
        measured: images of which parts were restored.
    """

    seconds: float
    actors: int
    device: str
    pixels: float
    measured: int


@dataclass(frozen=True)
class Outlook:
    """What a job would do.

    Attributes:
        rows, shards: of the whole job.
        rows_left, shards_left: of these, what would be restored.
        begun: the output holds a run of this job, which would be resumed.
        done: rows that are there already.
        min_actors, max_actors: how many would hold a model.
        evaluations: of the network for each row, over all of its samples.
        output: where the results go.
        images: where the pictures' files go, if anywhere.
        notes: what the user should hear before it begins.
        estimate: of the time; None where nothing is left to do, or nothing could be measured.
        unmeasured: why nothing could be measured, in words; empty if it could.
    """

    rows: int
    rows_left: int
    shards: int
    shards_left: int
    begun: bool
    done: int
    min_actors: int
    max_actors: int
    evaluations: int
    output: str
    images: str | None
    notes: tuple[str, ...]
    estimate: Estimate | None
    unmeasured: str = ""


@dataclass(frozen=True)
class _Left:
    """What is left to do: rows and shards; and of rows whose size is known number and pixels."""

    rows: int
    shards: int
    sized: int
    pixels: float

    @staticmethod
    def of(shards: Sequence[pa.Table]) -> _Left:
        sized, pixels = 0, 0.0
        for table in shards:
            if {"width", "height"} <= set(table.column_names):
                area = pc.multiply(*(pc.cast(table[n], pa.float64()) for n in ("width", "height")))
                sized += len(area) - area.null_count
                pixels += pc.sum(area, min_count=0).as_py()
        return _Left(sum(map(len, shards)), len(shards), sized, pixels)

    @staticmethod
    def total(parts: Iterable[_Left]) -> _Left:
        counts = ((p.rows, p.shards, p.sized, p.pixels) for p in parts)
        rows, shards, sized, pixels = map(sum, zip(*counts, strict=True))
        return _Left(rows, shards, sized, pixels)


def outlook(
    spec: JobSpec, allow_code: Collection[str] = (), *, first: Selection | None = None
) -> Outlook:
    """Check a job as a run of it would, and say what that run would do.

    Starts Ray if there is no cluster, to see how many actors have room, and restores small parts of
    three images there, to see how long it takes. Nothing is written.

    Args:
        spec: of the job.
        allow_code: modules and packages that the job may import.
        first: the rows that would be restored, where it is not all of them.

    Raises:
        PipelineError, ManifestError: the job is wrong.
    """
    began = time.perf_counter()
    job = check(spec, allow_code)
    start_ray()
    resources = plan_resources(spec)
    ready = time.perf_counter() - began  # which a run takes as well
    check_place(spec)
    folder = RunFolder.find(job)
    if folder is None:
        limit = rows_per_shard(job.rows, resources.max_actors, resources.batch_pixels)
        left, shards, some = _of_manifest(job, spec.shard_rows or limit, first)
        done = 0
    else:
        left, some = _of_folder(folder, first)
        shards, done = len(folder.shards), folder.rows_done
    estimate, unmeasured = None, ""
    if left.rows:
        try:
            speed = measure(job, resources, some)
        except PipelineError as e:
            unmeasured = str(e)
        else:
            estimate = _estimate(job, speed, left, min(resources.max_actors, left.shards), ready)
    return Outlook(
        rows=job.rows,
        rows_left=left.rows,
        shards=shards,
        shards_left=left.shards,
        begun=folder is not None,
        done=done,
        min_actors=resources.min_actors,
        max_actors=resources.max_actors,
        evaluations=job.identity["sampler"]["nfe"] * spec.samples,
        output=storage.absolute(spec.output),
        images=spec.images and storage.absolute(spec.images),
        notes=(*job.notes, *job.manifest.notes),
        estimate=estimate,
        unmeasured=unmeasured,
    )


def _estimate(job: Job, speed: Speed, left: _Left, actors: int, ready: float) -> Estimate:
    """Rows of unknown size count as the others, or as those that were measured."""
    each = left.pixels / left.sized * job.pixel_ratio if left.sized else speed.pixels
    pixels = each * left.rows
    return Estimate(
        ready + speed.seconds(pixels, actors), actors, speed.device, pixels, speed.images
    )


def _of_manifest(job: Job, shard_rows: int, first: Selection | None) -> tuple[_Left, int, pa.Table]:
    """What is left of a job that has not begun, the number of all shards, and a few rows."""
    sizes = [_Left.of([table]) for table in RunFolder.cut(job, shard_rows, first)]
    shards = [Shard(i, "", 0, size.rows) for i, size in enumerate(sizes)]
    chosen = sorted(first.shards(shards)) if first else list(range(len(shards)))
    picked = set(_spread(chosen, IMAGES))
    tables = enumerate(RunFolder.cut(job, shard_rows, first))
    some = [table.slice(0, 1) for i, table in tables if i in picked]
    return _Left.total(sizes[i] for i in chosen), len(shards), pa.concat_tables(some)


def _of_folder(folder: RunFolder, first: Selection | None) -> tuple[_Left, pa.Table]:
    """What is left of a job that has begun, and a few rows; sizes are those of some shards."""
    work = folder.work(folder.chosen(first))
    tables = [read_shard(item.shard, folder.layout) for item in _spread(work, SEEN)]
    seen = _Left.of(tables)
    left = replace(seen, rows=sum(item.rows for item in work), shards=len(work))
    some = [table.slice(0, 1) for table in _spread(tables, IMAGES)]
    return left, pa.concat_tables(some) if some else pa.table({})


def _spread(items: Sequence[T], count: int) -> list[T]:
    """So many of them at most, evenly chosen."""
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[i] for i in places]
