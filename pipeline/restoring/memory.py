"""Memory of a process and its GPU: how much it took, and whether an exception means its want."""

from __future__ import annotations

import resource

import torch
from torch import Tensor

from diffpir.networks.denoiser import EpsDenoiser

PROBE = 64  # side in pixels of the image that a network's activations are counted with


def peak_memory() -> int:
    """Bytes that this process had resident at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB


def peak_device_memory() -> int:
    """Bytes that this process had on its GPU at most; 0 without one."""
    return torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


def activation_bytes(denoise: EpsDenoiser) -> float:
    """Bytes that the network keeps for each pixel of an image while it is differentiated."""
    weights = {p.untyped_storage().data_ptr() for p in denoise.net.parameters()}
    kept: dict[int, int] = {}
    alive = []  # or another tensor may come to lie in the same place

    def count(saved: Tensor) -> Tensor:
        storage = saved.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        alive.append(saved)
        return saved

    shape = (1, denoise.channels, PROBE, PROBE)
    x = torch.zeros(shape, device=denoise.net.device, requires_grad=True)
    labels = [denoise.usual_label or 0] if denoise.classes else None
    with torch.autograd.graph.saved_tensors_hooks(count, lambda saved: saved):
        denoise(x, 0, labels)
    return sum(size for place, size in kept.items() if place not in weights) / PROBE**2


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
