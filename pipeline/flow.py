"""The flow: from planned shards of a manifest to committed parts, on Ray Data."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import ray
from ray.data import ActorPoolStrategy, DataContext

from manifests import storage
from pipeline.plan import Shard
from pipeline.prepare import Run
from pipeline.problem import files_of
from pipeline.resources import ACTOR_CPUS, STEP_CPUS, Resources
from pipeline.restorer import Restorer
from pipeline.sink import ShardSink
from pipeline.source import ShardSource
from pipeline.steps import Encode, Fetch, decode

# Steps of equal resources fuse into one task: reading, fetching and decoding do; so do encoding
# and writing.
STEP = {"num_cpus": STEP_CPUS}


def restore_shards(run: Run, shards: Sequence[Shard], resources: Resources) -> None:
    """Restore and commit these shards; returns when all are."""
    job, spec, layout = run.job, run.job.spec, run.job.layout
    images = storage.absolute(spec.images) if spec.images else None
    files = tuple(name for name in files_of(spec) if name in job.table.column_names)
    (
        ray.data.read_datasource(
            ShardSource(layout, shards),
            override_num_blocks=len(shards),
            **STEP,
        )
        .map_batches(
            Fetch(job.base, files),
            batch_size=None,
            batch_format="pyarrow",
            **STEP,
        )
        .map_batches(decode, batch_size=None, batch_format="pyarrow", **STEP)
        .map_batches(
            Restorer,
            fn_constructor_args=(
                spec,
                job.assets,
                (job.model, job.identity["model_digest"]),
                resources.batch,
                resources.threads,
            ),
            compute=ActorPoolStrategy(size=resources.actors, max_tasks_in_flight_per_actor=2),
            batch_size=max(shard.rows for shard in shards),
            batch_format="pyarrow",
            num_cpus=ACTOR_CPUS,
            num_gpus=1 if resources.gpu else 0,
        )
        .map_batches(
            Encode(images),
            batch_size=None,
            batch_format="pyarrow",
            **STEP,
        )
        .write_datasink(
            ShardSink(layout, {shard.index: shard.rows for shard in shards}),
            ray_remote_args=STEP,
        )
    )


def configure_ray_data() -> None:
    """Ray Data's settings that this flow relies on, for this process."""
    context = DataContext.get_current()
    # A shard stays one block from end to end: nothing may split it on the way.
    context.target_max_block_size = 2**60
    # A batch on a slow machine may take longer than any limit.
    context.execution_no_progress_timeout_s = -1
    context.enable_progress_bars = False
    # Its notes on each execution go to its log file; people read this project's own progress.
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.ERROR)
