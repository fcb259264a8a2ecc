"""The checkpoint that a job names, as a file of the machine that asks."""

from __future__ import annotations

from pathlib import Path

from diffpir.networks.builtin import builtin_path
from manifests import storage
from pipeline.spec.base import BUILTIN


def located(path: str) -> str:
    """What all machines of a cluster can be told: ``builtin``, or an absolute path or URI."""
    return path if path == BUILTIN else storage.absolute(path)


def local_file(path: str) -> Path:
    """Each machine has its own copy of the package, and of what it fetched.

    Raises:
        StorageError: it cannot be read.
    """
    return Path(builtin_path()) if path == BUILTIN else storage.cached_local(path)
