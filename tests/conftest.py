"""Fixtures that several test modules use."""

from __future__ import annotations

import os

import pytest

from manifests.storage.dead_hosts import DEAD_HOSTS
from tests.local_ray import have_ray, stop_ray

# Tests that want a dead server would wait two minutes for it; workers of Ray inherit this.
os.environ.setdefault("DIFFPIR_RETRY_SECONDS", "20")
# PyTorch's threads spin while they wait for each other. With Ray's processes on the same few cores
# that makes an operation of a small network take milliseconds.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two files of tests are at work at a time
# Ray's workers yield to every other process by default: beside a file of numeric tests they starve.
os.environ.setdefault("RAY_worker_niceness", "0")
# PyTorch reads the two of OpenMP when it is loaded.
import torch

# Kernels for GPUs are interpreted where there is none; Triton looks when it is first imported.
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

pytest_plugins = ["tests.browser", "tests.s3", "tests.clouds"]  # the last imports the second

# Files that are not to be left for the end of one of two processes.
LONGEST = (
    "test_cluster.py", "test_versions.py", "test_chaos.py", "test_flow.py", "test_cli.py",
    "test_storage_faults.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def hosts_are_alive() -> None:
    """Servers that failed on purpose in one test are asked again in the next, by the same port."""
    DEAD_HOSTS.forget()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    """A checkpoint of a small network with random weights: everything works, nothing is pretty."""
    from diffpir.checkpoints.checkpoint import save_model
    from tests.support import make_net

    return str(save_model(make_net(), tmp_path_factory.mktemp("model") / "tiny.safetensors"))


@pytest.fixture(scope="session")
def ray_ends():
    """What starts Ray for one module leaves it to the next, and at last it ends here."""
    yield
    stop_ray()


@pytest.fixture(scope="module")
def ray_cluster(ray_ends):
    """Ray on this machine, for a module's tests."""
    have_ray()
