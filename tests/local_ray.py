"""Ray on this machine for any number of test modules: each start of it takes many seconds."""

from __future__ import annotations

import os

import pytest

# By Ray's processes, and set by tests.
INHERITED = ("AWS_", "AZURE_", "DIFFPIR_", "PYTHONPATH", "STORAGE_EMULATOR_HOST")
_told: dict[str, str] = {}  # to the processes of the Ray that runs


def have_ray() -> None:
    """Leave Ray as another module left it, unless the environment has changed since its start."""
    import ray

    from pipeline.flow.resources import start_ray

    now = {name: value for name, value in os.environ.items() if name.startswith(INHERITED)}
    if ray.is_initialized() and now == _told:
        return
    ray.shutdown()
    _told.clear()
    _told.update(now)
    with pytest.MonkeyPatch.context() as patch:
        # Processes without work are kept for the next job. By default two are, and the others,
        # which each job needs, are ended and started anew.
        patch.setenv("RAY_num_workers_soft_limit", "8")
        start_ray()


def stop_ray() -> None:
    import ray

    ray.shutdown()
