"""Files of this machine."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
import uuid
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from fsspec.utils import glob_translate

from manifests.errors import StorageError
from manifests.secrets import shown
from manifests.storage.words import too_large

PARTIAL = re.compile(r"\.[0-9a-f]{32}\.partial")  # the name of a file that is being written
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def regular(path: str, uri: str) -> os.stat_result:
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        # A pipe would make its reader wait, and a device may have no end.
        raise StorageError(f"is not a regular file: {shown(uri)}", "not_a_file")
    return found


def read_local(path: str, uri: str, limit: int | None = None) -> bytes:
    size = regular(path, uri).st_size
    if limit is not None and size > limit:
        raise too_large(uri, size, limit)
    with open(path, "rb") as f:
        if limit is None:
            return f.read()
        # Memory is taken for as much as is asked for: not for the limit, but for the file, and
        # for what has come since if it is growing.
        held = [f.read(size)]
        arrived = len(held[0])
        while more := f.read(1 << 20):
            held.append(more)
            arrived += len(more)
            if arrived > limit:
                raise too_large(uri, None, limit)
    return b"".join(held)


def read_local_part(path: str, uri: str, start: int | None, size: int) -> bytes:
    """``start`` None: the last bytes."""
    whole = regular(path, uri).st_size
    with open(path, "rb") as f:
        f.seek(max(0, whole - size) if start is None else start)
        return f.read(size)


def _write_partial(path: str, data: bytes) -> str:
    """The data, safe on disk, under a hidden name beside ``path``."""
    folder = os.path.dirname(path)
    try:
        os.makedirs(folder, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), folder) from None
    partial = os.path.join(folder, f".{uuid.uuid4().hex}.partial")
    try:
        with open(partial, "xb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
    except OSError:
        Path(partial).unlink(missing_ok=True)
        raise
    return partial


def replace_local(path: str, data: bytes) -> None:
    partial = _write_partial(path, data)
    try:
        os.replace(partial, path)
    except OSError:
        os.unlink(partial)
        raise


def link_exclusive(path: str, data: bytes) -> bool:
    partial = _write_partial(path, data)
    try:
        os.link(partial, path)
    except FileExistsError:
        # Over NFS a link can be made and its reply lost: then the file has our second name.
        return os.stat(partial).st_nlink == 2
    except OSError as e:
        if e.errno in _NO_LINKS:
            raise StorageError(
                f"{path}: this file system has no hard links, which exclusive creation needs"
            ) from None
        raise
    finally:
        os.unlink(partial)
    return True


def find_local(folders: list[str], every_name: bool = False) -> list[str]:
    """All files below the folders, but for hidden folders there.

    Each folder on disk once, however many links lead to it; or with ``every_name`` after that
    again, by each other name that a link gives to it or to one that it lies in.
    """
    found: list[str] = []
    again: list[str] = []
    seen: set[tuple[int, int]] = set()
    while folders:
        links: list[str] = []
        for top in sorted(folders, key=lambda folder: (os.path.islink(folder), folder)):
            for folder, below, files in _walk(top):
                if _identity(folder) in seen:
                    below.clear()
                    again.append(folder)
                    continue
                seen.add(_identity(folder))
                found += (os.path.join(folder, name) for name in files)
                paths = (os.path.join(folder, name) for name in below)
                links += (path for path in paths if os.path.islink(path))
        folders = links  # os.walk has not followed them
    for top in again if every_name else ():
        found += (os.path.join(folder, name) for folder, _, files in _walk(top) for name in files)
    return found


def _walk(top: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """As ``os.walk``, in order and without what is hidden: a link there would count as seen."""
    for folder, below, files in os.walk(top):
        below[:] = sorted(name for name in below if not name.startswith("."))
        yield folder, below, files


def _identity(folder: str) -> tuple[int, int]:
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def glob_local(pattern: str) -> list[str]:
    """The files that a glob matches; links to folders count as folders."""
    head, stars, _ = pattern.partition("/**")
    if not stars:
        return [path for path in glob.glob(pattern) if not os.path.isdir(path)]
    matches = re.compile(glob_translate(pattern)).match
    paths = filter(matches, find_local(glob.glob(head or "/"), every_name=True))
    identity = cache(_identity)
    once: dict[tuple[tuple[int, int], str], str] = {}
    for path in paths:  # the first name of each that matches
        folder, name = os.path.split(path)
        once.setdefault((identity(folder), name), path)
    return list(once.values())
