"""The flow: from planned shards of a manifest to committed parts, on Ray Data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext

from manifests import storage
from pipeline.errors import PipelineError
from pipeline.flow.isolate import Isolated, Step
from pipeline.flow.ledger import Ledger
from pipeline.flow.metering import BatchMetrics
from pipeline.flow.pulse import start_pulse
from pipeline.flow.resources import Resources
from pipeline.flow.sink import ShardSink
from pipeline.flow.source import ShardSource
from pipeline.job import Job
from pipeline.output.plan import Work, read_shard
from pipeline.output.run_folder import RunFolder
from pipeline.priors.files import located
from pipeline.restoring.perceptual import with_absolute_paths
from pipeline.restoring.problem import files_of
from pipeline.restoring.restorer import Restorer
from pipeline.spec.job import WATCHED, JobSpec
from pipeline.steps.encode import Encode
from pipeline.steps.load import Load

LOADING_DEATHS = 4  # Ray would start actors that die while they load without end


def restore_shards(
    job: Job, folder: RunFolder, work: Sequence[Work], resources: Resources, ledger: Ledger
) -> None:
    """Restore and commit this work; returns when all of it is committed."""
    spec = with_watched_ids(job.spec, folder)
    actors = min(resources.max_actors, len(work))  # more would load a model for nothing
    least = min(resources.min_actors, actors)
    # Steps that ask for the same fuse into one task: reading and loading, encoding and writing.
    step = resources.step
    (
        ray.data.read_datasource(
            ShardSource(folder.layout, work),
            override_num_blocks=len(work),
            **step,
        )
        .map_batches(
            Isolated(loading(job), "load", ledger),
            batch_size=None,
            batch_format="pyarrow",
            **step,
        )
        .map_batches(
            IsolatedRestorer,
            fn_constructor_args=(
                ledger,
                actors,
                restoring(job, spec, resources),
            ),
            compute=ActorPoolStrategy(
                min_size=least,
                max_size=actors,
                max_tasks_in_flight_per_actor=in_flight(len(work), least, actors),
            ),
            batch_size=max(item.rows for item in work),
            batch_format="pyarrow",
            **resources.actor_options,
        )
        .map_batches(
            Isolated(encoding(spec), "encode", ledger),
            batch_size=None,
            batch_format="pyarrow",
            **step,
        )
        .write_datasink(ShardSink(folder.committer, work, ledger), ray_remote_args=step)
    )


def loading(job: Job) -> Load:
    """The step that fetches and decodes a job's files."""
    spec = job.spec
    files = tuple(name for name in files_of(spec) if name in job.manifest.schema.names)
    # A benchmark's images stand for others: what they have beside their colours is not kept.
    beside = spec.mode == "restore"
    return Load.of(spec, job.manifest.base, files, beside=beside, channels=job.channels)


def restoring(job: Job, spec: JobSpec, resources: Resources) -> Callable[..., Restorer]:
    """What makes the restorer of a job, where the actor is; ``spec`` is the job's, completed."""
    update = {
        "model": located(spec.model),
        "perceptual": with_absolute_paths(spec.perceptual),
    }
    return partial(
        Restorer,
        spec.model_copy(update=update),
        job.assets,
        job.model,
        job.versions,
        resources.batch_pixels,
        resources.threads,
        resources.actor.get("GPU", 0) > 0,
    )


def encoding(spec: JobSpec) -> Encode:
    """The step that encodes a job's restored pictures, and writes them where it is asked to."""
    images = storage.absolute(spec.images) if spec.images else None
    told = spec.task.pixel_mask
    opaque = told is not None and told.alpha is not None
    return Encode(images, spec.picture, opaque=opaque)


def with_watched_ids(spec: JobSpec, folder: RunFolder) -> JobSpec:
    """Name the rows whose steps are to be saved, where the job leaves that to the manifest."""
    if spec.sampler.save_steps is None or spec.sampler.watch_ids:
        return spec
    ids: list[str] = []
    for shard in folder.shards:
        ids += read_shard(shard, folder.layout)["id"].to_pylist()
        if len(ids) >= WATCHED:
            break
    sampler = spec.sampler.model_copy(update={"watch_ids": tuple(ids[:WATCHED])})
    return spec.model_copy(update={"sampler": sampler})


def in_flight(shards: int, least: int, most: int) -> int:
    """Shards that an actor is given at a time: the one it works on and, usually, the next.

    Where there are few, none is to wait for one actor while another has nothing to do. But a pool
    grows only where shards wait.
    """
    return 1 if least == most and shards <= 4 * most else 2


class IsolatedRestorer:
    """The actor of the flow: a restorer that holds its model, and survives its rows.

    An actor that cannot be made says so when it is given work: Ray ends a run on what a call
    raises, but retries the calls of an actor whose constructor raised, and prints a traceback.
    """

    def __init__(self, ledger: Ledger, actors: int, restorer: Callable[..., Restorer]):
        try:
            self.step = _isolated(ledger, actors, restorer)
        except Exception as e:
            self.step = partial(_raise, e)

    def __call__(self, table: pa.Table) -> pa.Table:
        return self.step(table)


def _isolated(ledger: Ledger, actors: int, restorer: Callable[..., Restorer]) -> Step:
    died = ledger.begin(("model",))
    if died >= LOADING_DEATHS + actors:  # others may be loading just now
        raise PipelineError(f"{died} processes died while they loaded the model (out of memory?)")
    start_pulse(ledger)
    metrics = BatchMetrics(ledger.run)
    step = Isolated(restorer(on_batch=metrics.add), "restore", ledger)
    ledger.end(("model",))
    return step


def _raise(error: Exception, table: pa.Table) -> NoReturn:
    raise error


def configure_ray_data() -> None:
    """Ray Data's settings that this flow relies on, for this process."""
    context = DataContext.get_current()
    # A shard stays one block from end to end: nothing may split it on the way.
    context.target_max_block_size = 2**60
    # A batch on a slow machine may take longer than any limit.
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    # Counting the pages of a process that allocates by the gigabyte stops it, once a second.
    context.memory_usage_poll_interval_s = None
    # What a step raised, not what Ray Data makes of it: people are to read it.
    context.raise_original_map_exception = True
    # Its notes on each execution go to its log file; people read this project's own progress.
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
