"""The prior that a job names, as files of this machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffpir.networks.builtin import builtin_path
from diffpir.schedule_file import read_schedule
from manifests import storage
from pipeline.spec.base import BUILTIN
from pipeline.spec.model import Model
from pipeline.versions import digest_of

if TYPE_CHECKING:
    import torch

    from diffpir.networks.checkpoint import Checkpoint
    from diffpir.networks.prior import Prior


@dataclass(frozen=True)
class PriorFiles:
    """A prior's files on this machine, and what the job says of it.

    Attributes:
        weights: the checkpoint.
        others: files that say more of it, by the field of ``model`` that names them.
        told: what the job says itself.
    """

    weights: Path
    others: Mapping[str, Path]
    told: Mapping[str, Any]

    def load(self, dtype: torch.dtype) -> Prior:
        """The prior, its weights of that type.

        Raises:
            CheckpointError, ConfigError: a file is none of its kind; names it.
        """
        from diffpir.networks.prior import load_prior

        return load_prior(self.weights, dtype, **self.options)

    def read(self) -> Checkpoint:
        """As :meth:`load`, with the tensors as they are stored."""
        from diffpir.networks.checkpoint import read_checkpoint

        return read_checkpoint(self.weights, **self.options)

    @cached_property
    def options(self) -> dict[str, Any]:
        schedule = self.others.get("schedule.file")
        return {**self.told, **({"schedule": read_schedule(schedule)} if schedule else {})}

    def digest(self) -> str:
        """SHA-256 of the checkpoint; where other files say what it is, of all their digests."""
        if not self.others:
            return digest_of(self.weights)
        digests = {"weights": self.weights, **self.others}
        text = "".join(f"{name} {digest_of(file)}\n" for name, file in sorted(digests.items()))
        return hashlib.sha256(text.encode()).hexdigest()


def located(model: Model) -> Model:
    """The same, for all machines of a cluster: absolute paths and URIs, or names."""
    update: dict[str, Any] = {}
    if model.path != BUILTIN:
        update["path"] = storage.absolute(model.path)
    if model.schedule and model.schedule.file:
        file = storage.absolute(model.schedule.file)
        update["schedule"] = model.schedule.model_copy(update={"file": file})
    return model.model_copy(update=update)


def files_of_prior(model: Model) -> PriorFiles:
    """Its files on this machine; those that are remote are fetched and kept.

    Raises:
        StorageError: one cannot be read.
    """
    others = {field: storage.cached_local(file) for field, file in model.files.items()}
    return PriorFiles(local_file(model.path), others, model.options)


def local_file(path: str) -> Path:
    """Each machine has its own copy of the package, and of what it fetched.

    Raises:
        StorageError: it cannot be read.
    """
    return Path(builtin_path()) if path == BUILTIN else storage.cached_local(path)
