"""What is there: names in folders, and what storages tell of a file."""

from __future__ import annotations

import os
from typing import Any

from fsspec import AbstractFileSystem

from manifests.errors import StorageError
from manifests.storage.fetching import fetched
from manifests.storage.local import find_local, glob_local, regular
from manifests.storage.policy import UNRESTRICTED, FetchPolicy
from manifests.storage.remote import list_s3
from manifests.storage.retries import retried
from manifests.uris import is_local, scheme_of


def list_names(uri: str, suffix: str = "", files_only: bool = True) -> list[str]:
    """Names of the files directly in a folder, sorted; none where there is no such folder.

    Args:
        uri: of the folder.
        suffix: of the names wanted.
        files_only: leave out folders and links.

    Raises:
        StorageError: the folder may not be listed, or the storage failed.
    """
    try:
        if scheme_of(uri) == "s3":
            found = list_s3(uri, files_only)
        else:
            found = retried(uri, lambda fs, path: _list(fs, path, files_only))
    except StorageError as e:
        if e.kind == "not_found":
            return []
        raise
    names = (path.rpartition("/")[2] for path in found)
    # Hidden names are of files that are still being written.
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


def find_files(uri: str, glob: bool = False) -> list[str]:
    """Paths in their file system of all files below a folder, or of what a glob matches.

    Local links to folders are followed, but what lies below a folder, or below the ``**`` of a
    glob, is found once, under the first of its names, and those without a link come first.

    Raises:
        StorageError: it cannot be listed.
    """

    def find(fs: AbstractFileSystem, path: str) -> list[str]:
        if is_local(uri):
            return glob_local(path) if glob else find_local([path])
        fs.invalidate_cache()  # instances live on, and what they listed before may have changed
        found: list[str] = fs.glob(path) if glob else fs.find(path)
        return found

    return retried(uri, find, lambda kind: {})


def kind_of(uri: str) -> str | None:
    """``file``, ``directory`` (a prefix with keys below it, too), ``other``, or None: nothing.

    Raises:
        StorageError: the storage does not tell.
    """

    def ask(fs: AbstractFileSystem, path: str) -> str:
        # Not fs.isfile and fs.isdir: several take every failure for "no".
        return str(_info(fs, path)["type"])

    try:
        return retried(uri, ask)
    except StorageError as e:
        if e.kind == "not_found":
            return None
        raise


def exists(uri: str) -> bool:
    """Whether there is a file or folder.

    Raises:
        StorageError: the storage does not tell.
    """
    local = is_local(uri)
    try:
        # Not fs.exists of remote ones: several take every failure for "no".
        return retried(
            uri, lambda fs, path: os.path.exists(path) if local else bool(_info(fs, path))
        )
    except StorageError as e:
        if e.kind == "not_found":
            return False
        raise


def modified(uri: str) -> float:
    """When a file was last written, in seconds since 1970 by the storage's own clock.

    Raises:
        StorageError: it is not there, or cannot be asked for.
    """

    def when(fs: AbstractFileSystem, path: str) -> float:
        if is_local(uri):
            return regular(path, uri).st_mtime
        fs.invalidate_cache()
        return float(fs.modified(path).timestamp())

    return retried(uri, when)


def size_of(uri: str, policy: FetchPolicy = UNRESTRICTED) -> int:
    """The size of a file in bytes.

    Raises:
        StorageError: as :func:`read_bytes`.
    """

    def ask(fs: AbstractFileSystem, path: str) -> int:
        return regular(path, uri).st_size if is_local(uri) else int(_info(fs, path)["size"])

    return fetched(uri, ask, policy)


def mark_of(uri: str) -> str | None:
    """What changes when a file does: its size with the time of change or the ETag.

    None where the storage tells neither.

    Raises:
        StorageError: as :func:`read_bytes`.
    """

    def ask(fs: AbstractFileSystem, path: str) -> str | None:
        if is_local(uri):
            found = regular(path, uri)
            return f"{found.st_size} {found.st_mtime_ns}"
        info = _info(fs, path)
        etag = info.get("ETag") or info.get("etag") or info.get("blob_id")  # the last: of hf://
        return f"{info['size']} {etag}" if etag else None

    return retried(uri, ask)


def _info(fs: AbstractFileSystem, path: str) -> dict[str, Any]:
    fs.invalidate_cache()
    info: dict[str, Any] = fs.info(path)
    return info


def _list(fs: AbstractFileSystem, path: str, files_only: bool) -> list[str]:
    fs.invalidate_cache()
    # Listing a file gives the file itself.
    entries = [e for e in fs.ls(path, detail=True) if e["name"] != path]
    return [e["name"].rstrip("/") for e in entries if e["type"] == "file" or not files_only]
