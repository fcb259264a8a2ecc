"""The restorer alone: what it does when the memory is short."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.restoring.memory import is_device_fault, is_out_of_memory
from pipeline.restoring.restorer import Restorer
from pipeline.spec.job import JobSpec
from pipeline.tasks.assets import Assets
from tests.support import versions_of

CODE = """
import resource, sys
import numpy as np
import pyarrow as pa
from pipeline.arrays import pack
from pipeline.tasks.assets import Assets
from pipeline.restoring.restorer import Restorer
from pipeline.schema import GENERATION, INDEX, SHARD
from pipeline.spec.job import JobSpec
from pipeline.steps.table import INPUTS
from tests.support import versions_of

def table(count, side):
    images = [np.full((side, side, 3), 30 * i, np.uint8) for i in range(count)]
    none = pack([None] * count)
    return pa.table({
        SHARD: pa.repeat(0, count), GENERATION: pa.repeat(0, count),
        INDEX: pa.array(range(count), pa.int64()),
        "row": pa.array([{"id": str(i), "image": "x"} for i in range(count)]),
        "error": pa.repeat("", count), "error_kind": pa.repeat("", count),
        **dict.fromkeys(INPUTS, none), "image": pack(images),
    })

spec = JobSpec.model_validate({
    "manifest": "m.csv", "output": "out", "precision": "fp32", "sampler": {"nfe": 2},
    "task": {"kind": "denoise", "noise_level": 0.1}, "model": sys.argv[1],
})
restorer = Restorer(spec, Assets(), sys.argv[1], versions_of(sys.argv[1]), 8 * 128**2, 1)
restorer(table(1, 128))  # whatever is allocated once
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = held + (int(sys.argv[2]) << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
done = restorer(table(8, 128))
print(sorted(set(done["error_kind"].to_pylist())), restorer.denoise.batch_pixels // 128**2)
"""


def restored(model: str, spare: int) -> str:
    """Error kinds of eight images, and how many fitted together, with so many MiB to spare."""
    command = [sys.executable, "-c", CODE, model, str(spare)]
    root = Path(__file__).parents[2]
    return subprocess.run(command, capture_output=True, text=True, check=True, cwd=root).stdout


def test_a_batch_that_memory_has_no_room_for_is_halved_until_it_fits(tiny_model):
    assert restored(tiny_model, 16_000) == "[''] 8\n"
    kinds, fitting = restored(tiny_model, 70).strip().split("] ")
    assert kinds == "[''" and fitting in ("1", "2", "4")


def test_an_image_that_does_not_fit_alone_is_its_rows_error(tiny_model):
    assert restored(tiny_model, 4).startswith("['out_of_memory']")


def test_without_a_share_of_a_gpu_it_computes_on_the_cpu(tiny_model, monkeypatch):
    spec = JobSpec.model_validate(
        {
            "manifest": "m.csv",
            "output": "out",
            "task": {"kind": "denoise", "noise_level": 0.1},
            "model": tiny_model,
        }
    )
    # As on a node with GPUs: Ray leaves them visible to actors that asked for none.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    restorer = Restorer(
        spec, Assets(), tiny_model, versions_of(tiny_model), batch_pixels=1, threads=1, gpu=False
    )
    assert restorer.device.type == "cpu"


@pytest.mark.parametrize(
    "text",
    [
        "CUFFT_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "GET was unable to find an engine to execute this computation",
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes",
    ],
)
def test_what_libraries_say_when_memory_is_short_is_understood(text):
    assert is_out_of_memory(RuntimeError(text)) and not is_out_of_memory(ValueError(text))
    assert not is_out_of_memory(RuntimeError("CUDA error: an illegal memory access"))


def test_a_fault_of_a_gpu_is_understood_whoever_meets_it_first():
    for whose in ("CUDA error", "Triton Error [CUDA]"):
        assert is_device_fault(RuntimeError(f"{whose}: an illegal memory access was encountered"))
        assert not is_device_fault(RuntimeError(f"{whose}: out of memory"))
