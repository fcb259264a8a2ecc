"""Random numbers that depend on the job's seed and the image's id, and on nothing else."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor


def image_seed(seed: int, image_id: str, purpose: str) -> int:
    """A 63-bit seed for one image and one use of randomness (``kernel``, ``noise``, ...).

    Hashed, so that neighbouring seeds and ids give unrelated streams, the same on every machine.
    """
    text = f"{seed}\n{purpose}\n{image_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") >> 1


def sample_seed(seed: int, sample: int) -> int:
    """The seed of one of several samples of an image; the first has the image's own."""
    return image_seed(seed, str(sample), "sample") if sample else seed


def noise_stream(
    seeds: Sequence[int], shape: tuple[int, int, int], device: str | torch.device = "cpu"
) -> Iterator[Tensor]:
    """Draw standard normal noise for a batch of images, without end.

    Each image has a generator with its own seed, so how images are put into batches does not change
    the noise of any image. Noise is drawn on the CPU for every device, for the same reason.

    Args:
        seeds: one for each image.
        shape: (C, H, W) of each image.
        device: that the noise is moved to.

    Yields:
        (B, C, H, W) float32, N(0, I).

    Examples:
        >>> import torch
        >>> from diffpir import noise_stream
        >>> pair = next(noise_stream([3, 7], (3, 8, 8)))
        >>> torch.equal(pair[1:], next(noise_stream([7], (3, 8, 8))))
        True
    """
    generators = [generator(seed) for seed in seeds]
    if torch.device(device).type == "cpu":
        while True:
            yield torch.from_numpy(
                np.stack([g.standard_normal(shape, np.float32) for g in generators])
            )
    for draws in drawn_ahead(generators, shape, pinned=True):
        yield draws.to(device, non_blocking=True)


def drawn_ahead(
    generators: Sequence[np.random.Generator], shape: tuple[int, int, int], *, pinned: bool = False
) -> Iterator[Tensor]:
    """Endless (B, C, H, W) of N(0, I), drawn by all cores while the last one is being used.

    For GPUs: a batch's noise takes one core longer than a GPU takes for the network. In pinned
    memory they are copied to one while it computes.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:

        def begin() -> tuple[Tensor, list[Future[np.ndarray]]]:
            draws = torch.empty((len(generators), *shape), pin_memory=pinned)
            each = zip(generators, draws.numpy(), strict=True)
            return draws, [pool.submit(g.standard_normal, None, np.float32, z) for g, z in each]

        ahead = begin()
        while True:
            draws, drawn = ahead
            for one in drawn:
                one.result()
            ahead = begin()
            yield draws


def generator(seed: int) -> np.random.Generator:
    """Of all 63 bits of the seed; PyTorch's CPU generator would use the lowest 32 alone."""
    return np.random.Generator(np.random.Philox(key=seed))
