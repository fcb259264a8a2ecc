"""Whether the files of a manifest are still those that were read, without reading them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from manifests import storage
from manifests.secrets import shown

THREADS = 16


def version_of(files: Sequence[str], renamed: Mapping[str, str]) -> str | None:
    """A digest of names, sizes and times, or ETags; None where storage tells neither.

    Args:
        files: paths or URIs, in their order.
        renamed: the manifest's names of columns -> the files'; read otherwise, files are others.

    Raises:
        StorageError: one is not there.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        marks = list(pool.map(storage.mark_of, files))
    if None in marks:
        return None
    told = [sorted(renamed.items()), list(zip(map(shown, files), marks, strict=True))]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
