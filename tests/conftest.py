"""Fixtures that several test modules use."""

from __future__ import annotations

import os

import pytest

# Tests that want a dead server would wait two minutes for it; workers of Ray inherit this.
os.environ.setdefault("DIFFPIR_RETRY_SECONDS", "20")

pytest_plugins = ["tests.s3"]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> str:
    """A checkpoint of a small network with random weights: everything works, nothing is pretty."""
    from diffpir.networks.checkpoint import save_model
    from tests.support import make_net

    return str(save_model(make_net(), tmp_path_factory.mktemp("model") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def ray_cluster():
    """Ray on this machine, for a module's tests."""
    import ray

    from pipeline.resources import start_ray

    start_ray()
    yield
    ray.shutdown()
