"""Manifests of CSV and JSON Lines, which are read whole."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pyarrow as pa

from manifests import storage
from manifests.errors import ManifestError, StorageError
from manifests.limits import Limit, cut, most_bytes
from manifests.sources.base import Batch
from manifests.sources.columns import renamed_table
from manifests.sources.read_csv import read_csv
from manifests.sources.read_json import read_json


class TableSource:
    """The rows of a CSV or JSON Lines file.

    Columns of the user's own are numbers, dates and the like only where nothing of what was written
    is lost thereby (007 is text); else text.

    Args:
        file: path or URI; the suffix tells the format.
        base: folder that relative paths of its rows start from.
        renamed: the manifest's names of columns -> the file's.
        max_bytes: that its rows may take (:func:`manifests.read.read_manifest`).

    Raises:
        ManifestError: it cannot be read.
    """

    def __init__(self, file: str, base: str, renamed: Mapping[str, str], max_bytes: int | None):
        self.name, self.base, self.files = storage.shown(file), base, [file]
        self.notes: list[str] = []
        self.holds_pictures = False
        data = _fetch(file, max_bytes)
        limit = Limit.of(self.name, data.size, max_bytes)
        try:
            _check_text(data)
            csv = self.name.lower().endswith(".csv")
            table = read_csv(data, limit) if csv else read_json(data, limit)
        except (pa.ArrowException, OSError) as e:
            raise ManifestError(f"{self.name}: cannot be read as a table: {cut(str(e))}") from None
        self._table = renamed_table(table, self.name, renamed) if renamed else table
        self.schema = self._table.schema

    def batches(self) -> Iterator[Batch]:
        yield Batch(self._table)


def _fetch(uri: str, max_bytes: int | None) -> pa.Buffer:
    allowed = most_bytes() if max_bytes is None else max_bytes
    try:
        return pa.py_buffer(storage.read_bytes(uri, allowed))
    except StorageError as e:
        if e.kind != "too_large":
            raise
        raise ManifestError(
            f"{e}; if you trust the file, set max_manifest_bytes to more in a job file"
        ) from None


def _check_text(data: pa.Buffer) -> None:
    """What is no UTF-8 would become columns of bytes, or names that are none."""
    ends = pa.array([0, data.size], pa.int64()).buffers()[1]
    try:
        pa.Array.from_buffers(pa.large_string(), 1, [None, ends, data]).validate(full=True)
    except pa.ArrowInvalid:
        content = data.to_pybytes()
        try:
            content.decode()
        except UnicodeDecodeError as e:
            line = content.count(b"\n", 0, e.start) + 1
            raise pa.ArrowInvalid(f"line {line} is not UTF-8 text; save it as UTF-8") from None
