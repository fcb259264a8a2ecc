"""The one layer between the project and storage: local paths and any URI that fsspec knows.

A path without a scheme is local and taken literally, whatever characters it has. All failures are
:class:`StorageError`, in words; credentials in a URI are never repeated.
"""

from __future__ import annotations

import errno
import os
import time
import uuid
from pathlib import Path

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem

from manifests.errors import StorageError
from manifests.uris import absolute, has_scheme, is_local, join, parent, redacted, resolve, shown

__all__ = [
    "absolute",
    "cached_local",
    "create_exclusive",
    "exists",
    "filesystem",
    "has_scheme",
    "in_words",
    "is_local",
    "join",
    "list_names",
    "parent",
    "read_bytes",
    "remove",
    "resolve",
    "shown",
    "write_bytes",
]

_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path or URI, and the path in it.

    Raises:
        StorageError: an unknown scheme, or one whose package is not installed.
    """
    if not has_scheme(uri):
        return LocalFileSystem(), os.path.abspath(uri)
    protocol = uri.partition("://")[0]
    try:
        # Not fsspec.core.url_to_fs: "::" in a key would be read as a chain of file systems.
        kind = fsspec.get_filesystem_class(protocol)
        fs = fsspec.filesystem(protocol, **kind._get_kwargs_from_urls(uri))
        return fs, kind._strip_protocol(uri)
    except (ValueError, ImportError) as e:
        raise StorageError(f"{shown(uri)}: {e}") from None


def read_bytes(uri: str) -> bytes:
    """The whole content of a file.

    Raises:
        StorageError: it is not there, may not be read, is a folder, or the storage failed.
    """
    try:
        fs, path = filesystem(uri)
        return fs.cat_file(path)
    except Exception as e:  # every storage has errors of its own
        raise in_words(e, uri) from None


def write_bytes(uri: str, data: bytes) -> None:
    """Create or replace a file; nobody ever sees half of it.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        fs, path = filesystem(uri)
        if isinstance(fs, LocalFileSystem):
            partial = _write_partial(path, data)
            try:
                os.replace(partial, path)
            except OSError:
                os.unlink(partial)
                raise
        else:
            fs.pipe_file(path, data)
    except Exception as e:
        raise in_words(e, uri) from None


def create_exclusive(uri: str, data: bytes) -> bool:
    """Create a file if there is none, atomically; returns whether this call created it.

    The answer is right even if the storage's first reply was lost and the request sent again.

    Raises:
        StorageError: it cannot be written, or the storage has no such operation.
    """
    try:
        fs, path = filesystem(uri)
        protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
        if isinstance(fs, LocalFileSystem):
            return _link_exclusive(path, data)
        if "s3" in protocols:
            return _put_if_none_match(fs, path, data)
        if "gs" in protocols:
            fs.pipe_file(path, data, mode="create")
            return True
    except FileExistsError:
        return False
    except Exception as e:
        raise in_words(e, uri) from None
    # Other backends check first and write then, or ignore the mode: two could both succeed.
    raise StorageError(f"{shown(uri)}: this storage cannot create a file exclusively; use s3 or gs")


def list_names(uri: str, suffix: str = "") -> list[str]:
    """Names of the files directly in a folder, sorted; none where there is no such folder."""
    try:
        fs, path = filesystem(uri)
        fs.invalidate_cache()
        entries = fs.ls(path, detail=True)
    except FileNotFoundError:
        return []
    except Exception as e:
        raise in_words(e, uri) from None
    # Listing a file, or S3's marker of an empty folder, gives the path itself.
    files = (e["name"] for e in entries if e["type"] == "file" and e["name"].rstrip("/") != path)
    names = (file.rpartition("/")[2] for file in files)
    # Hidden names are of files that are still being written.
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


def exists(uri: str) -> bool:
    try:
        fs, path = filesystem(uri)
        fs.invalidate_cache()
        return fs.exists(path)
    except Exception as e:
        raise in_words(e, uri) from None


def remove(uri: str) -> None:
    """Remove a file; silent if it is gone already."""
    try:
        fs, path = filesystem(uri)
        fs.rm_file(path)
    except FileNotFoundError:
        return
    except Exception as e:
        raise in_words(e, uri) from None


def cached_local(uri: str) -> Path:
    """A local file with the content of any URI: local files themselves, others from a cache.

    The cache is ``$DIFFPIR_CACHE`` or ``~/.cache/diffpir``. A file that has changed at its source
    is fetched anew.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        fs, path = filesystem(uri)
        if isinstance(fs, LocalFileSystem):
            if not os.path.isfile(path):
                raise FileNotFoundError(path)
            return Path(path)
        folder = os.environ.get("DIFFPIR_CACHE") or os.path.expanduser("~/.cache/diffpir")
        # The name in the cache says which version it is; fetching makes it appear at once.
        fs.invalidate_cache()
        version = fs.checksum(path)
        suffix = os.path.splitext(shown(uri))[1]
        local = Path(folder) / f"{fsspec.utils.tokenize(uri, version)}{suffix}"
        if not local.exists():
            local.parent.mkdir(parents=True, exist_ok=True)
            partial = local.with_name(f".{uuid.uuid4().hex}{suffix}")
            try:
                fs.get_file(path, str(partial))
                os.replace(partial, local)
            finally:
                partial.unlink(missing_ok=True)
        return local
    except Exception as e:
        raise in_words(e, uri) from None


def _write_partial(path: str, data: bytes) -> str:
    """The data, safe on disk, under a hidden name beside ``path``."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
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


def _link_exclusive(path: str, data: bytes) -> bool:
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


def _put_if_none_match(fs: AbstractFileSystem, path: str, data: bytes) -> bool:
    # A request whose reply is lost is sent again by the client and then meets its own object:
    # the token tells it from another's.
    token = uuid.uuid4().hex
    for attempt in range(8):
        try:
            fs.pipe_file(path, data, mode="create", Metadata={"creator": token})
            return True
        except FileExistsError:
            break
        except OSError as e:
            code = _s3_error(e)[0]
            if code in ("PreconditionFailed", "412"):
                break
            if code not in ("ConditionalRequestConflict", "409") or attempt == 7:
                raise
            time.sleep(0.05 * 2**attempt)  # another's request was under way: S3 asks to retry
    return fs.metadata(path, refresh=True).get("creator") == token


def _s3_error(error: BaseException) -> tuple[str, str]:
    """Code and message that an S3 server answered with; empty where none did."""
    response = getattr(error.__cause__ or error, "response", None)
    answer = response.get("Error", {}) if isinstance(response, dict) else {}
    return str(answer.get("Code") or ""), str(answer.get("Message") or "")


def in_words(error: Exception, uri: str) -> StorageError:
    """What a file system raised about ``uri``, as an error to show a user."""
    if isinstance(error, StorageError):
        return error
    name = shown(uri)
    # fsspec's HTTP turns every failure to look at a file into FileNotFoundError.
    inner = error.__cause__ if isinstance(error, FileNotFoundError) else None
    error = error if inner is None or _s3_error(error)[0] else inner
    status = getattr(error, "status", None)
    if isinstance(error, PermissionError) or status in (401, 403):
        return StorageError(f"access denied: {name}")
    if isinstance(error, FileNotFoundError) or status == 404:
        return StorageError(f"no such file: {name}")
    if isinstance(error, IsADirectoryError):
        return StorageError(f"is a folder, not a file: {name}")
    cause = ": ".join(filter(None, _s3_error(error))) or str(error) or type(error).__name__
    return StorageError(f"{name}: {redacted(cause.replace(uri, name))}")
