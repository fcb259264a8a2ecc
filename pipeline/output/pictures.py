"""The pictures' files that a run wrote beside its results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests import storage
from manifests.storage.ranges import RangedFile
from pipeline.output.layout import Layout

THREADS = 32  # removing waits for storage


def remove_pictures(
    layout: Layout, parts: Sequence[str], images: str, spared: Callable[[str], bool]
) -> None:
    """Remove the pictures that these parts name.

    Args:
        layout: of the run's output.
        parts: names of its parts; one that is damaged is passed over.
        images: folder or URI that the pictures are in.
        spared: says of a picture's path or URI whether it is to stay.

    Raises:
        StorageError: one cannot be removed.
    """

    with ThreadPoolExecutor(THREADS) as pool:
        for part in parts:
            try:
                file = pq.ParquetFile(RangedFile(layout.part(part)), pre_buffer=True)
                restored = file.read(["restored.path"])["restored"]
            except (pa.ArrowException, OSError, ValueError, KeyError):
                continue
            names = pc.struct_field(restored, "path").drop_null().to_pylist()
            pictures = [storage.join(images, name) for name in names]
            # What is spared is asked here: a manifest is not for several threads.
            list(pool.map(storage.remove, [each for each in pictures if not spared(each)]))
