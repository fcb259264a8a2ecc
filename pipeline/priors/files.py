"""The prior that a job names, as files of this machine."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffpir.checkpoints.builtin import builtin_path
from diffpir.checkpoints.folder import CONFIG, FOLDERS, SCHEDULER, Files, choose, find_files
from diffpir.errors import CheckpointError
from diffpir.schedule_file import read_schedule
from manifests import storage
from pipeline.priors.hub import Repository, fetched, repository_of
from pipeline.priors.known import KNOWN, fetch
from pipeline.spec.base import BUILTIN
from pipeline.spec.model import Model, is_named
from pipeline.versions import check_digest, digest_of

if TYPE_CHECKING:
    import torch

    from diffpir.checkpoints.checkpoint import Checkpoint
    from diffpir.checkpoints.prior import Prior
    from diffpir.networks.unet import UNet


@dataclass(frozen=True)
class PriorFiles:
    """A prior's files on this machine, and what the job says of it.

    Attributes:
        location: where all machines of a cluster find the same.
        files: of the checkpoint.
        schedule: a table of noise levels, if the job names one.
        told: what the job says itself.
    """

    location: str
    files: Files
    schedule: Path | None
    told: Mapping[str, Any]

    def load(self, dtype: torch.dtype) -> Prior[UNet]:
        """The prior, its weights of that type.

        Raises:
            CheckpointError, ConfigError: a file is none of its kind; names it.
        """
        from diffpir.checkpoints.prior import load_prior

        return load_prior(self.weights, dtype, **self.options)

    def read(self) -> Checkpoint:
        """As :meth:`load`, with the tensors as they are stored."""
        from diffpir.checkpoints.checkpoint import read_checkpoint

        return read_checkpoint(self.weights, **self.options)

    @property
    def weights(self) -> Path:
        return self.files.weights

    @cached_property
    def options(self) -> dict[str, Any]:
        options = {**self.told, "config": self.files.config, "scheduler": self.files.scheduler}
        return options | ({"schedule": read_schedule(self.schedule)} if self.schedule else {})

    def check(self, digest: str) -> None:
        """Raise PipelineError where they are others than a run was planned with."""
        check_digest("model", self.location, self.digest(), digest)

    @property
    def used(self) -> Path | None:
        """The file that may be mapped into memory."""
        return self.weights

    def digest(self) -> str:
        """SHA-256 of the checkpoint; where other files say what it is, of all their digests."""
        digests = {
            "weights": self.weights,
            "config": self.files.config,
            "scheduler": self.files.scheduler,
            "schedule": self.schedule,
        }
        named = {name: file for name, file in digests.items() if file}
        if len(named) == 1:
            return digest_of(self.weights)
        text = "".join(f"{name} {digest_of(file)}\n" for name, file in sorted(named.items()))
        return hashlib.sha256(text.encode()).hexdigest()


def located(model: Model) -> Model:
    """The same, for all machines of a cluster: absolute paths and URIs, or names."""
    update: dict[str, Any] = {}
    if not is_named(model.path):
        update["path"] = storage.absolute(model.path)
    if model.config:
        update["config"] = storage.absolute(model.config)
    if model.schedule and model.schedule.file:
        file = storage.absolute(model.schedule.file)
        update["schedule"] = model.schedule.model_copy(update={"file": file})
    return model.model_copy(update=update)


def files_of_prior(model: Model) -> PriorFiles:
    """Its files on this machine; those that are remote are fetched and kept.

    Raises:
        StorageError: one cannot be read.
        CheckpointError: a folder holds none, or the prior is one of a factory.
    """
    if model.factory:
        raise CheckpointError(
            f"{model.factory}: this takes a checkpoint, and not the network of a factory"
        )
    others = {field: storage.cached_local(file) for field, file in model.files.items()}
    model = located(model)
    path, location = local_place(model.path)
    files = find_files(path, others.get("config"))
    return PriorFiles(location, files, others.get("schedule.file"), model.told)


def local_file(path: str) -> Path:
    """The file or folder of a prior on this machine.

    Raises:
        StorageError: it cannot be read.
    """
    return local_place(path)[0]


def local_place(path: str) -> tuple[Path, str]:
    """Each machine has its own copy of the package, and of what it fetched; and the location."""
    if path == BUILTIN:
        return Path(builtin_path()), path
    if path in KNOWN:
        return fetch(path), path
    if repository := repository_of(path):
        folder, commit = fetched(repository)
        return folder, Repository(repository.name, commit).uri  # a branch may move meanwhile
    if storage.is_local(path):
        local = Path(storage.absolute(path))
        return (local if local.is_dir() else storage.cached_local(path)), path
    return _mirrored(path), path


def _mirrored(uri: str) -> Path:
    """A remote file, or the checkpoint's files of a remote folder, as a folder of links to them.

    Beside a file with diffusers' tensors, its configurations are looked for too.
    """
    folder, name = uri, ""
    if storage.kind_of(uri) != "directory":
        folder, name = storage.parent(uri), uri.rpartition("/")[2]
        if not name.endswith((".safetensors", ".bin")) or storage.scheme_of(uri).startswith("http"):
            return storage.cached_local(uri)
    places = [(sub, f"{folder}/{sub}".rstrip("/")) for sub in ("", *FOLDERS)]
    names = [
        f"{sub}/{file}".lstrip("/") for sub, place in places for file in storage.list_names(place)
    ]
    if name:
        wanted = [name, *(n for n in (CONFIG, SCHEDULER) if n in names)]
        if len(wanted) == 1:
            return storage.cached_local(uri)
    else:
        try:
            wanted = choose(names).all
        except CheckpointError as e:
            raise CheckpointError(f"{storage.shown(uri)}: {e}") from None
    kept = {file: storage.cached_local(f"{folder}/{file}") for file in wanted}
    version = hashlib.sha256("\n".join(f"{k} {v}" for k, v in sorted(kept.items())).encode())
    mirror = Path(storage.cache_folder()) / "folders" / version.hexdigest()
    for file, local in kept.items():
        link = mirror / file
        link.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(local.absolute())
    return mirror / name if name else mirror
