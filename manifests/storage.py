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

import errno
import io
import math
import os
import stat
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.asyn import sync
from fsspec.config import apply_config
from fsspec.implementations.local import LocalFileSystem
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    wait_random_exponential,
)

from manifests.errors import StorageError
from manifests.uris import (
    absolute,
    has_scheme,
    is_local,
    join,
    parent,
    redacted,
    resolve,
    scheme_of,
    shown,
)

__all__ = [
    "RETRY_SECONDS",
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
    "modified",
    "parent",
    "read_bytes",
    "read_tail",
    "remove",
    "remove_partials",
    "resolve",
    "scheme_of",
    "shown",
    "write_bytes",
]

RETRY_SECONDS = 120.0
"""For how long failures that are likely to pass are tried again."""

_LONGEST_PAUSE = 5.0
_SLOWEST_UPLOAD = 256 * 1024  # bytes per second below which an upload is taken for stuck
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_S3_PASSING = {
    "BadDigest",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "OperationAborted",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "XAmzContentSHA256Mismatch",
}
_PASSING_STATUS = {408, 425, 429, 500, 502, 503, 504}

T = TypeVar("T")


def filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a path or URI, and the path in it, for libraries that want one.

    It has the retries of its own library, not those of this module.

    Raises:
        StorageError: an unknown scheme, or one whose package is not installed.
    """
    return _filesystem(uri, lambda kind: {})


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
            return _read_local(path, uri, limit)
        if scheme == "s3":
            return sync(fs.loop, _read_s3, fs, path, uri, limit)
        if scheme in ("http", "https"):
            return sync(fs.loop, _read_http, fs, path, uri, limit)
        if limit is None:
            return fs.cat_file(path)
        with fs.open(path, "rb") as f:
            data = f.read(limit + 1)
            if len(data) > limit:
                raise _too_large(uri, getattr(f, "size", None), limit)
        return data

    return _retried(uri, read)


def read_tail(uri: str, size: int) -> bytes:
    """The last bytes of a file, or all of it where it is shorter.

    Raises:
        StorageError: as :func:`read_bytes`.
    """
    scheme = scheme_of(uri)

    def read(fs: AbstractFileSystem, path: str) -> bytes:
        if scheme == "file":
            return _read_local(path, uri, last=size)
        if scheme == "s3":
            return sync(fs.loop, _read_s3, fs, path, uri, last=size)
        # A web server may ignore that only a part was asked for.
        return fs.cat_file(path, start=-size)[-size:]

    return _retried(uri, read)


def write_bytes(uri: str, data: bytes) -> None:
    """Create or replace a file; nobody ever sees half of it.

    Raises:
        StorageError: it cannot be written.
    """
    scheme = scheme_of(uri)

    def write(fs: AbstractFileSystem, path: str) -> None:
        if scheme == "file":
            _replace(path, data)
        elif scheme == "s3":
            _put_s3(fs, path, data)
        else:
            fs.pipe_file(path, data)

    _retried(uri, write)


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
            return _link_exclusive(path, data)
        if scheme == "s3":
            return _put_if_none_match(fs, path, data, token)
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

    return _retried(uri, create)


def list_names(uri: str, suffix: str = "") -> list[str]:
    """Names of the files directly in a folder, sorted; none where there is no such folder.

    Raises:
        StorageError: the folder may not be listed, or the storage failed.
    """
    try:
        files = _list_s3(uri) if scheme_of(uri) == "s3" else _retried(uri, _list_files)
    except StorageError as e:
        if e.kind == "not_found":
            return []
        raise
    names = (file.rpartition("/")[2] for file in files)
    # Hidden names are of files that are still being written.
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


def exists(uri: str) -> bool:
    """Whether there is a file or folder.

    Raises:
        StorageError: the storage does not tell.
    """
    local = is_local(uri)
    try:
        # Not fs.exists of remote ones: several take every failure for "no".
        return _retried(
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
            return _regular(path, uri).st_mtime
        fs.invalidate_cache()
        return fs.modified(path).timestamp()

    return _retried(uri, when)


def remove(uri: str) -> None:
    """Remove a file; silent if it is gone already.

    Raises:
        StorageError: it cannot be removed.
    """
    try:
        _retried(uri, lambda fs, path: fs.rm_file(path))
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
        left = list(Path(path).glob(".*.partial"))
        for file in left:
            file.unlink(missing_ok=True)
        return len(left)

    return _retried(uri, clear)


def cached_local(uri: str) -> Path:
    """A local file with the content of any URI: local files themselves, others from a cache.

    The cache is ``$DIFFPIR_CACHE`` or ``~/.cache/diffpir``. A file that has changed at its source
    is fetched anew.

    Raises:
        StorageError: it cannot be read.
    """
    return _retried(uri, lambda fs, path: _cached(fs, path, uri))


def in_words(error: Exception, uri: str) -> StorageError:
    """What a file system raised about ``uri``, as an error to show a user."""
    if isinstance(error, StorageError):
        return error
    name = shown(uri)
    error = _bare(error)
    code, message = _s3_error(error)
    status = _status(error)
    cause = ": ".join(filter(None, (code, message))) or str(error) or type(error).__name__
    if is_local(uri) and isinstance(error, OSError) and error.strerror:
        cause = error.strerror  # without the name of a temporary file
    elif isinstance(error, TimeoutError) and not str(error):
        cause = "no answer in time"
    elif isinstance(error, NotImplementedError):
        cause = "this storage has no such operation"
    explained = f"{name}: {redacted(cause.replace(uri, name))}"
    if isinstance(error, PermissionError) or status in (401, 403):
        return StorageError(f"access denied: {name}", "access_denied")
    if type(error).__name__ in ("NoCredentialsError", "PartialCredentialsError"):
        return StorageError(f"access denied: {explained}", "access_denied")
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        return StorageError(f"no such file: {name}", "not_found")
    if isinstance(error, NotADirectoryError):
        return StorageError(explained, "not_found")
    if isinstance(error, IsADirectoryError):
        return StorageError(f"is a folder, not a file: {name}", "not_a_file")
    if isinstance(error, ValueError) or type(error).__name__ == "ParamValidationError":
        return StorageError(explained, "bad_uri")
    return StorageError(explained)


# Trying again


def _retried(uri: str, action: Callable[[AbstractFileSystem, str], T]) -> T:
    """``action(file system, path)``, tried again while it fails in a way that may pass."""
    seconds = _retry_seconds()

    first_failure: float | None = None

    def is_over(state: RetryCallState) -> bool:
        # Counted from the first failure: a long upload is tried again, too.
        nonlocal first_failure
        if first_failure is None:
            first_failure = state.outcome_timestamp
        return state.outcome_timestamp - first_failure >= seconds

    def give_up(state: RetryCallState) -> Any:
        error = in_words(state.outcome.exception(), uri)
        passed = state.outcome_timestamp - first_failure
        waited = f" (tried again for {passed:.0f} s)" if seconds else ""
        raise StorageError(f"{error}{waited}", error.kind) from None

    retrying = Retrying(
        retry=retry_if_exception(lambda e: not is_local(uri) and _may_pass(e)),
        wait=wait_random_exponential(multiplier=0.2, max=min(_LONGEST_PAUSE, seconds)),
        stop=is_over,
        retry_error_callback=give_up,
    )
    try:
        return retrying(lambda: action(*_filesystem(uri, _single_tries)))
    except Exception as e:  # every storage has errors of its own
        raise in_words(e, uri) from None


def _retry_seconds() -> float:
    text = os.environ.get("DIFFPIR_RETRY_SECONDS") or str(RETRY_SECONDS)
    try:
        seconds = float(text)
        if seconds >= 0 and math.isfinite(seconds):
            return seconds
    except ValueError:
        pass
    raise StorageError(f"DIFFPIR_RETRY_SECONDS is no number of seconds: {text!r}")


def _may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    # Here, as they take long to import.
    import aiohttp
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    error = _bare(error)
    if isinstance(error, StorageError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    code = _s3_error(error)[0]
    status = _status(error)
    if code or status:
        return code in _S3_PASSING or status in _PASSING_STATUS
    passing = (
        ConnectionError,
        TimeoutError,
        aiohttp.ClientError,
        boto.ConnectionError,
        boto.HTTPClientError,
        boto.IncompleteReadError,
        ResponseParserError,
    )
    return isinstance(error, passing) and not isinstance(error, (ValueError, PermissionError))


def _bare(error: BaseException) -> BaseException:
    """The error itself: fsspec's HTTP turns every failure to look at a file into "not found"."""
    cause = error.__cause__
    wrapped = isinstance(error, FileNotFoundError) and cause is not None
    return cause if wrapped and not _s3_error(error)[0] else error


