"""The motion blurs that Levin et al. measured (*Understanding and evaluating blind deconvolution
algorithms*, CVPR 2009): eight kernels, which are not ours to hand on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from manifests import storage
from manifests.errors import StorageError
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_kernel, kernel_names
from pipeline.tasks.assets import AssetFile
from pipeline.tasks.kernels import Kernel

VARIABLE, COUNT = "DIFFPIR_LEVIN", 8


def levin_file(kernel: Kernel | None, kernels: Iterable[pa.ChunkedArray]) -> Iterator[AssetFile]:
    """The kernels in order, where the job's kernel or a row of the manifest names one of them.

    Args:
        kernel: of the job.
        kernels: the manifest's column, in batches.

    Raises:
        PipelineError: ``$DIFFPIR_LEVIN`` is not set, or the file is not that of the kernels.
    """
    if not _is_wanted(kernel, kernels):
        return
    file = os.environ.get(VARIABLE)
    if not file:
        raise PipelineError(
            f"kernel: levin: set ${VARIABLE} to the path or URI of Levin09.mat, or of an .npz "
            "with its kernels as k1 ... k8"
        )
    try:
        data = storage.read_bytes(file)
        names = sorted(n for n in kernel_names(data) if re.fullmatch(r"(k|kernels\[)[1-8]\]?", n))
        if len(names) != COUNT:
            raise RowError("expected the cells kernels[1] ... kernels[8], or k1 ... k8", "")
        yield AssetFile("levin", tuple(decode_kernel(data, name) for name in names), data)
    except (StorageError, RowError) as e:
        raise PipelineError(f"${VARIABLE}: {storage.shown(file)}: {e}") from None


def _is_wanted(kernel: Kernel | None, kernels: Iterable[pa.ChunkedArray]) -> bool:
    if kernel and kernel.levin:
        return True
    written = (pc.match_substring_regex(cells, r"(?s)^\s*\{.*levin") for cells in kernels)
    return any(pc.any(found).as_py() for found in written)
