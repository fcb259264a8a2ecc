"""Which kernel a row's image is blurred with, of those that were written out."""

from __future__ import annotations

import numpy as np

from diffpir.kernels import (
    disk_kernel,
    gaussian_kernel,
    motion_kernel,
    stroke_kernel,
)
from manifests.schema import is_parametric
from pipeline.errors import RowError
from pipeline.problems.assets import Assets
from pipeline.spec.kernels import Kernel, Stroke, row_kernel
from pipeline.spec.tasks import Deblur, SuperResolve


def kernel_choice(task: Deblur | SuperResolve, row: dict) -> Kernel | None:
    """What the row writes out, or else the task; None: a reduction's usual kernel.

    Raises:
        RowError: ``bad_kernel``: the row's is none; ``missing_input``: there is none.
    """
    if is_parametric(row.get("kernel") or ""):
        try:
            return row_kernel(row["kernel"])
        except RowError as e:
            raise RowError(f"kernel: {e}", e.kind) from None
    if task.kernel is None and task.kind != "sr":
        raise RowError("no kernel: neither the row nor the task gives one", "missing_input")
    return task.kernel


def make_kernel(choice: Kernel, assets: Assets, rng: np.random.Generator) -> np.ndarray:
    """(kh, kw) of unit sum; ``rng`` draws what is random."""
    if choice.gaussian:
        std = choice.gaussian.std
        return gaussian_kernel(
            choice.gaussian.size, rng.uniform(*std) if isinstance(std, tuple) else std
        )
    if choice.disk:
        return disk_kernel(choice.disk.radius)
    if choice.levin:
        return assets.levin[choice.levin - 1]
    if isinstance(choice.motion, Stroke):
        return stroke_kernel(choice.motion.length, choice.motion.angle)
    if choice.motion:
        return motion_kernel(choice.motion.size, choice.motion.intensity, rng)
    return assets.kernels[rng.integers(len(assets.kernels))]
