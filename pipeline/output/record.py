"""``run.json``: what an output says of the run that made it."""

from __future__ import annotations

import json
from dataclasses import dataclass

from manifests import storage
from pipeline.errors import PipelineError
from pipeline.output.layout import Layout
from pipeline.output.plan import Shard, shards_of


@dataclass(frozen=True)
class Record:
    """A run, as it was planned.

    Attributes:
        id: in the names of its parts.
        identity: what the results hang on; another job has another.
        shards: of the plan.
        spec: the job's specification, as plain values and without secrets.
    """

    id: str
    identity: dict
    shards: tuple[Shard, ...]
    spec: dict


def read_record(layout: Layout) -> Record:
    """The record of the run that an output holds.

    Raises:
        PipelineError: it holds none, or one that is damaged or of an older version.
        StorageError: it cannot be read.
    """
    if not storage.exists(layout.run):
        raise PipelineError(f"{storage.shown(layout.output)} is no job's output (no run.json)")
    data = storage.read_bytes(layout.run)
    try:
        record = json.loads(data)
        shards = tuple(shards_of(record["plan"]))
        return Record(record["id"], dict(record["identity"]), shards, record.get("spec", {}))
    except (ValueError, KeyError, TypeError, RecursionError):
        name = storage.shown(layout.run)
        raise PipelineError(f"{name} is not a record of a run, or of an older version") from None
