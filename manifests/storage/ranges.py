"""A file in storage for libraries that read here and there in it: of it, only that is fetched."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from manifests import storage

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

TAIL_BYTES = 64 << 10  # what Arrow asks first of a Parquet file, whose index is at the end


class RangedFile(io.RawIOBase):
    """A read-only file; each read is a request, but for reads of its last bytes.

    Raises:
        StorageError: from any method, as :func:`manifests.storage.read_bytes`.
    """

    def __init__(self, uri: str):
        self.uri = uri
        self.size = storage.size_of(uri)
        self.tail = storage.read_tail(uri, TAIL_BYTES)
        self.place = 0

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
        return storage.read_range(self.uri, start, size)
