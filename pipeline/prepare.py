"""From a specification to a job: whatever can be wrong is found here, before any work."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from diffpir.config import SamplerConfig
from diffpir.errors import DiffPIRError
from diffpir.networks.checkpoint import load_model, read_spectrum
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.schedule import Schedule
from manifests import storage
from manifests.errors import StorageError
from manifests.read import content_digest, read_manifest
from manifests.schema import check_depth
from manifests.secrets import without_secrets
from manifests.uris import scheme_of
from pipeline.errors import PipelineError
from pipeline.originals import check_originals
from pipeline.output.layout import Layout
from pipeline.perceptual import Judges, with_absolute_paths
from pipeline.schema import RESERVED
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.users_code import check_allowed, code_digests
from pipeline.versions import Versions, digest_of, local_file, located


@dataclass(frozen=True)
class Job:
    """A job that nothing was found wrong with.

    Attributes:
        spec: what was asked for.
        table: the manifest.
        assets: the specification's own files.
        model: ``builtin``, or the absolute path or URI of the checkpoint.
        versions: what every worker must find.
        identity: all that decides the results: a resumed run must agree in it.
    """

    spec: JobSpec
    table: pa.Table
    assets: Assets
    model: str
    versions: Versions
    identity: dict

    @property
    def layout(self) -> Layout:
        return Layout(storage.absolute(self.spec.output))

    @property
    def base(self) -> str:
        """Folder that relative paths of the manifest start from."""
        return storage.parent(storage.absolute(self.spec.manifest))


def check(spec: JobSpec, allow_code: Collection[str] = ()) -> Job:
    """Read the manifest, the task's files and the model, and find what is wrong with them.

    Args:
        spec: of the job.
        allow_code: modules and packages that the job may import.

    Raises:
        PipelineError, ManifestError: in words for the user.
    """
    check_allowed(spec, allow_code)
    try:
        table = read_manifest(spec.manifest, reserved=RESERVED, max_bytes=spec.max_manifest_bytes)
    except StorageError as e:
        raise PipelineError(f"manifest: {e}") from None
    check_depth(table, storage.shown(spec.manifest))
    digest = content_digest(table)
    check_task(spec, table.column_names)
    check_schemes(spec, table)
    check_originals(spec, table)
    code = code_digests(spec)
    assets = Assets.of(spec.task.assets(spec.mode, table))
    model = located(spec.model.path)
    model_digest, config = check_model(spec, model)
    versions = Versions(
        model=model_digest,
        perceptual=Judges(with_absolute_paths(spec.perceptual)).digests,
        code=code,
    )
    identity = without_secrets(spec.resolved(config)) | {
        "manifest": {"rows": len(table), "sha256": digest},
        "model_digest": versions.model,
        "task_files": assets.digest,
        "perceptual": versions.perceptual,
        "code": code,
    }
    return Job(spec, table, assets, model, versions, identity)


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


def check_model(spec: JobSpec, model: str) -> tuple[str, SamplerConfig]:
    """Load the checkpoint as the actors will: its digest, and the sampler's settings with it.

    Raises:
        PipelineError: it cannot be read, is none, or no prior for images, or none for the settings.
    """
    options = spec.model.model_dump(exclude={"path", "label"})
    try:
        path = local_file(model)
        EpsDenoiser(load_model(path, **options), Schedule.linear(), spec.model.label)
        spectrum = read_spectrum(path)
    except (DiffPIRError, StorageError) as e:
        raise PipelineError(f"model: {e}") from None
    try:
        config = spec.sampler_config(spectral=spectrum is not None)
        config.timesteps()
    except ValueError as e:
        raise PipelineError(f"sampler: {e}") from None
    if config.method == "diffpir-spectral" and spectrum is None:
        raise PipelineError(
            f"sampler.method: {config.method} needs the prior's error spectrum, which "
            f"{storage.shown(model)} does not have; to measure it: diffpir models calibrate"
        )
    return digest_of(path), config


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
