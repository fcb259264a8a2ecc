"""Reading manifests: Parquet (a file, or a folder of parts), CSV, JSON Lines, from any storage."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import storage
from manifests.errors import ManifestError
from manifests.read_csv import read_csv
from manifests.read_json import read_json
from manifests.schema import check_storable, normalise

FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson")
DIGEST_ROWS = 65536
THREADS = 8  # parts of a folder that are fetched at once


def read_manifest(uri: str, reserved: Collection[str] = ()) -> pa.Table:
    """The manifest with its known columns in their types (:mod:`manifests.schema`).

    Args:
        uri: path or URI; the suffix tells the format, a folder holds Parquet parts.
        reserved: names that the user's own columns may not have.

    Raises:
        ManifestError: it cannot be read, is empty, or a column or row is wrong.
    """
    name = storage.shown(uri)
    table = normalise(read_table(uri), name, reserved)
    check_storable(table, name)
    if not len(table):
        raise ManifestError(f"{name}: the manifest has no rows")
    return table.combine_chunks()


def read_table(uri: str) -> pa.Table:
    """The table as it stands in the file.

    Of CSV and JSON Lines, columns of the user's own are numbers, dates and the like only where
    nothing of what was written is lost thereby (007 is text); else text.

    Raises:
        ManifestError: it cannot be read, or is not of the format that its name says.
    """
    if not uri:
        raise ManifestError("the manifest's path is empty")
    name = storage.shown(uri)
    if storage.kind_of(uri) == "directory":
        parts = storage.list_names(uri, ".parquet")
        if not parts:
            raise ManifestError(f"{name}: a folder without Parquet files; build a manifest")
        with ThreadPoolExecutor(THREADS) as pool:
            tables = list(pool.map(lambda part: _read_file(storage.join(uri, part)), parts))
        try:
            return pa.concat_tables(tables, promote_options="permissive")
        except pa.ArrowException as e:
            raise ManifestError(f"{name}: its parts do not fit together: {e}") from None
    return _read_file(uri)


def _read_file(uri: str) -> pa.Table:
    name = storage.shown(uri)
    suffix = next((s for s in FORMATS if name.lower().endswith(s)), None)
    if suffix is None:
        raise ManifestError(f"{name}: a manifest's name ends in one of {', '.join(FORMATS)}")
    data = pa.py_buffer(storage.read_bytes(uri))
    try:
        if suffix == ".parquet":
            return pq.read_table(pa.BufferReader(data))
        _check_text(data)
        return read_csv(data) if suffix == ".csv" else read_json(data)
    except (pa.ArrowException, OSError) as e:  # OSError: of Parquet's decoder
        raise ManifestError(f"{name}: cannot be read as a table: {e}") from None


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
    """SHA-256 of a manifest's columns and rows, however they are chunked."""
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
