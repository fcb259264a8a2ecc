"""The files that a job's task itself names, read and checked once, before the work."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class AssetFile(NamedTuple):
    """The arrays of a file, the name that the task knows them by, and the file's bytes."""

    name: str
    arrays: tuple[np.ndarray, ...]
    content: bytes


@dataclass(frozen=True)
class Assets:
    """What a job needs whatever its rows are.

    Attributes:
        arrays: by name: ``kernel`` (kh, kw), ``mask`` (H, W), ``levin`` (kh, kw).
        digest: SHA-256 of all files, in their order.
    """

    arrays: Mapping[str, tuple[np.ndarray, ...]] = field(default_factory=dict)
    digest: str = hashlib.sha256().hexdigest()

    @classmethod
    def of(cls, files: Iterable[AssetFile]) -> Assets:
        arrays, digest = {}, hashlib.sha256()
        for file in files:
            arrays[file.name] = file.arrays
            digest.update(file.content)
        return cls(arrays, digest.hexdigest())
