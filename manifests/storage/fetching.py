"""Reading from a file under a policy."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from fsspec import AbstractFileSystem

from manifests.storage.dead_hosts import DEAD_HOSTS
from manifests.storage.deadline import within
from manifests.storage.policy import FetchPolicy
from manifests.storage.retries import retried

T = TypeVar("T")


def fetched(uri: str, action: Callable[[AbstractFileSystem, str], T], policy: FetchPolicy) -> T:
    """What ``action(file system, path)`` returns, tried again and ended as the policy says.

    Raises:
        StorageError: the last try failed, the time is over, or the policy forbids the host.
    """
    with DEAD_HOSTS.asking(uri) if policy.guarded else nullcontext():
        return within(policy.timeout, uri, lambda: retried(uri, action, policy=policy))
