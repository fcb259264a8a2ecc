"""Files of this machine."""

from __future__ import annotations

import errno
import glob
import os
import re
import stat
import uuid
from pathlib import Path

from fsspec.utils import glob_translate

from manifests.errors import StorageError
from manifests.storage.words import too_large
from manifests.uris import shown

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
        # The file may be growing.
        data = f.read(-1 if limit is None else limit + 1)
    if limit is not None and len(data) > limit:
        raise too_large(uri, None, limit)
    return data


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


def find_local(folders: list[str]) -> list[str]:
    """All files below the folders; each folder on disk once, however many links lead to it."""
    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    while folders:
        links: list[str] = []
        for top in sorted(folders, key=lambda folder: (os.path.islink(folder), folder)):
            for folder, below, files in os.walk(top):
                below.sort()
                status = os.stat(folder)
                if (status.st_dev, status.st_ino) in seen:
                    below.clear()
                    continue
                seen.add((status.st_dev, status.st_ino))
                found += (os.path.join(folder, name) for name in files)
                paths = (os.path.join(folder, name) for name in below)
                links += (path for path in paths if os.path.islink(path))
        folders = links  # os.walk has not followed them
    return found


def glob_local(pattern: str) -> list[str]:
    """The files that a glob matches; links to folders count as folders."""
    head, stars, _ = pattern.partition("/**")
    if not stars:
        return [path for path in glob.glob(pattern) if not os.path.isdir(path)]
    matches = re.compile(glob_translate(pattern)).match
    return [path for path in find_local(glob.glob(head or "/")) if matches(path)]
