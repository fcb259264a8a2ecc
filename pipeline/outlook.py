"""What a job would do, found without doing it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from manifests import storage
from pipeline.output.plan import rows_per_shard
from pipeline.output.run_folder import RunFolder
from pipeline.prepare import check
from pipeline.run import resources_for
from pipeline.spec.job import JobSpec


@dataclass(frozen=True)
class Outlook:
    """What a job would do.

    Attributes:
        rows, shards: of the whole job.
        rows_left, shards_left: of these, what is not in the output yet.
        begun: the output holds a run of this job, which would be resumed.
        min_actors, max_actors: how many would hold a model.
        evaluations: of the network for each row, over all of its samples.
        output: where the results go.
        images: where the pictures' files go, if anywhere.
        notes: what the user should hear before it begins.
    """

    rows: int
    rows_left: int
    shards: int
    shards_left: int
    begun: bool
    min_actors: int
    max_actors: int
    evaluations: int
    output: str
    images: str | None
    notes: tuple[str, ...]


def outlook(spec: JobSpec, allow_code: Collection[str] = ()) -> Outlook:
    """Check a job as a run of it would, and say what that run would do.

    Starts Ray if there is no cluster, to see how many actors have room.

    Raises:
        PipelineError, ManifestError: the job is wrong.
    """
    job = check(spec, allow_code)
    resources = resources_for(spec)
    folder = RunFolder.find(job)
    if folder is None:
        rows = rows_per_shard(job.rows, resources.max_actors, resources.batch_pixels)
        shards = shards_left = sum(1 for _ in RunFolder.cut(job, spec.shard_rows or rows))
        rows_left = job.rows
    else:
        work = folder.work()
        shards, shards_left = len(folder.shards), len(work)
        rows_left = sum(item.rows for item in work)
    return Outlook(
        rows=job.rows,
        rows_left=rows_left,
        shards=shards,
        shards_left=shards_left,
        begun=folder is not None,
        min_actors=resources.min_actors,
        max_actors=resources.max_actors,
        evaluations=job.identity["sampler"]["nfe"] * spec.samples,
        output=storage.absolute(spec.output),
        images=spec.images and storage.absolute(spec.images),
        notes=(*job.notes, *job.manifest.notes),
    )
