"""Random numbers that depend on the job's seed and the image's id, and on nothing else."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor


def image_seed(seed: int, image_id: str, purpose: str) -> int:
    """A 63-bit seed for one image and one use of randomness (``kernel``, ``noise``, ...).

    Hashed, so that neighbouring seeds and ids give unrelated streams, the same on every machine.
    """
    text = f"{seed}\n{purpose}\n{image_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def noise_stream(
    seeds: Sequence[int], shape: tuple[int, int, int], device: str | torch.device = "cpu"
) -> Iterator[Tensor]:
    """Endless N(0, I) draws of (B, C, H, W), each image from a generator of its own.

    Drawn on the CPU whatever the device, so that a result does not depend on it.
    """
    generators = [generator(seed) for seed in seeds]
    while True:
        draws = np.stack([g.standard_normal(shape, np.float32) for g in generators])
        yield torch.from_numpy(draws).to(device)


def generator(seed: int) -> np.random.Generator:
    """Of all 63 bits of the seed; PyTorch's CPU generator would use the lowest 32 alone."""
    return np.random.Generator(np.random.Philox(key=seed))