def _s3_answer(error: BaseException) -> dict:
    answer = getattr(error.__cause__ or error, "response", None)
    return answer if isinstance(answer, dict) else {}


def _s3_error(error: BaseException) -> tuple[str, str]:
    """Code and message that an S3 server answered with; empty where none did."""
    answer = _s3_answer(error).get("Error", {})
    return str(answer.get("Code") or ""), str(answer.get("Message") or "")


def _status(error: BaseException) -> int | None:
    """The HTTP status that a server answered with, if it did."""
    status = _s3_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    status = status or getattr(error, "status", None) or getattr(error, "code", None)
    return status if isinstance(status, int) else None


# File systems


def _filesystem(
    uri: str, options: Callable[[type[AbstractFileSystem]], dict]
) -> tuple[AbstractFileSystem, str]:
    if not has_scheme(uri):
        return LocalFileSystem(), os.path.abspath(uri)
    protocol = uri.partition("://")[0]
    try:
        # Not fsspec.core.url_to_fs: "::" in a key would be read as a chain of file systems.
        kind = fsspec.get_filesystem_class(protocol)
        extra = options(kind)
        fs = fsspec.filesystem(protocol, **{**extra, **kind._get_kwargs_from_urls(uri)})
        if "config_kwargs" in extra:
            fs.retries = 1  # s3fs's own, around those of its client
        return fs, kind._strip_protocol(uri)
    except (ValueError, ImportError) as e:
        raise StorageError(f"{shown(uri)}: {redacted(str(e))}", "bad_uri") from None


