"""The S3 server of ``scripts/s3-server``, and the death of what answers its requests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.s3 import SCRIPT, bucket_on

STOP_SECONDS = 60


class Gateway:
    """The server, from entering to leaving; the environment names it for all that is started then.

    Attributes:
        root: URI of a bucket.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._patch = pytest.MonkeyPatch()
        self._restart: subprocess.Popen | None = None

    def __enter__(self) -> Gateway:
        self.folder.mkdir()
        try:
            self.root = bucket_on(self.folder, self._patch)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc) -> None:
        try:
            self.wait()
        finally:
            subprocess.run([SCRIPT, "stop", self.folder], timeout=STOP_SECONDS, check=False)
            self._patch.undo()

    @property
    def is_up(self) -> bool:
        return self._restart is None or self._restart.poll() is not None

    def kill(self, seconds: float) -> bool:
        """Kill the gateway; it comes again after so many seconds, and the data stays."""
        if not self.is_up:
            return False
        self._check()
        self._restart = subprocess.Popen([SCRIPT, "restart-gateway", self.folder, f"{seconds:.1f}"])
        return True

    def wait(self) -> None:
        """Until it is up again."""
        if self._restart is not None:
            self._restart.wait(timeout=120)
            self._check()

    def _check(self) -> None:
        if self._restart is not None and self._restart.returncode:
            raise RuntimeError(f"s3-server restart-gateway: {self._restart.returncode}")
        self._restart = None
