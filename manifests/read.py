"""Reading manifests: Parquet (a file, or a folder of parts), CSV, JSON Lines, from any storage."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa

from manifests import storage
from manifests.errors import ManifestError, StorageError
from manifests.limits import Limit, cut, most_bytes
from manifests.read_csv import read_csv
from manifests.read_json import read_json
from manifests.read_parquet import read_parquet
from manifests.schema import check_depth, check_storable, normalise

FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson")
DIGEST_ROWS = 65536
THREADS = 8  # parts of a folder that are fetched at once


def read_manifest(
    uri: str, reserved: Collection[str] = (), *, max_bytes: int | None = None
) -> pa.Table:
    """The manifest with its known columns in their types (:mod:`manifests.schema`).

    Args:
        uri: path or URI; the suffix tells the format, a folder holds Parquet parts.
        reserved: names that the user's own columns may not have.
        max_bytes: that its rows may take in memory; None for 1 GiB, or 100 times the file's size
            where this is more, and no more than a quarter of the machine's memory.

    Raises:
        ManifestError: it cannot be read, is empty, would take more than ``max_bytes``, or a column
            or row is wrong.
    """
    name = storage.shown(uri)
    table = normalise(read_table(uri, max_bytes), name, reserved)
    check_storable(table, name)
    if not len(table):
        raise ManifestError(f"{name}: the manifest has no rows")
    return table.combine_chunks()


def read_table(uri: str, max_bytes: int | None = None) -> pa.Table:
    """The table as it stands in the file.

    Of CSV and JSON Lines, columns of the user's own are numbers, dates and the like only where
    nothing of what was written is lost thereby (007 is text); else text.

    Args:
        max_bytes: as for :func:`read_manifest`.

    Raises:
        ManifestError: it cannot be read, would take more than ``max_bytes``, or is not of the
            format that its name says.
    """
    if not uri:
        raise ManifestError("the manifest's path is empty")
    name = storage.shown(uri)
    if storage.kind_of(uri) != "directory":
        data = _fetch(uri, max_bytes)
        return _decode(data, name, Limit.of(name, data.size, max_bytes))
    parts = storage.list_names(uri, ".parquet")
    if not parts:
        raise ManifestError(f"{name}: a folder without Parquet files; build a manifest")
    with ThreadPoolExecutor(THREADS) as pool:
        fetched = list(pool.map(lambda part: _fetch(storage.join(uri, part), max_bytes), parts))
    size = sum(data.size for data in fetched)
    tables: list[pa.Table] = []
    taken = 0
    for part in parts:
        label = storage.shown(storage.join(uri, part))
        limit = Limit.of(label, size, max_bytes)
        tables.append(_decode(fetched.pop(0), label, limit, taken))
        taken += tables[-1].nbytes
    names = {field.name for table in tables for field in table.schema}
    limit = Limit.of(name, size, max_bytes)
    limit.check_columns(len(names))
    missing = sum(len(table) * (len(names) - len(table.schema.names)) for table in tables)
    limit.check(taken + missing, "the columns that not all of its parts have")
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except pa.ArrowException as e:
        raise ManifestError(f"{name}: its parts do not fit together: {cut(str(e))}") from None


def _fetch(uri: str, max_bytes: int | None) -> pa.Buffer:
    name = storage.shown(uri)
    if not name.lower().endswith(FORMATS):
        raise ManifestError(f"{name}: a manifest's name ends in one of {', '.join(FORMATS)}")
    allowed = most_bytes() if max_bytes is None else max_bytes
    try:
        return pa.py_buffer(storage.read_bytes(uri, allowed))
    except StorageError as e:
        if e.kind != "too_large":
            raise
        raise ManifestError(
            f"{e}; if you trust the file, set max_manifest_bytes to more in a job file"
        ) from None


def _decode(data: pa.Buffer, name: str, limit: Limit, taken: int = 0) -> pa.Table:
    try:
        if name.lower().endswith(".parquet"):
            return read_parquet(data, limit, taken)
        _check_text(data)
        return read_csv(data, limit) if name.lower().endswith(".csv") else read_json(data, limit)
    except (pa.ArrowException, OSError) as e:  # OSError: of Parquet's decoder
        raise ManifestError(f"{name}: cannot be read as a table: {cut(str(e))}") from None


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


def content_digest(table: pa.Table) -> str:
    """SHA-256 of a manifest's columns and rows, however they are chunked.

    Raises:
        ManifestError: a column has too many values in one another.
    """
    check_depth(table, "the manifest")
    digest = hashlib.sha256(table.schema.remove_metadata().to_string().encode())
    table = table.combine_chunks()
    for start in range(0, len(table), DIGEST_ROWS):
        # Written anew, so that offsets and padding depend on the rows alone.
        sink = pa.BufferOutputStream()
        rows = table.slice(start, DIGEST_ROWS).replace_schema_metadata()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(pa.concat_tables([rows.take(pa.array(range(len(rows))))]))
        digest.update(sink.getvalue())
    return digest.hexdigest()
