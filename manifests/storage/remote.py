"""Objects of S3, and files of web servers."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import AsyncIterator, Coroutine
from typing import Any, TypeVar

from fsspec.asyn import sync

from manifests.errors import StorageError
from manifests.secrets import shown
from manifests.storage.retries import retried
from manifests.storage.words import s3_error, too_large

# Bytes per second below which a transfer is taken for stuck, and the seconds that it has besides.
_SLOWEST_UPLOAD, _SLOWEST_DOWNLOAD = 256 * 1024, 16 * 1024
_START_SECONDS = 60


T = TypeVar("T")


async def timed(seconds: float | None, reading: Coroutine[Any, Any, T]) -> T:
    """What a coroutine returns; it is cancelled, with its connection, if it takes longer."""
    async with asyncio.timeout(seconds):
        return await reading


async def read_s3(
    fs: Any,
    path: str,
    uri: str,
    limit: int | None = None,
    part: str | None = None,
    etag: str | None = None,
) -> bytes:
    """``part``: the bytes wanted, as a Range header names them."""
    # Not fs.cat_file: it asks for the size first, which is a request more, and in a range that is
    # of another object if this one is replaced meanwhile.
    bucket, key, _ = fs.split_path(path)
    wanted = {"Range": f"bytes={part}"} if part else {}
    try:
        reply = await fs._call_s3("get_object", Bucket=bucket, Key=key, **wanted)
    except OSError as e:
        if part and s3_error(e)[0] == "InvalidRange":
            return b""  # an empty file has no last byte
        raise
    body = reply["Body"]
    try:
        check_etag(reply.get("ETag", ""), etag, uri)
        size = reply.get("ContentLength")
        return await _collect(body.iter_chunks(1 << 20), size, uri, limit)
    finally:
        body.close()


async def read_http(
    fs: Any, path: str, uri: str, limit: int | None, etag: str | None = None
) -> bytes:
    session = await fs.set_session()
    async with session.get(fs.encode_url(path), **fs.kwargs) as reply:
        reply.raise_for_status()
        if reply.status >= 300:  # a redirect that does not say where to
            words = f"{shown(uri)}: the server answers {reply.status} {reply.reason}"
            raise StorageError(words, "refused")
        check_etag(reply.headers.get("ETag", ""), etag, uri)
        # What was compressed for the way is longer when it is here.
        size = None if "Content-Encoding" in reply.headers else reply.content_length
        return await _collect(reply.content.iter_chunked(1 << 20), size, uri, limit)


def check_etag(found: str, wanted: str | None, uri: str) -> None:
    """Raise StorageError for another ETag. Many a server would not look at an If-Match header."""

    def bare(etag: str) -> str:
        return etag.removeprefix("W/").strip('"')

    if wanted and bare(found) != bare(wanted):
        raise StorageError(f"{shown(uri)}: the file has no longer the ETag {wanted}", "changed")


async def _collect(
    chunks: AsyncIterator[bytes], size: int | None, uri: str, limit: int | None
) -> bytes:
    if limit is not None and size is not None and size > limit:
        raise too_large(uri, size, limit)
    held, arrived, began = [], 0, time.monotonic()
    async for chunk in chunks:
        arrived += len(chunk)
        if time.monotonic() - began > _START_SECONDS + arrived / _SLOWEST_DOWNLOAD:
            raise ConnectionError(f"too slow: {arrived} bytes in {time.monotonic() - began:.0f} s")
        if limit is not None and arrived > limit:
            raise too_large(uri, None, limit)
        held.append(chunk)
    check_length(arrived, size)
    return b"".join(held)


def put_s3(fs: Any, path: str, data: bytes, **extra: Any) -> None:
    # Not fs.pipe_file: it sends what is large in parts, of which only the last is conditional.
    # The client limits the time of an answer but not of an upload: `sync` does.
    bucket, key, _ = fs.split_path(path)
    seconds = _START_SECONDS + len(data) / _SLOWEST_UPLOAD
    body = io.BytesIO(data)
    sync(fs.loop, _put, fs, bucket, key, body, extra, timeout=seconds)


async def _put(fs: Any, bucket: str, key: str, body: io.BytesIO, extra: dict[str, Any]) -> None:
    await fs._call_s3("put_object", Bucket=bucket, Key=key, Body=body, **extra)


def put_if_none_match(fs: Any, path: str, data: bytes, token: str) -> bool:
    try:
        put_s3(fs, path, data, IfNoneMatch="*", Metadata={"creator": token})
        return True
    except FileExistsError:
        pass
    except OSError as e:
        if s3_error(e)[0] not in ("PreconditionFailed", "412"):
            raise
    try:
        creator: str | None = fs.metadata(path).get("creator")
        return creator == token
    except FileNotFoundError:
        raise ConnectionError("the file was there and is gone") from None  # try again


def list_s3(uri: str, files_only: bool = True) -> list[str]:
    """Keys directly below a prefix, page by page: one that fails does not cost the others.

    Without ``files_only`` also the prefixes directly below it.
    """
    keys: list[str] = []
    more: dict[str, str] = {}
    while True:

        def page(fs: Any, path: str, more: dict[str, str] = more) -> dict[str, Any]:
            bucket, key, _ = fs.split_path(path)
            prefix = f"{key}/" if key else ""
            # Not fs.ls: where a prefix has no keys, it lists all of the folder above.
            listing: dict[str, Any] = fs.call_s3(
                "list_objects_v2", Bucket=bucket, Prefix=prefix, Delimiter="/", **more
            )
            return listing

        reply = retried(uri, page)
        keys += (e["Key"] for e in reply.get("Contents", []) if not e["Key"].endswith("/"))
        if not files_only:
            keys += (e["Prefix"].removesuffix("/") for e in reply.get("CommonPrefixes", []))
        if not reply.get("IsTruncated"):
            return keys
        more = {"ContinuationToken": reply["NextContinuationToken"]}


def check_length(held: int, size: int | None) -> None:
    if size is not None and held != size:
        raise ConnectionError(f"{held} of {size} bytes arrived")
