"""From a kernel that is written out to its values; and the kernel files that a job names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from manifests import storage
from manifests.errors import StorageError
from manifests.schema import is_parametric
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_kernel, kernel_names
from pipeline.tasks.assets import AssetFile, Assets
from pipeline.tasks.kernels import Kernel, Stroke, row_kernel
from pipeline.tasks.parts import Mode


def kernel_file(kernel: Kernel | None, mode: Mode) -> Iterator[AssetFile]:
    """The file that a job's kernel names, if it names one.

    Raises:
        PipelineError: the file cannot be read, or holds several kernels where one is needed.
    """
    if kernel is None or kernel.file is None:
        return
    file, name = kernel.file.file, kernel.file.name
    try:
        data = storage.read_bytes(file)
        names = [name] if name else kernel_names(data)
        if len(names) > 1 and mode == "restore":
            raise RowError(
                f"the file holds several kernels, name one of {', '.join(names)}", "bad_kernel"
            )
        kernels = [decode_kernel(data, name) for name in names] or [decode_kernel(data)]
        yield AssetFile("kernel", tuple(kernels), data)
    except StorageError as e:
        raise PipelineError(f"task.kernel: {e}") from None
    except RowError as e:
        raise PipelineError(f"task.kernel: {storage.shown(file)}: {e}") from None


def kernel_choice(kernel: Kernel | None, row: dict) -> Kernel | None:
    """The kernel that the row writes out, or else the job's; None where there is neither.

    Raises:
        RowError: ``bad_kernel``: what the row writes is no kernel.
    """
    if is_parametric(row.get("kernel") or ""):
        try:
            return row_kernel(row["kernel"])
        except RowError as e:
            raise RowError(f"kernel: {e}", e.kind) from None
    return kernel


def make_kernel(choice: Kernel, assets: Assets, rng: np.random.Generator) -> np.ndarray:
    """(kh, kw) of unit sum; ``rng`` draws what is random."""
    from diffpir.kernels import disk_kernel, gaussian_kernel, motion_kernel, stroke_kernel

    if choice.gaussian:
        std = choice.gaussian.std
        return gaussian_kernel(
            choice.gaussian.size, rng.uniform(*std) if isinstance(std, tuple) else std
        )
    if choice.disk:
        return disk_kernel(choice.disk.radius)
    if choice.levin:
        return assets.arrays["levin"][choice.levin - 1]
    if isinstance(choice.motion, Stroke):
        return stroke_kernel(choice.motion.length, choice.motion.angle)
    if choice.motion:
        return motion_kernel(choice.motion.size, choice.motion.intensity, rng)
    kernels = assets.arrays["kernel"]
    return kernels[rng.integers(len(kernels))]
