"""Fixtures that several test modules use."""

from __future__ import annotations

import os

import pytest

from tests.local_ray import have_ray, stop_ray

# Tests that want a dead server would wait two minutes for it; workers of Ray inherit this.
os.environ.setdefault("DIFFPIR_RETRY_SECONDS", "20")
# PyTorch's threads spin while they wait for each other. With Ray's processes on the same few cores
# that makes an operation of a small network take milliseconds.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

pytest_plugins = ["tests.s3"]

# Files that take long, the longest first: none is to be left for the end of one of two processes.
LONGEST = [
    f"test_{name}.py"
    for name in (
        "cluster", "flow", "chaos", "cli", "storage_faults", "resume", "poison", "hostile",
        "s3_faults", "tiling", "prior", "tasks", "fid",
    )
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    """A checkpoint of a small network with random weights: everything works, nothing is pretty."""
    from diffpir.networks.checkpoint import save_model
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
