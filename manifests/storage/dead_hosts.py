"""Web servers that failed for several files in a row are not asked again for a while.

This is a circuit breaker for each host. It is not pybreaker, whose breakers let only one call at a
time pass.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from manifests.errors import StorageError
from manifests.secrets import shown
from manifests.uris import origin_of

FAILURES = 3  # files in a row after which a host is taken for dead
PAUSE_SECONDS = 60.0  # until one file may ask it again
_MOST_HOSTS = 10_000  # remembered; beyond, the oldest are forgotten


class DeadHosts:
    """The failures of each origin (scheme, host and port). Its methods may be used by threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: dict[str, tuple[int, float]] = {}  # in a row; when to ask again

    @contextmanager
    def asking(self, uri: str) -> Iterator[None]:
        """The body fetches a file; what it raises tells whether its host has failed.

        Raises:
            StorageError: ``host_down``; the body has not been run.
        """
        origin = origin_of(uri)
        if origin is None:
            yield
            return
        self._check(origin, uri)
        try:
            yield
        except StorageError as e:
            self._note(origin, e.host_failed)
            raise
        self._note(origin, False)

    def forget(self) -> None:
        with self._lock:
            self._failures.clear()

    def _check(self, origin: str, uri: str) -> None:
        with self._lock:
            failures, again = self._failures.get(origin, (0, 0.0))
            left = again - self._clock()
            if failures < FAILURES:
                return
            if left <= 0:
                # This file asks; the others go on without until it has an answer.
                self._failures[origin] = failures, self._clock() + PAUSE_SECONDS
                return
        raise StorageError(
            f"{shown(uri)}: {origin} failed to deliver the last {failures} files; it is "
            f"not asked again for another {math.ceil(left)} s",
            "host_down",
        )

    def _note(self, origin: str, failed: bool) -> None:
        with self._lock:
            failures, _ = self._failures.pop(origin, (0, 0.0))
            if failed:
                self._failures[origin] = failures + 1, self._clock() + PAUSE_SECONDS
            if len(self._failures) > _MOST_HOSTS:
                del self._failures[next(iter(self._failures))]


DEAD_HOSTS = DeadHosts()  # of this process