def _single_tries(kind: type[AbstractFileSystem]) -> dict:
    """Options of a file system that leaves trying again to this module.

    Else s3fs tries five times what its client tries five times: with a server that does not
    answer, each of them for 15 seconds.
    """
    protocols = {kind.protocol} if isinstance(kind.protocol, str) else set(kind.protocol)
    own = apply_config(kind, {})
    if "s3" in protocols:
        config = {**own.get("config_kwargs", {}), "retries": {"total_max_attempts": 1}}
        return {"config_kwargs": config, "use_listings_cache": False}
    if "http" in protocols:
        from aiohttp import ClientTimeout

        # A large download may take its time, but not stand still.
        timeout = ClientTimeout(total=None, sock_connect=10, sock_read=30)
        return {"client_kwargs": {"timeout": timeout, **own.get("client_kwargs", {})}}
    return {}


def _info(fs: AbstractFileSystem, path: str) -> dict:
    fs.invalidate_cache()
    return fs.info(path)


def _list_files(fs: AbstractFileSystem, path: str) -> list[str]:
    fs.invalidate_cache()
    # Listing a file gives the file itself.
    return [
        e["name"] for e in fs.ls(path, detail=True) if e["type"] == "file" and e["name"] != path
    ]


def _too_large(uri: str, size: int | None, limit: int) -> StorageError:
    held = f"{size} bytes" if size is not None else "an unknown number of bytes"
    return StorageError(f"{shown(uri)}: {held}, more than the {limit} allowed", "too_large")


def _cached(fs: AbstractFileSystem, path: str, uri: str) -> Path:
    if isinstance(fs, LocalFileSystem):
        _regular(path, uri)
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
            size = fs.info(path).get("size")
            fs.get_file(path, str(partial))
            _check_length(partial.stat().st_size, size)
            os.replace(partial, local)
        finally:
            partial.unlink(missing_ok=True)
    return local


def _check_length(held: int, size: int | None) -> None:
    if size is not None and held != size:
        raise ConnectionError(f"{held} of {size} bytes arrived")


# Local files


def _regular(path: str, uri: str) -> os.stat_result:
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        # A pipe would make its reader wait, and a device may have no end.
        raise StorageError(f"is not a regular file: {shown(uri)}", "not_a_file")
    return found


