"""From a specification to a planned run: what can be wrong is found here, before any work."""

from __future__ import annotations

import json
import platform
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import pyarrow as pa
import pyarrow.compute as pc

import diffpir
from diffpir.errors import DiffPIRError
from diffpir.networks.checkpoint import file_digest, load_model
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.schedule import Schedule
from manifests import storage
from manifests.errors import StorageError
from manifests.read import content_digest, read_manifest
from manifests.uris import scheme_of
from pipeline.checkpoint import local_file, located
from pipeline.errors import PipelineError
from pipeline.originals import check_originals
from pipeline.output.layout import Layout
from pipeline.output.plan import Shard, cut, shards_of, write_plan
from pipeline.output.record import read_record
from pipeline.perceptual import Judges, with_absolute_paths
from pipeline.schema import RESERVED
from pipeline.spec.base import ABSOLUTE
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets

HINTS = {  # of what two values do not tell
    "manifest.sha256": " (its rows or columns are others, or an earlier version read them as other "
    "types)"
}
PACKAGES = ("ray", "torch", "numpy", "pyarrow", "pillow", "imagecodecs")


@dataclass(frozen=True)
class Checked:
    """A job that nothing was found wrong with.

    Attributes:
        spec: what was asked for.
        table: the manifest.
        assets: the specification's own files.
        model: ``builtin``, or the absolute path or URI of the checkpoint.
        identity: all that decides the results: a resumed run must agree in it.
    """

    spec: JobSpec
    table: pa.Table
    assets: Assets
    model: str
    identity: dict

    @property
    def layout(self) -> Layout:
        return Layout(storage.absolute(self.spec.output))

    @property
    def base(self) -> str:
        """Folder that relative paths of the manifest start from."""
        return storage.parent(storage.absolute(self.spec.manifest))


@dataclass(frozen=True)
class Run:
    """A checked job, the id that its parts are named by, and its shards in order."""

    job: Checked
    id: str
    shards: tuple[Shard, ...]

    @property
    def rows(self) -> int:
        return sum(shard.rows for shard in self.shards)


def check(spec: JobSpec) -> Checked:
    """Read the manifest, the task's files and the model, and find what is wrong with them.

    Raises:
        PipelineError, ManifestError: in words for the user.
    """
    try:
        table = read_manifest(spec.manifest, reserved=RESERVED)
    except StorageError as e:
        raise PipelineError(f"manifest: {e}") from None
    digest = content_digest(table)
    check_task(spec, table.column_names)
    check_schemes(spec, table)
    check_originals(spec, table)
    assets = Assets.of(spec.task.assets(spec.mode, table))
    model = located(spec.model.path)
    identity = {
        **spec.resolved(),
        "manifest": {"rows": len(table), "sha256": digest},
        "model_digest": check_model(spec, model),
        "task_files": assets.digest,
        "perceptual": Judges(with_absolute_paths(spec.perceptual)).digests,
    }
    return Checked(spec, table, assets, model, identity)


def find_run(job: Checked) -> Run | None:
    """The run that this job's output already holds; None where it holds none.

    Raises:
        PipelineError: it is another job's, with a list of what differs.
    """
    if not storage.exists(job.layout.run):
        return None
    record = read_record(job.layout)
    planned, asked = _flat(record.identity), _flat(job.identity)
    # No result hangs on it; but the pictures of one run are to lie in one place.
    planned["images"] = _pictures(record.spec.get("images"), record.spec.get("output"))
    asked["images"] = _pictures(job.spec.images, job.spec.output)
    changed = [
        f"{name} was {planned.get(name)!r}, is {asked.get(name)!r}{HINTS.get(name, '')}"
        for name in sorted(planned.keys() | asked.keys())
        if planned.get(name) != asked.get(name)
    ]
    if changed:
        raise PipelineError(
            f"{job.layout.output} holds another job's results; choose another output. Changed: "
            + "; ".join(changed)
        )
    return Run(job, record.id, record.shards)


