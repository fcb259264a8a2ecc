"""Reading manifests: Parquet (a file, or a folder of parts), CSV, JSON Lines, from any storage."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from manifests import storage
from manifests.errors import ManifestError
from manifests.schema import STRINGS, normalise

FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson")
WRITTEN_KERNEL = re.compile(rb'"kernel"\s*:\s*\{')
DIGEST_ROWS = 65536
THREADS = 8  # parts of a folder that are fetched at once
BLOCK_BYTES = 16 << 20  # the parsers take no row longer than a block


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
    if not len(table):
        raise ManifestError(f"{name}: the manifest has no rows")
    return table.combine_chunks()


def read_table(uri: str) -> pa.Table:
    """The table as it stands in the file.

    Raises:
        ManifestError: it cannot be read, or is not of the format that its name says.
    """
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
        return _read_csv(data) if suffix == ".csv" else _read_json(data)
    except (pa.ArrowException, OSError) as e:  # OSError: of Parquet's decoder
        raise ManifestError(f"{name}: cannot be read as a table: {e}") from None


def _read_csv(data: pa.Buffer) -> pa.Table:
    # Ids such as 007 and NA are text, whatever they look like.
    types = pa.csv.ConvertOptions(
        column_types={column: pa.string() for column in STRINGS}, strings_can_be_null=False
    )
    return pa.csv.read_csv(
        pa.BufferReader(data),
        # One thread: with more, an error does not say its line.
        pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
        pa.csv.ParseOptions(newlines_in_values=True),
        types,
    )


def _read_json(data: pa.Buffer) -> pa.Table:
    options = pa.json.ReadOptions(block_size=BLOCK_BYTES)
    try:
        data = _kernels_as_text(data)
        table = pa.json.read_json(pa.BufferReader(data), options)
        # Text that looks like a time was parsed as one, and would not come back as it was.
        texts = [f.name for f in table.schema if f.name in STRINGS and pa.types.is_temporal(f.type)]
        if texts:
            schema = pa.schema([(name, pa.string()) for name in texts])
            parse = pa.json.ParseOptions(explicit_schema=schema)
            table = pa.json.read_json(pa.BufferReader(data), options, parse)
        return table
    except pa.ArrowInvalid as e:
        line = _first_bad_line(data)
        raise pa.ArrowInvalid(f"line {line} is not a JSON object" if line else str(e)) from None


def _kernels_as_text(data: pa.Buffer) -> pa.Buffer:
    """Lines whose kernel is an object, with it as text: Arrow takes no mixture of both."""
    if not WRITTEN_KERNEL.search(data):
        return data
    lines = data.to_pybytes().split(b"\n")
    for i, line in enumerate(lines):
        if WRITTEN_KERNEL.search(line):
            try:
                row = json.loads(line)
            except ValueError:  # Arrow will say so
                continue
            if isinstance(row, dict) and isinstance(row.get("kernel"), dict):
                lines[i] = json.dumps({**row, "kernel": json.dumps(row["kernel"])}).encode()
    return pa.py_buffer(b"\n".join(lines))


def _first_bad_line(data: pa.Buffer) -> int | None:
    """Arrow counts rows within its blocks, so lines are counted here."""
    for number, line in enumerate(data.to_pybytes().split(b"\n"), start=1):
        try:
            if line.strip() and not isinstance(json.loads(line), dict):
                return number
        except ValueError:
            return number
    return None


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
