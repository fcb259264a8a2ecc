"""Networks of the Hugging Face Hub: ``org/name``, or ``org/name@revision``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffpir.checkpoints.folder import CONFIG, choose, find_files
from diffpir.errors import CheckpointError
from manifests.errors import StorageError

FILES = (".pt", ".pth", ".ckpt", ".bin", ".pkl", ".safetensors")  # such a name is a file's
_NAME = re.compile(r"(hf://)?([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@([\w.-]+))?")
_WITHOUT_SCHEME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*@[\w./-]+")


@dataclass(frozen=True)
class Repository:
    """A repository of the hub, at a revision (a branch, a tag or a commit)."""

    name: str
    revision: str | None

    @property
    def uri(self) -> str:
        return f"hf://{self.name}" + (f"@{self.revision}" if self.revision else "")


def repository_of(location: str) -> Repository | None:
    """The repository that a text names; None for a path, a file or another URI.

    What lies here under that path wins.
    """
    if location.endswith(FILES) or location.startswith("hf://datasets/"):
        return None
    if not location.startswith("hf://"):
        if os.path.exists(location):
            return None
        if _WITHOUT_SCHEME.fullmatch(location):
            name, _, revision = location.partition("@")
            return Repository(name, revision)
    found = _NAME.fullmatch(location)
    return Repository(found[2], found[3]) if found else None


def fetched(repository: Repository) -> tuple[Path, str]:
    """The folder with a network's files, fetched and kept by the hub's own library; the commit.

    Without a connection, what was fetched before is used.

    Raises:
        StorageError: there is no such repository, no network in it, or no way to it.
    """
    hub = _library(repository)
    errors = hub.errors
    name, revision = repository.name, repository.revision
    try:
        info = hub.HfApi().model_info(name, revision=revision)
        files = choose([file.rfilename for file in info.siblings or ()]).all
        folder = hub.snapshot_download(name, revision=info.sha, allow_patterns=files)
        return Path(folder), str(info.sha)
    except errors.RepositoryNotFoundError:
        raise StorageError(
            f"{repository.uri}: there is no such model on the hub, or only for those who log in "
            "(HF_TOKEN); as a path, there is no such file here either",
            "not_found",
        ) from None
    except errors.RevisionNotFoundError:
        raise StorageError(f"{repository.uri}: it has no such revision", "not_found") from None
    except CheckpointError as e:
        raise StorageError(f"{repository.uri}: {e}", "not_found") from None
    except Exception as e:  # its HTTP client's, which differ from version to version
        kept = _kept(hub, repository)
        if kept is None:
            raise StorageError(
                f"{repository.uri}: the hub does not answer, and it was not fetched before "
                f"({(str(e).splitlines() or [type(e).__name__])[0][:200]})"
            ) from None
        return kept, kept.name


def _kept(hub: Any, repository: Repository) -> Path | None:
    """The folder that was fetched before, if it was."""
    try:
        folder = hub.snapshot_download(
            repository.name,
            revision=repository.revision,
            local_files_only=True,
            allow_patterns=[CONFIG, f"*/{CONFIG}"],
        )
        find_files(Path(folder))
    except (OSError, CheckpointError):
        return None
    return Path(folder)


def _library(repository: Repository) -> Any:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError:
        raise StorageError(
            f"{repository.uri}: models of the hub need the extra 'hf': "
            "pip install 'diffpir-on-ray[hf]'"
        ) from None
    return huggingface_hub
