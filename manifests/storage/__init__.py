"""The one layer between the project and storage: local paths and any URI that fsspec knows.

A path without a scheme is local and taken literally, whatever characters it has. All failures are
:class:`StorageError`, in words; credentials in a URI are never repeated.

What is likely to pass (a server that is away or overloaded, a connection that breaks, a reply cut
short) is tried again, with growing pauses, for ``RETRY_SECONDS`` or ``$DIFFPIR_RETRY_SECONDS``
from the first failure on; a try under way by then is not cut off, which takes some 30 seconds
more, a large upload longer. What is missing, forbidden or misspelt fails at once, and so do local
disks.
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from fsspec import AbstractFileSystem
from fsspec.asyn import sync

from manifests.errors import StorageError
from manifests.storage.cache import cached
from manifests.storage.local import (
    PARTIAL,
    find_local,
    glob_local,
    link_exclusive,
    read_local,
    read_local_part,
    regular,
    replace_local,
)
from manifests.storage.remote import list_s3, put_if_none_match, put_s3, read_http, read_s3
from manifests.storage.retries import RETRY_SECONDS, open_filesystem, retried
from manifests.storage.words import in_words, too_large
from manifests.uris import (
    absolute,
    has_scheme,
    is_local,
    join,
    parent,
    resolve,
    scheme_of,
    shown,
)

__all__ = [
    "RETRY_SECONDS",
    "absolute",
    "cached_local",
    "check_writable",
    "create_exclusive",
    "exists",
    "filesystem",
    "find_files",
    "has_scheme",
    "in_words",
    "is_local",
    "join",
    "kind_of",
    "list_names",
    "modified",
    "parent",
    "read_bytes",
    "read_range",
    "read_tail",
    "remove",
    "remove_partials",
    "resolve",
    "scheme_of",
    "shown",
    "size_of",
    "write_bytes",
]

T = TypeVar("T")


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path or URI, and the path in it, for libraries that want one.

    It has the retries of its own library, not those of this module.

    Raises:
        StorageError: an unknown scheme, or one whose package is not installed.
    """
    fs, path = open_filesystem(uri, lambda kind: {})
    fs.invalidate_cache()  # instances live on, and what they listed before may have changed
    return fs, path


def read_bytes(uri: str, limit: int | None = None) -> bytes:
    """The whole content of a file.

    Args:
        limit: refuse a file of more bytes, without holding many more than these in memory.

    Raises:
        StorageError: it is not there, may not be read, is no regular file, is larger than
            ``limit``, or the storage failed.
    """
    scheme = scheme_of(uri)

    def read(fs: AbstractFileSystem, path: str) -> bytes:
        if scheme == "file":
            return read_local(path, uri, limit)
        if scheme == "s3":
            return sync(fs.loop, read_s3, fs, path, uri, limit)
        if scheme in ("http", "https"):
            return sync(fs.loop, read_http, fs, path, uri, limit)
        if limit is None:
            return fs.cat_file(path)
        with fs.open(path, "rb") as f:
            data = f.read(limit + 1)
            if len(data) > limit:
                raise too_large(uri, getattr(f, "size", None), limit)
        return data

    return retried(uri, read)


def read_tail(uri: str, size: int) -> bytes:
    """The last bytes of a file, or all of it where it is shorter.

    Raises:
        StorageError: as :func:`read_bytes`.
    """
    # A web server may ignore that only a part was asked for.
    return _read_part(uri, None, size)[-size:]


def read_range(uri: str, start: int, size: int) -> bytes:
    """``size`` bytes of a file from ``start`` on; fewer where it ends before.

    Raises:
        StorageError: as :func:`read_bytes`.
    """
    return _read_part(uri, start, size) if size else b""


def _read_part(uri: str, start: int | None, size: int) -> bytes:
    scheme = scheme_of(uri)
    stop = None if start is None else start + size

    def read(fs: AbstractFileSystem, path: str) -> bytes:
        if scheme == "file":
            return read_local_part(path, uri, start, size)
        if scheme == "s3":
            part = f"-{size}" if start is None else f"{start}-{stop - 1}"
            return sync(fs.loop, read_s3, fs, path, uri, part=part)
        return fs.cat_file(path, start=-size if start is None else start, end=stop)

    return retried(uri, read)


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
    S3 it is a single request, which takes up to 5 GiB.

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
                fs.pipe_file(path, data, mode="create", metadata={"creator": token})
            except FileExistsError:
                fs.invalidate_cache()
                return fs.info(path).get("metadata", {}).get("creator") == token
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
        return fs.glob(path) if glob else fs.find(path)

    return retried(uri, find, lambda kind: {})


def kind_of(uri: str) -> str | None:
    """``file``, ``directory`` (a prefix with keys below it, too), ``other``, or None: nothing.

    Raises:
        StorageError: the storage does not tell.
    """

    def ask(fs: AbstractFileSystem, path: str) -> str:
        # Not fs.isfile and fs.isdir: several take every failure for "no".
        return _info(fs, path)["type"]

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
        return fs.modified(path).timestamp()

    return retried(uri, when)


def size_of(uri: str) -> int:
    """The size of a file in bytes.

    Raises:
        StorageError: as :func:`read_bytes`.
    """

    def ask(fs: AbstractFileSystem, path: str) -> int:
        return regular(path, uri).st_size if is_local(uri) else int(_info(fs, path)["size"])

    return retried(uri, ask)


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


def cached_local(uri: str) -> Path:
    """A local file with the content of any URI: local files themselves, others from a cache.

    The cache is ``$DIFFPIR_CACHE`` or ``~/.cache/diffpir``. A file that has changed at its source
    is fetched anew.

    Raises:
        StorageError: it cannot be read.
    """
    return retried(uri, lambda fs, path: cached(fs, path, uri))


def _info(fs: AbstractFileSystem, path: str) -> dict:
    fs.invalidate_cache()
    return fs.info(path)


def _list(fs: AbstractFileSystem, path: str, files_only: bool) -> list[str]:
    fs.invalidate_cache()
    # Listing a file gives the file itself.
    entries = [e for e in fs.ls(path, detail=True) if e["name"] != path]
    return [e["name"].rstrip("/") for e in entries if e["type"] == "file" or not files_only]
