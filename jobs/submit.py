"""Sending a job to a cluster: its file, the code, and the settings of storage."""

from __future__ import annotations

import os
import secrets
import shlex
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import diffpir
from jobs.cluster import Cluster
from jobs.specfile import load_job
from manifests import storage
from pipeline.errors import PipelineError
from pipeline.spec.job import JobSpec
from pipeline.spec.model import is_named
from pipeline.users_code import check_allowed

CODE = ("diffpir", "manifests", "pipeline", "jobs")
# What says how storage is reached, but gives no access to it; sent along where it is set.
SETTINGS = (
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_REQUEST_CHECKSUM_CALCULATION",
    "AWS_RESPONSE_CHECKSUM_VALIDATION",
    "DIFFPIR_LEVIN",
    "DIFFPIR_RETRY_SECONDS",
)
JOB_FILE = "job.yaml"


def submit(
    address: str | None,
    job: str,
    options: Sequence[str],
    env: Sequence[str],
    code: bool,
    allow_code: Collection[str] = (),
) -> tuple[Cluster, str, JobSpec]:
    """Submit a job file; what is wrong with it is found before the cluster hears of it.

    Args:
        address: of the cluster's job API (:class:`jobs.cluster.Cluster`).
        job: path or URI of the file.
        options: of ``diffpir run``.
        env: names of environment variables that the job is to have as they are here.
        code: send this installation's code along; else the nodes have it, in their image say.
        allow_code: modules and packages that the job may import there.

    Returns:
        The cluster, the job's id, and its specification.

    Raises:
        PipelineError, StorageError: the file, a path in it or a name in ``env`` is wrong, or the
            cluster does not take it.
    """
    spec = load_job(job)
    check_allowed(spec.code(), allow_code)
    _check_places(spec, job)
    missing = [name for name in env if name not in os.environ]
    if missing:
        raise PipelineError(f"--env: not set here: {', '.join(missing)}")
    cluster = Cluster(address)
    names = [*env, *(name for name in SETTINGS if os.environ.get(name) and name not in env)]
    secret = [name for name in names if name not in env and _has_secrets(os.environ[name])]
    if secret:
        raise PipelineError(
            f"{', '.join(secret)}: the URI holds a password or a signature, which everyone who "
            f"can reach the job API could read; give --env {' --env '.join(secret)} to send it"
        )
    id = f"diffpir-{secrets.token_hex(6)}"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, JOB_FILE).write_bytes(storage.read_bytes(job))
        runtime_env: dict = {
            "working_dir": folder,
            "env_vars": {name: os.environ[name] for name in names},
        }
        run = "diffpir run"
        if code:
            root = Path(diffpir.__file__).parents[1]
            runtime_env["py_modules"] = [str(root / name) for name in CODE]
            runtime_env["excludes"] = ["__pycache__"]
            run = "python -m jobs run"
        if spec.code():  # a cluster's driver has another user's configuration
            options = [*options, *(f"--allow-code={shlex.quote(name)}" for name in allow_code)]
        entrypoint = " ".join([run, JOB_FILE, *options])
        cluster.submit(entrypoint, id, storage.shown(spec.output), runtime_env)
    return cluster, id, spec


def _has_secrets(uri: str) -> bool:
    return storage.shown(uri) != uri


def _check_places(spec: JobSpec, job: str) -> None:
    """Other machines have another current folder: what is local must be absolute."""
    relative = [
        f"{field}: {place}"
        for field, place in _places(spec)
        if storage.is_local(place) and not storage.has_scheme(place) and not os.path.isabs(place)
    ]
    if relative:
        raise PipelineError(
            f"{storage.shown(job)}: for a cluster these must be URIs, or absolute paths on a file "
            f"system that all of its nodes share: {'; '.join(relative)}"
        )


def _places(spec: JobSpec) -> Iterator[tuple[str, str]]:
    yield "manifest", spec.manifest
    yield "output", spec.output
    if spec.images:
        yield "images", spec.images
    if not is_named(spec.model.path):
        yield "model", spec.model.path
    for field, file in spec.model.files.items():
        yield f"model.{field}", file
    for field, file in spec.task.files().items():
        yield f"task.{field}", file
    for key, file in spec.perceptual.weights.items():
        yield f"perceptual.{key}", file
