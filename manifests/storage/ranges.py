"""A file in storage for libraries that read here and there in it: of it, only that is fetched."""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import TYPE_CHECKING

from manifests import storage

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TAIL_BYTES = 64 << 10  # what Arrow asks first of a Parquet file, whose index is at the end
GAP_BYTES = 64 << 10  # between two parts, that are fetched rather than asked for anew


class RangedFile(io.RawIOBase):
    """A read-only file; each read is a request, but for reads of its last bytes or of those held.

    Raises:
        StorageError: from any method, as :func:`manifests.storage.read_bytes`.
    """

    def __init__(self, uri: str, policy: storage.FetchPolicy = storage.UNRESTRICTED):
        self.uri, self.policy = uri, policy
        self.size = storage.size_of(uri, policy)
        self.tail = storage.read_tail(uri, TAIL_BYTES, policy)
        self.place = 0
        self._held: list[tuple[int, bytes]] = []

    def hold(self, spans: Iterable[tuple[int, int]]) -> None:
        """Fetch these parts, each from its start to its end, in place of those held before.

        What lies between two of them is fetched too where it is short.
        """
        self._held = []  # first: both at a time would take twice the memory
        parts: list[list[int]] = []
        for start, end in sorted(spans):
            if parts and start <= parts[-1][1] + GAP_BYTES:
                parts[-1][1] = max(parts[-1][1], end)
            else:
                parts.append([start, end])
        self._held = [(start, self._at(start, end - start)) for start, end in parts]

    def view(self, start: int, end: int) -> memoryview:
        """A part of what is held, or of the file's end."""
        for first, held in (*self._held, (self.size - len(self.tail), self.tail)):
            if first <= start and end <= first + len(held):
                return memoryview(held)[start - first : end - first]
        raise KeyError(f"{start} to {end} is not held")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self.place, io.SEEK_END: self.size}[whence]
        self.place = start + offset
        return self.place

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._at(self.place, len(view))
        view[: len(data)] = data
        self.place += len(data)
        return len(data)

    def read(self, size: int = -1) -> bytes:
        data = self._at(self.place, self.size - self.place if size < 0 else size)
        self.place += len(data)
        return data

    def _at(self, start: int, size: int) -> bytes:
        size = max(0, min(size, self.size - start))
        kept = self.size - len(self.tail)
        if start >= kept:
            return self.tail[start - kept :][:size]
        for first, held in self._held:
            if first <= start and start + size <= first + len(held):
                return held[start - first :][:size]
        return storage.read_range(self.uri, start, size, self.policy)
