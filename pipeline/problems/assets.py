"""The files that a specification itself names."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from manifests import storage
from manifests.errors import StorageError
from pipeline.errors import PipelineError, RowError
from pipeline.pictures.fence import decode_kernel, decode_mask, kernel_names
from pipeline.problems.levin import read_levin
from pipeline.spec import JobSpec


@dataclass(frozen=True)
class Assets:
    """The files that a job needs whatever its rows are, read once and checked before it.

    Attributes:
        kernels: of the file that the task names, (kh, kw) each.
        mask: of the file that the task names, (H, W).
        levin: the eight kernels of Levin et al. (2009), where the task or a row wants one.
    """

    kernels: tuple[np.ndarray, ...] = ()
    mask: np.ndarray | None = None
    levin: tuple[np.ndarray, ...] = ()


def read_assets(spec: JobSpec, levin: bool) -> tuple[Assets, str]:
    """The kernel and mask files that the task names, Levin's if asked for, and a digest of them."""
    kernel, mask = getattr(spec.task, "kernel", None), getattr(spec.task, "mask", None)
    kernels: tuple[np.ndarray, ...] = ()
    mask_array, digest = None, hashlib.sha256()
    try:
        if kernel and kernel.file:
            field, file = "task.kernel", kernel.file.file
            data = storage.read_bytes(file)
            digest.update(data)
            names = [kernel.file.name] if kernel.file.name else kernel_names(data) or [None]
            if len(names) > 1 and spec.mode == "restore":
                raise RowError(
                    f"the file holds several kernels, name one of {', '.join(names)}", "bad_kernel"
                )
            kernels = tuple(decode_kernel(data, name) for name in names)
        if mask and mask.file:
            field, file = "task.mask", mask.file
            data = storage.read_bytes(file)
            digest.update(data)
            mask_array = decode_mask(data)
    except StorageError as e:
        raise PipelineError(f"{field}: {e}") from None
    except RowError as e:
        raise PipelineError(f"{field}: {file}: {e}") from None
    measured: tuple[np.ndarray, ...] = ()
    if levin:
        measured, data = read_levin()
        digest.update(data)
    return Assets(kernels, mask_array, measured), digest.hexdigest()
