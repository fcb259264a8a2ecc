"""Memory of a process and its GPU: how much it took, and whether an exception means its want."""

from __future__ import annotations

import resource

import torch


def peak_memory() -> int:
    """Bytes that this process had resident at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def peak_device_memory() -> int:
    """Bytes that this process had on its GPU at most; 0 without one."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed, on the GPU or on the CPU."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    # PyTorch has no class of its own for a CPU's want of memory, nor for that of CUDA's libraries.
    texts = (
        "can't allocate memory",
        "out of memory",
        "ALLOC_FAILED",  # cuBLAS, cuFFT
        "ALLOCATION_FAILED",  # cuDNN
        "unable to find an engine",  # cuDNN's convolutions, where none has room to work
    )
    return isinstance(error, RuntimeError) and any(text in str(error) for text in texts)


def is_device_fault(error: BaseException) -> bool:
    """Whether the GPU answered with an error after which its process cannot use it any more."""
    texts = ("CUDA error", "Triton Error [CUDA]")
    return any(text in str(error) for text in texts) and not is_out_of_memory(error)
