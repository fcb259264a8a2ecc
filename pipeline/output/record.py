"""``run.json``: what an output says of the run that made it."""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as package_version
from typing import Any

from pydantic import ValidationError

import diffpir
from manifests import storage
from manifests.secrets import without_secrets
from pipeline.errors import PipelineError
from pipeline.output.layout import Layout
from pipeline.output.plan import Shard, shards_of
from pipeline.spec.base import ABSOLUTE
from pipeline.spec.job import JobSpec

HINTS = {  # for values that say little when they are shown
    "manifest.sha256": " (its rows or columns are others, or an earlier version read them as other "
    "types)"
}
PACKAGES = ("ray", "torch", "numpy", "pyarrow", "pillow", "imagecodecs", "tifffile")


@dataclass(frozen=True)
class Record:
    """A run, as it was planned.

    Attributes:
        id: in the names of its parts.
        identity: what the results hang on; another job has another.
        shards: of the plan.
        spec: the job's specification, as plain values and without secrets.
        version: of the manifest's files (:func:`manifests.version.version_of`), where it is known.
    """

    id: str
    identity: dict
    shards: tuple[Shard, ...]
    spec: dict
    version: str | None

    @property
    def prior_channels(self) -> int:
        """That the prior takes; of records that do not say so, colours."""
        return int(self.identity.get("prior_channels", 3))

    def differences(self, identity: dict, spec: JobSpec) -> list[str]:
        """In what a job with that identity and specification is another one, in words."""
        planned, asked = _flat(self.identity), _flat(identity)
        # No result hangs on it; but the pictures of one run are to lie in one place.
        planned["images"] = _pictures(self.spec.get("images"), self.spec.get("output"))
        asked["images"] = _pictures(spec.images, spec.output)
        return [
            f"{name} was {planned.get(name)!r}, is {asked.get(name)!r}{HINTS.get(name, '')}"
            for name in sorted(planned.keys() | asked.keys())
            if planned.get(name) != asked.get(name)
        ]


def create_record(
    layout: Layout,
    identity: dict,
    spec: JobSpec,
    plan: Sequence[dict],
    version: str | None,
    model: str,
) -> bool:
    """Record a new run; False if another driver was faster, and its record is there.

    ``model`` is where the prior was found, with the commit of one of the hub.
    """
    record = {
        "id": uuid.uuid4().hex[:12],
        "identity": identity,
        "spec": without_secrets(spec.model_dump(mode="json", context=ABSOLUTE)),
        "manifest_version": version,
        "model": storage.shown(model),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: package_version(name) for name in PACKAGES}
        # Where the code was shipped to a cluster it is no installed package.
        | {"diffpir-on-ray": diffpir.__version__, "python": platform.python_version()},
        "plan": plan,
    }
    return storage.create_exclusive(layout.run, json.dumps(record, indent=1).encode())


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
        return Record(
            record["id"],
            dict(record["identity"]),
            shards,
            record.get("spec", {}),
            record.get("manifest_version"),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        name = storage.shown(layout.run)
        raise PipelineError(f"{name} is not a record of a run, or of an older version") from None


def spec_of(record: Record, layout: Layout) -> JobSpec:
    """The specification of the job that made an output.

    Raises:
        PipelineError: it is of another version.
    """
    try:
        return JobSpec.model_validate(record.spec)
    except ValidationError:
        name = storage.shown(layout.run)
        raise PipelineError(f"{name} is not the record of a job of this version") from None


def _pictures(images: str | None, output: str | None) -> str | None:
    """Where a job's pictures go: seen from its output if they lie below, which may have moved."""
    if not images:
        return None
    images, output = storage.absolute(images), storage.absolute(output or "")
    below = images.removeprefix(output.rstrip("/") + "/")
    return below if below != images else storage.shown(images)


def _flat(value: dict, prefix: str = "") -> dict:
    """Nested dicts as one, with dotted keys."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[prefix + key] = inner
    return flat
