"""From a specification to a job: whatever can be wrong is found here, before any work."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import get_args

import torch

from diffpir.config import Method, SamplerConfig
from diffpir.errors import DiffPIRError
from diffpir.networks.custom_check import check_custom
from diffpir.networks.diffusion import Diffusion
from diffpir.networks.prior_check import check_prior
from diffpir.rivals import RIVALS
from diffpir.spectrum import CHANNELS
from manifests import storage
from manifests.errors import StorageError
from manifests.manifest import Manifest
from manifests.scan import scan
from manifests.schema import LABEL, holds_labels
from manifests.secrets import without_secrets
from manifests.version import version_of
from pipeline.chain import source_of
from pipeline.errors import PipelineError
from pipeline.job import Job
from pipeline.job_warnings import job_warnings
from pipeline.originals import check_originals
from pipeline.output.layout import Layout
from pipeline.output.record import read_record
from pipeline.priors.prior import prior_of, shown_name
from pipeline.restoring.memory import activation_bytes
from pipeline.restoring.perceptual import PerceptualMetrics, with_absolute_paths
from pipeline.schema import RESERVED
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from pipeline.users_code import check_allowed, code_digests
from pipeline.versions import Versions


def check(spec: JobSpec, allow_code: Collection[str] = (), *, fresh: bool = False) -> Job:
    """Read the manifest, the task's files and the model, and find what is wrong with them.

    Args:
        spec: of the job.
        allow_code: modules and packages that the job may import.
        fresh: what the output holds of an earlier run does not count.

    Raises:
        PipelineError, ManifestError: in words for the user.
    """
    check_allowed(spec.code(), allow_code)
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
    check_method(spec, manifest.schema.names)
    assets = Assets.of(spec.task.all_assets(spec.mode, manifest.column("kernel")))
    columns = [f.name for f in manifest.schema if f.name != LABEL or holds_labels(f.type)]
    prior = check_model(spec, columns)
    versions = Versions(
        model=prior.digest,
        perceptual=PerceptualMetrics(with_absolute_paths(spec.perceptual)).digests,
        code=code,
    )
    identity = without_secrets(spec.resolved(prior.config)) | {
        "manifest": planned,
        "model_digest": versions.model,
        "diffusion": prior.diffusion.identity,
        "prior_channels": prior.channels,
        "task_files": assets.digest,
        "perceptual": versions.perceptual,
        "code": code,
    }
    return Job(
        spec=spec,
        manifest=manifest,
        rows=planned["rows"],
        version=version,
        assets=assets,
        model=prior.location,
        channels=prior.channels,
        versions=versions,
        identity=identity,
        notes=(*prior.notes, *job_warnings(spec, assets)),
        activations=prior.activations,
    )


def check_task(spec: JobSpec, columns: Sequence[str]) -> None:
    """Whatever the task leaves to the manifest must have a column there."""
    missing = [name for name in spec.task.missing if name not in columns]
    if {"noise", "noise_map"} & set(columns):  # which say more than one level
        missing = [name for name in missing if name != "noise_level"]
    if missing:
        nor = f"neither given, nor a column of the manifest {storage.shown(spec.manifest)}"
        has = f"(it has {', '.join(columns)})"
        raise PipelineError("\n".join(f"task.{name}: {nor} {has}" for name in missing))


def check_method(spec: JobSpec, columns: Collection[str]) -> None:
    """The method must be able to do the task."""
    asked = spec.sampler.asked
    if asked not in RIVALS or not RIVALS[asked].spectral:
        return
    if not spec.task.decomposes(spec.mode, columns):
        able = [name for name in get_args(Method) if name not in RIVALS]
        able += [name for name, traits in RIVALS.items() if not traits.spectral]
        raise PipelineError(
            f"sampler.method: {asked} needs the operator's singular values, which this "
            f"{spec.task.kind} does not have at hand (blurs and reductions have them with "
            f"boundary: circular, and without a mask); methods that can do it: {', '.join(able)}"
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


@dataclass(frozen=True)
class CheckedPrior:
    """A prior that goes with a job.

    Attributes:
        location: where all machines find it.
        digest: of its files.
        channels: that it takes.
        config: the sampler's settings with it.
        diffusion: that it was trained in.
        notes: for the user.
        activations: bytes for each pixel that the network keeps where it is differentiated.
    """

    location: str
    digest: str
    channels: int
    config: SamplerConfig
    diffusion: Diffusion
    notes: tuple[str, ...]
    activations: float | None


def check_model(spec: JobSpec, columns: Collection[str] = ()) -> CheckedPrior:
    """Load the checkpoint as the actors will, and try it once.

    Args:
        spec: of the job.
        columns: of its manifest.

    Raises:
        PipelineError: it cannot be read, is none, or no prior for images, or none for the settings.
    """
    try:
        files = prior_of(spec.model)
        prior = files.load(torch.float32)
        denoise = prior.denoiser(**spec.model.conditions)
        check_custom(denoise, gradients=spec.takes_gradients)
    except (DiffPIRError, StorageError) as e:
        raise PipelineError(f"model: {e}") from None
    check_channels(spec, denoise.channels)
    check_labels(spec, denoise.classes, columns)
    if spec.tile % denoise.net.config.stride:
        raise PipelineError(
            f"tile: {spec.tile} is no multiple of {denoise.net.config.stride}, as this prior needs "
            "the sides of images to be"
        )
    schedule = prior.diffusion.schedule
    try:
        config = spec.sampler_config(spectral=prior.spectrum is not None)
        config.timesteps(schedule)
    except ValueError as e:
        raise PipelineError(f"sampler: {e}") from None
    if config.method == "diffpir-spectral" and denoise.channels not in CHANNELS:
        raise PipelineError(
            f"sampler.method: {config.method} is for priors of colours (3 channels) or of greys "
            f"(1), and this one takes {denoise.channels}; leave the method out, or give diffpir"
        )
    if config.method == "diffpir-spectral" and prior.spectrum is None:
        raise PipelineError(
            f"sampler.method: {config.method} needs the prior's error spectrum, which "
            f"{shown_name(spec.model)} does not have; to measure it: diffpir models calibrate"
        )
    doubt = check_prior(denoise)
    notes = [f"model: {doubt}"] if doubt else []
    if spec.uncertainty and spec.uncertainty_scale_of(config) == 1:
        notes.append(
            "uncertainty: it is the deviation of the samples, which is often several times smaller "
            "than the error; a benchmark on clean pictures measures how many times (column "
            "uncertainty_scale), for the job's uncertainty_scale"
        )
    activations = activation_bytes(denoise) if spec.takes_gradients else None
    return CheckedPrior(
        files.location,
        files.digest(),
        denoise.channels,
        config,
        prior.diffusion,
        tuple(notes),
        activations,
    )


def check_labels(spec: JobSpec, classes: int, columns: Collection[str]) -> None:
    """A prior of so many classes is told which one, by the job or by its manifest's rows.

    Raises:
        PipelineError: nobody tells.
    """
    if classes and spec.model.usual_label is None and LABEL not in columns:
        raise PipelineError(
            f"model.label: this prior is class-conditional, and is told neither by the job nor by "
            f"a column {LABEL} of the manifest which class (0 to {classes - 1}) a picture is; give "
            "label, or for no class the null_label that it was trained with"
        )


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


def check_place(spec: JobSpec) -> None:
    """As :func:`check_writable`, where nothing is to be made: a local folder is only looked at.

    Raises:
        PipelineError: the pictures' folder would take no files.
    """
    if spec.images is None or not storage.is_local(spec.images):
        check_writable(spec)
        return
    folder = storage.absolute(spec.images)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise PipelineError(f"images: {folder} is a file, not a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PipelineError(f"images: {folder}: nothing can be written there")
