"""Remote files as local ones."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from manifests.secrets import shown
from manifests.storage.local import regular
from manifests.storage.remote import check_length


def cache_folder() -> str:
    """``$DIFFPIR_CACHE``, or the user's own."""
    return os.environ.get("DIFFPIR_CACHE") or os.path.expanduser("~/.cache/diffpir")


def cached(fs: AbstractFileSystem, path: str, uri: str) -> Path:
    if isinstance(fs, LocalFileSystem):
        regular(path, uri)
        return Path(path)
    # The name in the cache says which version it is; fetching makes it appear at once.
    fs.invalidate_cache()
    version = fs.checksum(path)
    suffix = os.path.splitext(shown(uri))[1]
    local = Path(cache_folder()) / f"{fsspec.utils.tokenize(uri, version)}{suffix}"
    if not local.exists():
        local.parent.mkdir(parents=True, exist_ok=True)
        partial = local.with_name(f".{uuid.uuid4().hex}{suffix}")
        try:
            size = fs.info(path).get("size")
            fs.get_file(path, str(partial))
            check_length(partial.stat().st_size, size)
            os.replace(partial, local)
        finally:
            partial.unlink(missing_ok=True)
    return local
