"""What results depend on beside their rows: every worker must have it in the run's version.

A file may be replaced, and code changed, while a run is at work. The run knows both by their
digests; a worker that finds another digest stops the run, before anything wrong is committed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from diffpir.checkpoints.checkpoint import file_digest
from manifests import storage
from pipeline.errors import PipelineError


@dataclass(frozen=True)
class Versions:
    """SHA-256 digests of the run.

    Attributes:
        model: of the prior's files.
        perceptual: field of ``perceptual`` -> of the file that it names.
        code: field of the job -> of the source of the module that it names.
    """

    model: str
    perceptual: Mapping[str, str] = field(default_factory=dict)
    code: Mapping[str, str] = field(default_factory=dict)


def check_digest(what: str, location: str, found: str, expected: str) -> None:
    """Raise PipelineError where a file or a module is another than the run was planned with.

    Args:
        what: the field of the job.
        location: of the file or module.
        found, expected: digests.
    """
    if found != expected:
        raise PipelineError(
            f"{what}: {storage.shown(location)} has changed since the run was planned: its SHA-256 "
            f"is {found[:12]}..., the run's is {expected[:12]}...; put back what was there, or "
            "start the job with another output"
        )


class Unchanged:
    """A file whose content is mapped into memory: whoever writes over it changes what was loaded.

    A file that is moved onto its path does no harm: what was mapped stays.
    """

    def __init__(self, what: str, path: Path):
        self.what, self.path, self.state = what, path, file_state(path)

    def check(self) -> None:
        """Raise PipelineError if the file was written over."""
        try:
            now = file_state(self.path)
        except OSError:  # it was removed, or its storage is away
            return
        if now != self.state and now[2] == self.state[2]:
            raise PipelineError(
                f"{self.what}: {self.path} was written over while it was in use; put back what was "
                "there, or start the job with another output"
            )


def digest_of(path: Path) -> str:
    """SHA-256 of a local file, computed once on each machine as long as the file is the same.

    Files are told apart by path, size, time of change and inode.
    """
    state = file_state(path)
    key = hashlib.sha256(os.fsencode(path.absolute())).hexdigest()
    known = Path(storage.cache_folder()) / "digests" / f"{key}.json"
    try:
        record = json.loads(known.read_text())
        if record["state"] == list(state):
            return str(record["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not known yet, or not to be read
    digest = file_digest(path)
    if file_state(path) == state:
        _keep(known, {"state": state, "sha256": digest})
    return digest


def file_state(path: Path) -> tuple[int, int, int]:
    """Size, time of change in nanoseconds, and inode: what changes when a file does."""
    found = path.stat()
    return found.st_size, found.st_mtime_ns, found.st_ino


def _keep(file: Path, record: dict) -> None:
    partial = file.with_name(f".{os.getpid()}-{file.name}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps(record))
        os.replace(partial, file)
    except OSError:  # it is computed again the next time
        return
