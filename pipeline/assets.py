"""What the specification itself gives: its files, and the kernel that it means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffpir.kernels import bicubic_kernel, gaussian_kernel, motion_kernel
from pipeline.errors import RowError
from pipeline.spec.tasks import Deblur, SuperResolve


@dataclass(frozen=True)
class Assets:
    """The files that the specification itself names, read once and checked before the job."""

    kernels: tuple[np.ndarray, ...] = ()
    mask: np.ndarray | None = None


def choose_kernel(
    task: Deblur | SuperResolve, assets: Assets, rng: np.random.Generator
) -> np.ndarray:
    choice = task.kernel
    if choice is None:
        if task.kind == "sr":
            return bicubic_kernel(task.factor)
        raise RowError("no kernel: neither the row nor the task gives one", "missing_input")
    if choice.gaussian:
        std = choice.gaussian.std
        return gaussian_kernel(
            choice.gaussian.size, rng.uniform(*std) if isinstance(std, tuple) else std
        )
    if choice.motion:
        return motion_kernel(choice.motion.size, choice.motion.intensity, rng)
    return assets.kernels[rng.integers(len(assets.kernels))]
