"""What storages raise: in words for a user, and whether it is likely to pass."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from manifests.errors import StorageError
from manifests.secrets import redacted, shown
from manifests.uris import is_local

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
ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "STORAGE_EMULATOR_HOST")
# Names of classes, or of what they inherit from: the packages are extras, and take long to import.
_CREDENTIALS = {
    "ClientAuthenticationError",  # Azure
    "DefaultCredentialsError",  # Google
    "NoCredentialsError",  # S3
    "PartialCredentialsError",
    "RefreshError",  # Google
}
_CONNECTION = {
    "ChecksumError",  # gcsfs
    "ConnectionError",  # Python's own, and that of requests, which Google uses
    "ServiceRequestError",  # Azure
    "ServiceResponseError",
    "TransportError",  # Google
}


def in_words(error: BaseException, uri: str) -> StorageError:
    """What a file system raised about ``uri``, as an error to show a user."""
    if isinstance(error, StorageError):
        return error
    name = shown(uri)
    error = _bare(error)
    code, message = s3_error(error)
    status = status_of(error)
    text = str(error).partition("\nRequestId:")[0]  # Azure's go on with the whole of the answer
    cause = ": ".join(filter(None, (code, message))) or text or type(error).__name__
    if is_local(uri) and isinstance(error, OSError) and error.strerror:
        cause = error.strerror  # without the name of a temporary file
    elif isinstance(error, TimeoutError) and not str(error):
        cause = "no answer in time"
    elif isinstance(error, NotImplementedError):
        cause = "this storage has no such operation"
    # Here, as aiohttp takes long to import.
    from manifests.storage.http_words import permanent_cause

    of_http = permanent_cause(error)
    if of_http:
        cause = of_http[0]
    explained = f"{name}: {redacted(cause, [uri, *_urls(error)])}"
    if of_http:
        return StorageError(explained, of_http[1])
    if isinstance(error, PermissionError) or status in (401, 403):
        return StorageError(f"access denied: {name}", "access_denied")
    if _names(error) & _CREDENTIALS:
        return StorageError(f"access denied: {explained}", "access_denied")
    if isinstance(error, FileNotFoundError) or status in (404, 410):
        what = "bucket" if code == "NoSuchBucket" else "file"
        return StorageError(f"no such {what}: {name}", "not_found")
    if isinstance(error, NotADirectoryError):
        return StorageError(explained, "not_found")
    if isinstance(error, IsADirectoryError):
        return StorageError(f"is a folder, not a file: {name}", "not_a_file")
    if isinstance(error, ValueError) or type(error).__name__ == "ParamValidationError":
        return StorageError(explained, "bad_uri")
    return StorageError(explained)


def _urls(error: BaseException | None) -> Iterator[str]:
    """What an error of HTTP may tell of beside the URI asked for: redirects, and the endpoint."""
    # Here, as they take long to import.
    import aiohttp
    from yarl import URL

    for name in ENDPOINTS:
        yield os.environ.get(name, "")
    while error is not None:
        request = getattr(error, "request_info", None)
        answers = getattr(error, "history", ())
        urls = [getattr(error, "url", None), getattr(request, "real_url", None)]
        urls += [answer.real_url for answer in answers]
        urls += [answer.headers.get("Location") for answer in answers]
        if isinstance(error, aiohttp.ClientError):
            urls += [arg for arg in error.args if isinstance(arg, str | URL)]
        for url in filter(None, urls):
            yield str(url)
            # Whatever scheme a redirect has, or none: its parts are as secret.
            yield f"http://{str(url).lstrip('/')}"
        error = error.__cause__ or error.__context__


def too_large(uri: str, size: int | None, limit: int) -> StorageError:
    held = f"{size} bytes" if size is not None else "an unknown number of bytes"
    return StorageError(f"{shown(uri)}: {held}, more than the {limit} allowed", "too_large")


def may_pass(error: BaseException) -> bool:
    """Whether the same request may succeed later."""
    # Here, as they take long to import.
    import aiohttp
    from botocore import exceptions as boto
    from botocore.parsers import ResponseParserError

    from manifests.storage.http_words import PASSING_STATUS, permanent_cause

    error = _bare(error)
    if isinstance(error, StorageError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        return False
    if permanent_cause(error):
        return False
    code = s3_error(error)[0]
    status = status_of(error)
    if code or status:
        return code in _S3_PASSING or status in PASSING_STATUS
    passing = (
        TimeoutError,
        aiohttp.ClientError,
        boto.ConnectionError,
        boto.HTTPClientError,
        boto.IncompleteReadError,
        ResponseParserError,
    )
    passes = isinstance(error, passing) or bool(_names(error) & _CONNECTION)
    return passes and not isinstance(error, (ValueError, PermissionError))


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _bare(error: BaseException) -> BaseException:
    """The error itself: fsspec's HTTP turns every failure to look at a file into "not found"."""
    cause = error.__cause__
    if isinstance(error, FileNotFoundError) and cause is not None and not s3_error(error)[0]:
        return cause
    return error


def _s3_answer(error: BaseException) -> dict[str, Any]:
    answer = getattr(error.__cause__ or error, "response", None)
    return answer if isinstance(answer, dict) else {}


def s3_error(error: BaseException) -> tuple[str, str]:
    """Code and message that an S3 server answered with; empty where none did."""
    answer = _s3_answer(error).get("Error", {})
    return str(answer.get("Code") or ""), str(answer.get("Message") or "")


def status_of(error: BaseException) -> int | None:
    """The HTTP status that a server answered with, if it did."""
    if isinstance(error, OSError) and str(error).startswith("Forbidden: "):
        return 403  # gcsfs tells it by these words alone
    status = _s3_answer(error).get("ResponseMetadata", {}).get("HTTPStatusCode")
    # aiohttp's errors have the last two, of which the latter warns.
    for name in ("status_code", "status", "code"):
        if not isinstance(status, int):
            status = getattr(error, name, None)
    return status if isinstance(status, int) else None
