"""A pytest plugin: a real S3 server for the session, and a fresh prefix in it for each test.

The server is that of ``scripts/s3-server``, a second or two to start. Without Ceph installed the
tests that want it are skipped; with ``DIFFPIR_REQUIRE_S3=1`` they fail.
"""

from __future__ import annotations

import os
import random
import re
import shlex
import shutil
import socket
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "s3-server"
BUCKET = "diffpir-tests"


def free_port() -> int:
    """The first of three free ports in a row, between those of Ray and those of the system."""
    while True:
        port = random.SystemRandom().randrange(20_000, 30_000)
        try:
            for p in (port, port + 1, port + 2):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", p))
            return port
        except OSError:
            continue


def forget_clients() -> None:
    """Make s3fs read the environment anew: it keeps its instances, with their endpoint."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def bucket_on(folder: Path, patch: pytest.MonkeyPatch) -> str:
    """Start the server in ``folder``, point the environment at it, and make a bucket."""
    started = subprocess.run(
        [SCRIPT, "start", folder, str(free_port())], capture_output=True, text=True, timeout=120
    )
    if started.returncode:
        pytest.fail(f"s3-server: {started.stderr[-2000:]}")
    for name, value in re.findall(r"^export (\w+)=(.*)$", started.stdout, re.M):
        patch.setenv(name, shlex.split(value)[0])
    # Nobody's profile or token may get in between.
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        patch.delenv(name, raising=False)
    forget_clients()

    import s3fs

    s3fs.S3FileSystem().mkdir(BUCKET)
    return f"s3://{BUCKET}"


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of a bucket on a real S3 server; the environment names the server and its keys."""
    if shutil.which("radosgw") is None:
        reason = "no S3 server: radosgw is not installed (scripts/s3-server install)"
        if os.environ.get("DIFFPIR_REQUIRE_S3") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("s3")
    with pytest.MonkeyPatch.context() as patch:
        try:
            yield bucket_on(folder, patch)
        finally:
            subprocess.run([SCRIPT, "stop", folder], check=True)
    forget_clients()


@pytest.fixture
def s3_prefix(s3: str) -> str:
    """URI of a prefix that no other test uses."""
    return f"{s3}/{uuid.uuid4().hex[:12]}"
