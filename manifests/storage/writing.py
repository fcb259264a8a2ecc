"""Writing files, and removing them."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fsspec import AbstractFileSystem

from manifests.errors import StorageError
from manifests.secrets import shown
from manifests.storage.local import PARTIAL, link_exclusive, replace_local
from manifests.storage.remote import put_if_none_match, put_s3
from manifests.storage.retries import retried
from manifests.uris import is_local, join, scheme_of

T = TypeVar("T")


def check_writable(folder: str) -> None:
    """Write a small hidden file into a folder, which may come into being with it, and remove it.

    Raises:
        StorageError: nothing can be written there.
    """
    probe = join(folder, ".diffpir-probe")
    write_bytes(probe, b"")
    with contextlib.suppress(StorageError):  # some may write, but not remove
        remove(probe)


def write_bytes(uri: str, data: bytes) -> None:
    """Create or replace a file; nobody ever sees half of it.

    Raises:
        StorageError: it cannot be written.
    """
    scheme = scheme_of(uri)

    def write(fs: AbstractFileSystem, path: str) -> None:
        if scheme == "file":
            replace_local(path, data)
        elif scheme == "s3":
            put_s3(fs, path, data)
        else:
            fs.pipe_file(path, data)

    _written(uri, write)


def create_exclusive(uri: str, data: bytes) -> bool:
    """Create a file if there is none, atomically; returns whether this call created it.

    The answer is right even if the storage's first reply was lost and the request sent again. On
    S3 and Google's storage it is a single request; that of S3 takes up to 5 GiB.

    Raises:
        StorageError: it cannot be written, or the storage has no such operation. If the storage
            failed until the end, the file may have been created nevertheless.
    """
    scheme = scheme_of(uri)
    # A request whose reply is lost is sent again and then meets its own object: the token, the
    # same for all tries, tells it from another's.
    token = uuid.uuid4().hex

    def create(fs: AbstractFileSystem, path: str) -> bool:
        if scheme == "file":
            return link_exclusive(path, data)
        if scheme == "s3":
            return put_if_none_match(fs, path, data, token)
        if scheme == "gs":
            try:
                # In one request, whatever its size: that is conditional, and parts are not.
                whole = {"chunksize": len(data) + 1}
                fs.pipe_file(path, data, mode="create", metadata={"creator": token}, **whole)
            except FileExistsError:
                fs.invalidate_cache()
                creator: str | None = fs.info(path).get("metadata", {}).get("creator")
                return creator == token
            return True
        # Other backends check first and write then, or ignore the mode: two could both succeed.
        raise StorageError(
            f"{shown(uri)}: this storage cannot create a file exclusively; use s3 or gs"
        )

    return _written(uri, create)


def _written(uri: str, action: Callable[[AbstractFileSystem, str], T]) -> T:
    try:
        return retried(uri, action)
    except StorageError as e:
        if e.kind != "not_found":
            raise
        # The file itself need not be there: what it is to lie in is not, and cannot be made.
        raise StorageError(f"cannot be written: {e}", e.kind) from None


def remove(uri: str) -> None:
    """Remove a file; silent if it is gone already.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        retried(uri, lambda fs, path: fs.rm_file(path))
    except StorageError as e:
        if e.kind != "not_found":
            raise


def remove_partials(uri: str) -> int:
    """Remove what writers that died have left in a folder; returns how many files.

    Only local folders have such files. Not for while anything may be writing there.

    Raises:
        StorageError: one cannot be removed.
    """
    if not is_local(uri):
        return 0

    def clear(fs: AbstractFileSystem, path: str) -> int:
        left = [file for file in Path(path).glob(".*.partial") if PARTIAL.fullmatch(file.name)]
        for file in left:
            file.unlink(missing_ok=True)
        return len(left)

    return retried(uri, clear)
