"""Doing for many files what waits for storage, some of them ahead of their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

AHEAD = 8

T = TypeVar("T")


def ahead(action: Callable[[str], T], files: Sequence[str]) -> Iterator[T]:
    """What the action returns for each file, in the order of the files."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting: deque[Future[T]] = deque()
        try:
            for file in files:
                waiting.append(pool.submit(action, file))
                if len(waiting) == AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for left in waiting:
                left.cancel()
