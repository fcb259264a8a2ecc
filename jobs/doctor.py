"""``diffpir doctor``: what an installation can do, tried for real, and what to mend."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from manifests import storage
from manifests.errors import StorageError

GIB = 2**30
LEAST_SHARED = 2 * GIB  # of /dev/shm, where Ray keeps images on their way
LEAST_DISK = 5 * GIB  # of the folder where Ray spills them


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        name: of what was checked.
        state: ``broken`` is what no job can do without; ``warning`` costs speed, or some jobs.
        words: what was found, and where something is wrong, what to do.
    """

    name: str
    state: Literal["ok", "warning", "broken"]
    words: str


def examine(places: Sequence[str] = ()) -> Iterator[Finding]:
    """Check this installation, one thing after another.

    Args:
        places: folders or URIs that are to be read and written, such as ``s3://bucket/prefix``. A
            small hidden file is written there, and removed.
    """
    checks: list[tuple[str, Callable[[], Finding]]] = [
        ("PyTorch", _torch),
        ("GPU", _gpu),
        ("Half precision", _half),
        ("Triton", _triton),
        ("Prior", _prior),
        ("Shared memory", _shared_memory),
        ("Disk", _disk),
        ("Ray", _ray),
    ]
    for name, check in checks:
        try:
            yield check()
        except Exception as e:  # whatever a broken library raises, its import included
            yield Finding(name, "broken", f"{type(e).__name__}: {_line(e)}")
    for place in places:
        yield _place(place)


def _torch() -> Finding:
    import torch

    import diffpir

    if not torch.allclose(torch.eye(8) @ torch.ones(8, 8), torch.ones(8, 8)):
        return Finding("PyTorch", "broken", "a matrix product is wrong; install PyTorch again")
    threads = torch.get_num_threads()
    words = f"PyTorch {torch.__version__}, {threads} threads; diffpir {diffpir.__version__}"
    return Finding("PyTorch", "ok", words)


def _gpu() -> Finding:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        torch.ones(8, 8, device="cuda").sum().item()
        return Finding("GPU", "ok", ", ".join(names))
    if shutil.which("nvidia-smi"):
        built = torch.version.cuda or "none"
        words = (
            f"this machine seems to have one that PyTorch does not see (built for CUDA {built}); "
            "install a PyTorch for CUDA, or a driver that is new enough for it"
        )
        return Finding("GPU", "warning", words)
    return Finding("GPU", "ok", "none; images are restored on the CPU, many times slower")


def _half() -> Finding:
    import torch

    from diffpir.networks.precision import has_bf16

    device = "cuda" if torch.cuda.is_available() else "cpu"
    if has_bf16(device):
        return Finding(
            "Half precision", "ok", f"bf16 on the {'GPU' if device == 'cuda' else 'CPU'}"
        )
    words = "no bf16 in the hardware; precision: auto is fp32, which takes about twice as long"
    if device == "cuda":
        words += "; try precision: fp16"
    return Finding("Half precision", "warning" if device == "cuda" else "ok", words)


def _triton() -> Finding:
    import torch

    from diffpir.errors import ConfigError
    from diffpir.networks.precision import check_compiler

    if not torch.cuda.is_available():
        return Finding("Triton", "ok", "not needed without a GPU")
    try:
        check_compiler("cuda")
    except ConfigError as e:
        words = (
            f"{e}; half precision takes about twice as long without it: install triton, a C "
            "compiler (gcc) and Python's headers (python3-dev)"
        )
        return Finding("Triton", "warning", words)
    return Finding("Triton", "ok", "it compiles for the GPU")


def _prior() -> Finding:
    from diffpir.checkpoints.builtin import builtin_path
    from diffpir.checkpoints.checkpoint import load_model
    from diffpir.errors import DiffPIRError

    try:
        load_model(builtin_path())
    except (DiffPIRError, OSError) as e:
        return Finding("Prior", "broken", f"{_line(e)}; install diffpir-on-ray again")
    return Finding("Prior", "ok", "the embedded one loads")


def _shared_memory() -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("Shared memory", "ok", "this system has no /dev/shm; Ray uses files")
    free = shutil.disk_usage(folder).free
    words = f"{free / GIB:.1f} GiB free in /dev/shm"
    if free < LEAST_SHARED:
        words += ", and Ray keeps images there; start the container with --shm-size=4g or more"
        return Finding("Shared memory", "warning", words)
    return Finding("Shared memory", "ok", words)


def _disk() -> Finding:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    words = f"{free / GIB:.1f} GiB free in {folder}"
    if free < LEAST_DISK:
        words += ", where Ray keeps its files; make room, or set RAY_TMPDIR to a larger disk"
        return Finding("Disk", "warning", words)
    return Finding("Disk", "ok", words)


def _ray() -> Finding:
    import ray

    from pipeline.errors import PipelineError
    from pipeline.flow.resources import start_ray

    was_there = ray.is_initialized()
    try:
        start_ray()
    except PipelineError as e:
        mend = "; start that cluster, or unset RAY_ADDRESS" if os.environ.get("RAY_ADDRESS") else ""
        return Finding("Ray", "broken", f"{e}{mend}")
    try:
        answer = ray.get(ray.remote(num_cpus=0.1)(lambda: "here").remote(), timeout=60)
        has = ray.cluster_resources()
        words = (
            f"Ray {ray.__version__}: {len(ray.nodes())} node(s), {has.get('CPU', 0):g} CPUs, "
            f"{has.get('GPU', 0):g} GPUs"
        )
        return Finding("Ray", "ok" if answer == "here" else "broken", words)
    except ray.exceptions.GetTimeoutError:
        words = "a task did not run within 60 seconds; the cluster is full, or its workers die"
        return Finding("Ray", "broken", words)
    finally:
        if not was_there:
            ray.shutdown()


def _place(place: str) -> Finding:
    name = storage.shown(place)
    try:
        storage.list_names(place)
    except StorageError as e:
        return Finding(name, "broken", f"it cannot be read: {_line(e)}")
    if storage.is_local(place) and not os.path.isdir(place):
        return Finding(name, "broken", "there is no such folder; make it, or correct the name")
    try:
        storage.check_writable(place)
    except StorageError as e:
        words = f"it can be read, and not written, so outputs cannot go there: {_line(e)}"
        return Finding(name, "warning", words)
    return Finding(name, "ok", "it can be read and written")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
