"""Reading files, whole or in part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem
from fsspec.asyn import sync
from fsspec.callbacks import Callback

from manifests.storage.cache import cached
from manifests.storage.fetching import fetched
from manifests.storage.local import read_local, read_local_part
from manifests.storage.policy import UNRESTRICTED, FetchPolicy
from manifests.storage.remote import check_length, read_http, read_s3, timed
from manifests.storage.retries import retried
from manifests.storage.words import status_of, too_large
from manifests.uris import scheme_of


def read_bytes(
    uri: str,
    limit: int | None = None,
    etag: str | None = None,
    policy: FetchPolicy = UNRESTRICTED,
) -> bytes:
    """The whole content of a file.

    Args:
        limit: refuse a file of more bytes, without holding many more than these in memory.
        etag: that the file must still have, on S3 and web servers.
        policy: how long to try, and which hosts not to ask.

    Raises:
        StorageError: it is not there, may not be read, is no regular file, is larger than
            ``limit``, has changed, has not arrived in time, lies where the policy forbids, or the
            storage failed.
    """
    scheme = scheme_of(uri)

    def read(fs: AbstractFileSystem, path: str) -> bytes:
        if scheme == "file":
            return read_local(path, uri, limit)
        data: bytes
        if scheme == "s3":
            data = sync(fs.loop, timed, policy.timeout, read_s3(fs, path, uri, limit, etag=etag))
        elif scheme in ("http", "https"):
            data = sync(fs.loop, timed, policy.timeout, read_http(fs, path, uri, limit, etag))
        elif limit is None:
            data = fs.cat_file(path)
        else:
            with fs.open(path, "rb") as f:
                data = f.read(limit + 1)
                if len(data) > limit:
                    raise too_large(uri, getattr(f, "size", None), limit)
        return data

    return fetched(uri, read, policy)


def read_tail(uri: str, size: int, policy: FetchPolicy = UNRESTRICTED) -> bytes:
    """The last bytes of a file, or all of it where it is shorter.

    Raises:
        StorageError: as :func:`read_bytes`.
    """
    # A web server may ignore that only a part was asked for.
    return _read_part(uri, None, size, policy)[-size:]


def read_range(uri: str, start: int, size: int, policy: FetchPolicy = UNRESTRICTED) -> bytes:
    """``size`` bytes of a file from ``start`` on; fewer where it ends before.

    Raises:
        StorageError: as :func:`read_bytes`.
    """
    return _read_part(uri, start, size, policy) if size else b""


def _read_part(uri: str, start: int | None, size: int, policy: FetchPolicy) -> bytes:
    scheme = scheme_of(uri)

    def read(fs: AbstractFileSystem, path: str) -> bytes:
        if scheme == "file":
            return read_local_part(path, uri, start, size)
        data: bytes
        if scheme == "s3":
            part = f"-{size}" if start is None else f"{start}-{start + size - 1}"
            data = sync(fs.loop, read_s3, fs, path, uri, part=part)
        elif start is None:
            # Azure has no ranges that are counted from the end.
            end = fs.info(path)["size"]
            data = fs.cat_file(path, start=max(0, end - size), end=end) if end else b""
        else:
            try:
                data = fs.cat_file(path, start=start, end=start + size)
            except Exception as e:
                if status_of(e) != 416:
                    raise
                data = b""  # the file ends before
        return data

    return fetched(uri, read, policy)


def cached_local(uri: str) -> Path:
    """A local file with the content of any URI: local files themselves, others from a cache.

    The cache is ``$DIFFPIR_CACHE`` or ``~/.cache/diffpir``. A file that has changed at its source
    is fetched anew.

    Raises:
        StorageError: it cannot be read.
    """
    return retried(uri, lambda fs, path: cached(fs, path, uri))


def download(
    uri: str, local: Path, on_bytes: Callable[[int, int | None], None] = lambda done, total: None
) -> None:
    """Write the content of a file to a local one.

    Args:
        uri: of the file.
        local: is written; what is there after a failure is not whole.
        on_bytes: told how many bytes have arrived, of how many (None where nobody tells).

    Raises:
        StorageError: it cannot be read.
    """

    class Told(Callback):  # type: ignore[misc]
        def call(self, *_: Any, **__: Any) -> None:
            on_bytes(self.value, self.size)

    def get(fs: AbstractFileSystem, path: str) -> None:
        told = Told()
        fs.get_file(path, str(local), callback=told)
        check_length(local.stat().st_size, told.size)

    retried(uri, get)
