"""From a specification to a job: whatever can be wrong is found here, before any work."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from diffpir.config import SamplerConfig
from diffpir.errors import DiffPIRError
from diffpir.networks.checkpoint import load_model, read_spectrum
from diffpir.networks.denoiser import EpsDenoiser
from diffpir.schedule import Schedule
from diffpir.spectrum import CHANNELS
from manifests import storage
from manifests.errors import StorageError
from manifests.manifest import Manifest
from manifests.scan import scan
from manifests.secrets import without_secrets
from manifests.version import version_of
from pipeline.chain import source_of
from pipeline.errors import PipelineError
from pipeline.job import Job
from pipeline.originals import check_originals
from pipeline.output.layout import Layout
from pipeline.output.record import read_record
from pipeline.perceptual import Judges, with_absolute_paths
from pipeline.schema import RESERVED
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.users_code import check_allowed, code_digests
from pipeline.versions import Versions, digest_of, local_file, located


def check(spec: JobSpec, allow_code: Collection[str] = (), *, fresh: bool = False) -> Job:
    """Read the manifest, the task's files and the model, and find what is wrong with them.

    Args:
        spec: of the job.
        allow_code: modules and packages that the job may import.
        fresh: what the output holds of an earlier run does not count.

    Raises:
        PipelineError, ManifestError: in words for the user.
    """
    check_allowed(spec, allow_code)
    try:
        manifest = Manifest(source_of(spec), RESERVED)
        check_task(spec, manifest.schema.names)
        version = version_of(manifest.files, spec.columns)
        planned = None if fresh else _planned(spec, version)
        if planned is None:
            contents = scan(manifest)
            planned = {"rows": contents.rows, "sha256": contents.sha256}
            check_schemes(spec, contents.schemes)
            check_originals(spec, manifest)
    except StorageError as e:
        raise PipelineError(f"manifest: {e}") from None
    code = code_digests(spec)
    assets = Assets.of(spec.task.all_assets(spec.mode, manifest.column("kernel")))
    model = located(spec.model.path)
    model_digest, config, channels = check_model(spec, model)
    versions = Versions(
        model=model_digest,
        perceptual=Judges(with_absolute_paths(spec.perceptual)).digests,
        code=code,
    )
    identity = without_secrets(spec.resolved(config)) | {
        "manifest": planned,
        "model_digest": versions.model,
        "prior_channels": channels,
        "task_files": assets.digest,
        "perceptual": versions.perceptual,
        "code": code,
    }
    return Job(
        spec, manifest, planned["rows"], version, assets, model, channels, versions, identity
    )


def check_task(spec: JobSpec, columns: Sequence[str]) -> None:
    """Whatever the task leaves to the manifest must have a column there."""
    missing = [name for name in spec.task.missing if name not in columns]
    if {"noise", "noise_map"} & set(columns):  # which say more than one level
        missing = [name for name in missing if name != "noise_level"]
    if missing:
        raise PipelineError(
            f"task.{', task.'.join(missing)}: neither given, nor a column of the manifest "
            f"{storage.shown(spec.manifest)} (it has {', '.join(columns)})"
        )


def check_schemes(spec: JobSpec, schemes: Collection[str]) -> None:
    """Some image at least must be one that the job may read."""
    if not spec.schemes & set(schemes):
        raise PipelineError(
            f"allowed_schemes: the images of {storage.shown(spec.manifest)} are named by "
            f"{', '.join(sorted(schemes))}, the job allows {', '.join(sorted(spec.schemes))}; "
            f"to trust this manifest, write allowed_schemes: [{', '.join(sorted(schemes))}] in a "
            "job file"
        )


def _planned(spec: JobSpec, version: str | None) -> dict | None:
    """What the record of this output's run says of the manifest, if its files are still the same.

    Then all of its rows were looked at before, and need not be once more.
    """
    layout = Layout(storage.absolute(spec.output))
    if version is None or not storage.exists(layout.run):
        return None
    record = read_record(layout)
    return record.identity["manifest"] if record.version == version else None


def check_model(spec: JobSpec, model: str) -> tuple[str, SamplerConfig, int]:
    """Load the checkpoint as the actors will: its digest, the sampler's settings, its channels.

    Raises:
        PipelineError: it cannot be read, is none, or no prior for images, or none for the settings.
    """
    options = spec.model.model_dump(exclude={"path", "label"})
    try:
        path = local_file(model)
        net = load_model(path, **options)
        EpsDenoiser(net, Schedule.linear(), spec.model.label)
        spectrum = read_spectrum(path)
    except (DiffPIRError, StorageError) as e:
        raise PipelineError(f"model: {e}") from None
    channels = net.config.in_channels
    check_channels(spec, channels)
    try:
        config = spec.sampler_config(spectral=spectrum is not None)
        config.timesteps()
    except ValueError as e:
        raise PipelineError(f"sampler: {e}") from None
    if config.method == "diffpir-spectral" and channels not in CHANNELS:
        raise PipelineError(
            f"sampler.method: {config.method} is for priors of colours (3 channels) or of greys "
            f"(1), and this one takes {channels}; leave the method out, or give diffpir"
        )
    if config.method == "diffpir-spectral" and spectrum is None:
        raise PipelineError(
            f"sampler.method: {config.method} needs the prior's error spectrum, which "
            f"{storage.shown(model)} does not have; to measure it: diffpir models calibrate"
        )
    return digest_of(path), config, channels


def check_channels(spec: JobSpec, channels: int) -> None:
    """Whether the job goes with a prior of so many channels.

    Raises:
        PipelineError: it does not.
    """
    takes = f"and this prior takes {channels}"
    if spec.channels and channels != 1:
        raise PipelineError(
            f"channels: {spec.channels} is for priors of one channel, {takes}; leave it out"
        )
    if spec.task.gives_colour and channels != 3:
        raise PipelineError(
            f"task: {spec.task.kind} gives colours, which takes a prior of 3 channels, {takes}"
        )
    if channels in (1, 3):
        return
    if spec.task.reads_stored:
        raise PipelineError(f"task: {spec.task.kind} reads files of 1 or 3 channels, {takes}")
    if not spec.picture.holds_arrays:
        raise PipelineError(
            f"picture: {spec.picture.format} holds 1 or 3 channels, {takes}; write picture: tiff, "
            "or npy"
        )


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
