"""Trying again: the one layer of it between this project and a server."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, TypeVar

import fsspec
from fsspec import AbstractFileSystem
from fsspec.config import apply_config
from fsspec.implementations.local import LocalFileSystem
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    wait_random_exponential,
)

from manifests.errors import StorageError
from manifests.secrets import redacted, shown
from manifests.storage.deadline import too_late
from manifests.storage.policy import UNRESTRICTED, FetchPolicy
from manifests.storage.words import in_words, may_pass
from manifests.uris import is_local, local_path

RETRY_SECONDS = 120.0
"""For how long failures that are likely to pass are tried again."""

_FIRST_PAUSE, _FIRST_PAUSE_OF_FEW, _LONGEST_PAUSE = 0.2, 1.0, 5.0  # seconds, at most

# Schemes of storages whose packages are extras of this project.
EXTRAS = {"hf": "hf", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}

NO_ACCOUNT = (
    "no storage account is known: set AZURE_STORAGE_CONNECTION_STRING, or "
    "AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"
)

# gcsfs prints the tracebacks of what is said in words here. Whoever sets up logging still has them.
logging.getLogger("gcsfs").addHandler(logging.NullHandler())
# Else it asks for the kind of each bucket by another API, again and again where it may not ask.
# Only Google's zonal buckets cannot be read without.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

T = TypeVar("T")

Options = Callable[[type[AbstractFileSystem]], dict[str, Any]]
"""The keyword arguments that make a file system of a class."""


def retried(
    uri: str,
    action: Callable[[AbstractFileSystem, str], T],
    options: Options | None = None,
    policy: FetchPolicy = UNRESTRICTED,
) -> T:
    """``action(file system, path)``, tried again while it fails in a way that may pass.

    Args:
        options: of the file system; by default those of :func:`single_tries`. What is many
            requests at once is better left the tries of its own library, request by request.
        policy: when to give up, and which hosts not to ask.
    """
    # Here, as it takes long to import.
    from manifests.storage.http_words import is_of_host

    seconds = _retry_seconds() if policy.retry_seconds is None else policy.retry_seconds
    options = options or partial(single_tries, policy=policy)
    first_failure = math.inf

    def is_late(state: RetryCallState) -> bool:
        return policy.timeout is not None and (state.seconds_since_start or 0.0) >= policy.timeout

    def is_over(state: RetryCallState) -> bool:
        # Counted from the first failure: a long upload is tried again, too.
        nonlocal first_failure
        _, now = _failure(state)
        first_failure = min(first_failure, now)
        is_last = policy.retries is not None and state.attempt_number > policy.retries
        return is_last or is_late(state) or now - first_failure >= seconds

    def give_up(state: RetryCallState) -> NoReturn:
        raised, now = _failure(state)
        if policy.timeout is not None and is_late(state):
            raise too_late(uri, policy.timeout) from None
        error = in_words(raised, uri)
        again = state.attempt_number > 1
        waited = f" (tried again for {now - first_failure:.0f} s)" if again else ""
        failed = is_of_host(raised, uri)
        raise StorageError(f"{error}{waited}", error.kind, host_failed=failed) from None

    # Few tries are spread over more time than many.
    first_pause = _FIRST_PAUSE if policy.retries is None else _FIRST_PAUSE_OF_FEW
    retrying = Retrying(
        retry=retry_if_exception(lambda e: not is_local(uri) and may_pass(e)),
        wait=wait_random_exponential(multiplier=first_pause, max=min(_LONGEST_PAUSE, seconds)),
        stop=is_over,
        retry_error_callback=give_up,
    )
    try:
        return retrying(lambda: action(*open_filesystem(uri, options)))
    except Exception as e:  # every storage has errors of its own
        raise in_words(e, uri) from None


def _failure(state: RetryCallState) -> tuple[BaseException, float]:
    """What the last try raised, and when."""
    assert state.outcome is not None and state.outcome_timestamp is not None
    error = state.outcome.exception()
    assert error is not None
    return error, state.outcome_timestamp


def _retry_seconds() -> float:
    text = os.environ.get("DIFFPIR_RETRY_SECONDS") or str(RETRY_SECONDS)
    try:
        seconds = float(text)
        if seconds >= 0 and math.isfinite(seconds):
            return seconds
    except ValueError:
        pass
    raise StorageError(f"DIFFPIR_RETRY_SECONDS is no number of seconds: {text!r}")


def open_filesystem(uri: str, options: Options) -> tuple[AbstractFileSystem, str]:
    if is_local(uri):
        return LocalFileSystem(), local_path(uri)
    protocol, _, rest = uri.partition("://")
    protocol = protocol.lower()
    uri = f"{protocol}://{rest}"  # as fsspec knows it
    try:
        # Not fsspec.core.url_to_fs: "::" in a key would be read as a chain of file systems.
        kind = fsspec.get_filesystem_class(protocol)
        extra = options(kind)
        fs = fsspec.filesystem(protocol, **{**extra, **kind._get_kwargs_from_urls(uri)})
        if "config_kwargs" in extra:
            fs.retries = 1  # s3fs's own, around those of its client
        return fs, kind._strip_protocol(uri)
    except (ValueError, ImportError) as e:
        if "account_name with credentials" in str(e):  # adlfs
            raise StorageError(
                f"access denied: {shown(uri)}: {NO_ACCOUNT}", "access_denied"
            ) from None
        words = f"{shown(uri)}: {redacted(str(e), [uri])}"
        if protocol in EXTRAS and isinstance(e, ImportError):
            words += f" (pip install 'diffpir-on-ray[{EXTRAS[protocol]}]')"
        raise StorageError(words, "bad_uri") from None


def single_tries(
    kind: type[AbstractFileSystem], policy: FetchPolicy = UNRESTRICTED
) -> dict[str, Any]:
    """Options of a file system that leaves trying again to this module, and obeys the policy.

    Else s3fs tries five times what its client tries five times: with a server that does not
    answer, each of them for 15 seconds.
    """
    protocols = {kind.protocol} if isinstance(kind.protocol, str) else set(kind.protocol)
    own = apply_config(kind, {})
    if "s3" in protocols:
        config = {**own.get("config_kwargs", {}), "retries": {"total_max_attempts": 1}}
        return {"config_kwargs": config, "use_listings_cache": False}
    if not protocols & {"http", "gs"}:
        return {}
    from aiohttp import ClientTimeout

    # A large download may take its time, but not stand still.
    timeout = ClientTimeout(total=None, sock_connect=10, sock_read=30)
    if "http" in protocols:
        from manifests.storage.connector import GuardedClient

        guard = {"get_client": GuardedClient(policy.allowed_hosts)} if policy.guarded else {}
        return {"client_kwargs": {"timeout": timeout, **own.get("client_kwargs", {})}, **guard}
    return {"requests_timeout": timeout}
