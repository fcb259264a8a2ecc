"""Giving up on what takes too long, whatever it waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from manifests.errors import StorageError
from manifests.secrets import shown

T = TypeVar("T")


def within(seconds: float | None, uri: str, action: Callable[[], T]) -> T:
    """What the action returns or raises, if it ends in time.

    An action that does not is left alone in a thread of its own: a disk that hangs cannot be asked
    to stop.

    Args:
        seconds: for the action; None for as long as it takes.
        uri: of the file that the action is about, for the message.
        action: to be run.

    Raises:
        StorageError: ``timeout``: it has not ended.
    """
    if seconds is None:
        return action()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as e:
            errors.append(e)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise too_late(uri, seconds)
    return results[0]


def too_late(uri: str, seconds: float) -> StorageError:
    words = f"{shown(uri)}: not fetched within {seconds:g} s"
    return StorageError(words, "timeout", host_failed=True)