def _read_local(path: str, uri: str, limit: int | None = None, last: int | None = None) -> bytes:
    size = _regular(path, uri).st_size
    if limit is not None and size > limit:
        raise _too_large(uri, size, limit)
    with open(path, "rb") as f:
        if last is not None:
            f.seek(max(0, size - last))
        # The file may be growing.
        data = f.read(-1 if limit is None else limit + 1)
    if limit is not None and len(data) > limit:
        raise _too_large(uri, None, limit)
    return data


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


def _replace(path: str, data: bytes) -> None:
    partial = _write_partial(path, data)
    try:
        os.replace(partial, path)
    except OSError:
        os.unlink(partial)
        raise


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


# S3 and HTTP


async def _read_s3(
    fs: Any, path: str, uri: str, limit: int | None = None, last: int | None = None
) -> bytes:
    # Not fs.cat_file: it asks for the size first, which is a request more, and in a range that is
    # of another object if this one is replaced meanwhile.
    bucket, key, _ = fs.split_path(path)
    part = {} if last is None else {"Range": f"bytes=-{last}"}
    try:
        reply = await fs._call_s3("get_object", Bucket=bucket, Key=key, **part)
    except OSError as e:
        if last is not None and _s3_error(e)[0] == "InvalidRange":
            return b""  # an empty file has no last byte
        raise
    body = reply["Body"]
    try:
        size = reply.get("ContentLength")
        return await _collect(body.iter_chunks(1 << 20), size, uri, limit)
    finally:
        body.close()


async def _read_http(fs: Any, path: str, uri: str, limit: int | None) -> bytes:
    session = await fs.set_session()
    async with session.get(fs.encode_url(path), **fs.kwargs) as reply:
        reply.raise_for_status()
        # What was compressed for the way is longer when it is here.
        size = None if "Content-Encoding" in reply.headers else reply.content_length
        return await _collect(reply.content.iter_chunked(1 << 20), size, uri, limit)


async def _collect(
    chunks: AsyncIterator[bytes], size: int | None, uri: str, limit: int | None
) -> bytes:
    if limit is not None and size is not None and size > limit:
        raise _too_large(uri, size, limit)
    held, arrived = [], 0
    async for chunk in chunks:
        arrived += len(chunk)
        if limit is not None and arrived > limit:
            raise _too_large(uri, None, limit)
        held.append(chunk)
    _check_length(arrived, size)
    return b"".join(held)


def _put_s3(fs: Any, path: str, data: bytes, **extra: Any) -> None:
    # Not fs.pipe_file: it sends what is large in parts, of which only the last is conditional.
    # The client limits the time of an answer but not of an upload: `sync` does.
    bucket, key, _ = fs.split_path(path)
    seconds = 60 + len(data) / _SLOWEST_UPLOAD
    body = io.BytesIO(data)
    sync(fs.loop, _put, fs, bucket, key, body, extra, timeout=seconds)


async def _put(fs: Any, bucket: str, key: str, body: io.BytesIO, extra: dict) -> None:
    await fs._call_s3("put_object", Bucket=bucket, Key=key, Body=body, **extra)


def _put_if_none_match(fs: Any, path: str, data: bytes, token: str) -> bool:
    try:
        _put_s3(fs, path, data, IfNoneMatch="*", Metadata={"creator": token})
        return True
    except FileExistsError:
        pass
    except OSError as e:
        if _s3_error(e)[0] not in ("PreconditionFailed", "412"):
            raise
    try:
        return fs.metadata(path).get("creator") == token
    except FileNotFoundError:
        raise ConnectionError("the file was there and is gone") from None  # try again


def _list_s3(uri: str) -> list[str]:
    """Keys directly below a prefix, page by page: one that fails does not cost the others."""
    keys: list[str] = []
    more: dict = {}
    while True:

        def page(fs: Any, path: str, more: dict = more) -> dict:
            bucket, key, _ = fs.split_path(path)
            prefix = f"{key}/" if key else ""
            # Not fs.ls: where a prefix has no keys, it lists all of the folder above.
            return fs.call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **more
            )

        reply = _retried(uri, page)
        keys += (e["Key"] for e in reply.get("Contents", []) if not e["Key"].endswith("/"))
        if not reply.get("IsTruncated"):
            return keys
        more = {"ContinuationToken": reply["NextContinuationToken"]}
