"""The one layer between the project and storage: local paths and any URI that fsspec knows.

A path without a scheme is local and taken literally, whatever characters it has. All failures are
:class:`StorageError`, in words; credentials in a URI are never repeated.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import fsspec
from fsspec import AbstractFileSystem
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from manifests.errors import StorageError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def has_scheme(uri: str) -> bool:
    return bool(_SCHEME.match(uri))


def is_local(uri: str) -> bool:
    return not has_scheme(uri) or uri.startswith(("file://", "local://"))


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path or URI, and the path in it.

    Raises:
        StorageError: an unknown scheme, or one whose package is not installed.
    """
    if not has_scheme(uri):
        return LocalFileSystem(), os.path.abspath(uri)
    try:
        return url_to_fs(uri)
    except (ValueError, ImportError) as e:
        raise StorageError(f"{shown(uri)}: {e}") from None


def join(base: str, *parts: str) -> str:
    return "/".join([base.rstrip("/") if base != "/" else "", *parts])


def parent(uri: str) -> str:
    """The folder that a file lies in."""
    return uri.rstrip("/").rpartition("/")[0] or "/"


def absolute(uri: str) -> str:
    """A local path made absolute; a URI as it is, but for trailing slashes."""
    if has_scheme(uri):
        return filesystem(uri)[1] if is_local(uri) else uri.rstrip("/")
    return os.path.abspath(uri)


def resolve(base: str, ref: str) -> str:
    """``ref`` itself if it is absolute or has a scheme, else below ``base``."""
    return ref if has_scheme(ref) or ref.startswith("/") else join(base, ref)


def shown(uri: str) -> str:
    """A URI fit for messages: without user, password or query, where secrets travel."""
    if not has_scheme(uri):
        return uri
    parts = urlsplit(uri)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def read_bytes(uri: str) -> bytes:
    """The whole content of a file.

    Raises:
        StorageError: it is not there, may not be read, is a folder, or the storage failed.
    """
    try:
        fs, path = filesystem(uri)
        return fs.cat_file(path)
    except Exception as e:  # every storage has errors of its own
        raise _in_words(e, uri) from None


def write_bytes(uri: str, data: bytes) -> None:
    """Create or replace a file; nobody ever sees half of it.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        fs, path = filesystem(uri)
        if isinstance(fs, LocalFileSystem):
            partial = _write_partial(path, data)
            os.replace(partial, path)
        else:
            fs.pipe_file(path, data)
    except Exception as e:
        raise _in_words(e, uri) from None


def create_exclusive(uri: str, data: bytes) -> bool:
    """Create a file if there is none, atomically; returns whether this call created it.

    Raises:
        StorageError: it cannot be written, or the storage has no such operation.
    """
    try:
        fs, path = filesystem(uri)
        if isinstance(fs, LocalFileSystem):
            partial = _write_partial(path, data)
            try:
                os.link(partial, path)
            finally:
                os.unlink(partial)
        else:
            # On S3 this is If-None-Match: *, which the server decides.
            fs.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    except Exception as e:
        response = getattr(e.__cause__ or e, "response", None) or {}
        if response.get("Error", {}).get("Code") in ("PreconditionFailed", "412"):
            return False
        raise _in_words(e, uri) from None
    return True


def list_names(uri: str, suffix: str = "") -> list[str]:
    """Names of the files directly in a folder, sorted; none where there is no such folder."""
    try:
        fs, path = filesystem(uri)
        fs.invalidate_cache()
        entries = fs.ls(path, detail=True)
    except FileNotFoundError:
        return []
    except Exception as e:
        raise _in_words(e, uri) from None
    names = (e["name"].rstrip("/").rpartition("/")[2] for e in entries if e["type"] == "file")
    # Hidden names are of files that are still being written.
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


def exists(uri: str) -> bool:
    try:
        fs, path = filesystem(uri)
        fs.invalidate_cache()
        return fs.exists(path)
    except Exception as e:
        raise _in_words(e, uri) from None


def remove(uri: str) -> None:
    """Remove a file; silent if it is gone already."""
    try:
        fs, path = filesystem(uri)
        fs.rm_file(path)
    except FileNotFoundError:
        return
    except Exception as e:
        raise _in_words(e, uri) from None


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
        version = fs.checksum(path) if hasattr(fs, "checksum") else fs.ukey(path)
        suffix = os.path.splitext(urlsplit(uri).path)[1]
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
        raise _in_words(e, uri) from None


def _write_partial(path: str, data: bytes) -> str:
    """The data, safe on disk, under a hidden name beside ``path``."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    partial = os.path.join(folder, f".{uuid.uuid4().hex}.partial")
    with open(partial, "xb") as f:
        f.write(data)
        f.flush()
        os.fsync(f.fileno())
    return partial


def _in_words(error: Exception, uri: str) -> StorageError:
    if isinstance(error, StorageError):
        return error
    name = shown(uri)
    match error:
        case FileNotFoundError():
            return StorageError(f"no such file: {name}")
        case PermissionError():
            return StorageError(f"access denied: {name}")
        case IsADirectoryError():
            return StorageError(f"is a folder, not a file: {name}")
    cause = str(error).replace(uri, name) or type(error).__name__
    return StorageError(f"{name}: {cause}")
