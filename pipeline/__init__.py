"""Restoration of many images: the Ray Data flow from a manifest to Parquet, and one call in memory.

:func:`restore_images` restores arrays, PIL images, tensors and files in this process, without Ray.
Its names are imported on first use, so that ``import pipeline`` alone costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING

_HOME = {
    "PipelineError": "pipeline.errors",
    "RestoredImage": "pipeline.in_memory.restored",
    "RestoredImages": "pipeline.in_memory.restored",
    "RowError": "pipeline.errors",
    "restore_images": "pipeline.in_memory.restore",
}

__all__ = ["PipelineError", "RestoredImage", "RestoredImages", "RowError", "restore_images"]

if TYPE_CHECKING:
    from pipeline.errors import PipelineError as PipelineError
    from pipeline.errors import RowError as RowError
    from pipeline.in_memory.restore import restore_images as restore_images
    from pipeline.in_memory.restored import RestoredImage as RestoredImage
    from pipeline.in_memory.restored import RestoredImages as RestoredImages
else:

    def __getattr__(name):
        if name not in _HOME:
            raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
        return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