def _pictures(images: str | None, output: str | None) -> str | None:
    """Where a job's pictures go: seen from its output if they lie below, which may have moved."""
    if not images:
        return None
    images, output = storage.absolute(images), storage.absolute(output or "")
    below = images.removeprefix(output.rstrip("/") + "/")
    return below if below != images else storage.shown(images)


def plan_run(job: Checked, shard_rows: int) -> Run:
    """Plan the job: cut its manifest into shards of at most this many rows, and record it."""
    enlarged = job.spec.task.enlargement**2 if job.spec.mode == "restore" else 1
    files = write_plan(job.table, cut(job.table, shard_rows, enlarged), job.layout)
    record = {
        "id": uuid.uuid4().hex[:12],
        "identity": job.identity,
        "spec": _without_secrets(job.spec.model_dump(mode="json", context=ABSOLUTE)),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {name: version(name) for name in PACKAGES}
        # Where the code was shipped to a cluster it is no installed package.
        | {"diffpir-on-ray": diffpir.__version__, "python": platform.python_version()},
        "plan": files,
    }
    if storage.create_exclusive(job.layout.run, json.dumps(record, indent=1).encode()):
        return Run(job, record["id"], tuple(shards_of(files)))
    for entry in files:  # another driver was faster: its plan counts
        storage.remove(job.layout.plan(entry["file"]))
    return find_run(job)


def check_task(spec: JobSpec, columns: Sequence[str]) -> None:
    """Whatever the task leaves to the manifest must have a column there."""
    missing = [name for name in spec.task.missing if name not in columns]
    if missing:
        raise PipelineError(
            f"task.{', task.'.join(missing)}: neither given, nor a column of the manifest "
            f"{storage.shown(spec.manifest)} (it has {', '.join(columns)})"
        )


def check_schemes(spec: JobSpec, table: pa.Table) -> None:
    """Some image at least must be one that the job may read."""
    images = table["image"]
    named = pc.extract_regex(images, r"^(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+)://")
    found = pc.unique(pc.struct_field(named, "scheme")).drop_null().to_pylist()
    schemes = {scheme_of(f"{scheme}://") for scheme in found}
    paths = images.filter(pc.is_null(named))
    if len(paths):
        absolute = pc.all(pc.starts_with(paths, "/"), skip_nulls=True).as_py()
        schemes.add("file" if absolute else scheme_of(spec.manifest))
    if not schemes & spec.schemes:
        raise PipelineError(
            f"allowed_schemes: the images of {storage.shown(spec.manifest)} are named by "
            f"{', '.join(sorted(schemes))}, the job allows {', '.join(sorted(spec.schemes))}; "
            f"to trust this manifest, write allowed_schemes: [{', '.join(sorted(schemes))}] in a "
            "job file"
        )


def check_model(spec: JobSpec, model: str) -> str:
    """Load the checkpoint as the actors will, and return its digest.

    Raises:
        PipelineError: it cannot be read, is none, or no prior for images.
    """
    options = spec.model.model_dump(exclude={"path", "label"})
    try:
        path = local_file(model)
        EpsDenoiser(load_model(path, **options), Schedule.linear(), spec.model.label)
    except (DiffPIRError, StorageError) as e:
        raise PipelineError(f"model: {e}") from None
    return file_digest(path)


def check_writable(spec: JobSpec) -> None:
    """The pictures' folder takes files; the output shows when the plan is written.

    Raises:
        PipelineError: it does not.
    """
    if spec.images:
        try:
            storage.check_writable(storage.absolute(spec.images))
        except StorageError as e:
            raise PipelineError(f"images: {e}") from None


def _flat(value: dict, prefix: str = "") -> dict:
    """Nested dicts as one, with dotted keys."""
    flat = {}
    for key, inner in value.items():
        if isinstance(inner, dict):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[prefix + key] = inner
    return flat


def _without_secrets(value):
    """URIs as :func:`storage.shown` shows them, in plain values of any depth."""
    if isinstance(value, dict):
        return {key: _without_secrets(inner) for key, inner in value.items()}
    return storage.shown(value) if isinstance(value, str) else value
