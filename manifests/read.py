"""Reading manifests: Parquet (a file, or a folder of parts), CSV, JSON Lines, from any storage."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pyarrow.json
import pyarrow.parquet as pq

from manifests import storage
from manifests.errors import ManifestError
from manifests.schema import STRINGS, normalise

FORMATS = (".parquet", ".csv", ".jsonl", ".ndjson")
DIGEST_ROWS = 65536


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
    suffix = next((s for s in FORMATS if name.lower().endswith(s)), None)
    fs, path = storage.filesystem(uri)
    try:
        if fs.isdir(path):
            parts = [p for p in storage.list_names(uri, ".parquet")]
            if not parts:
                raise ManifestError(f"{name}: a folder without Parquet files; build a manifest")
            files = [storage.filesystem(storage.join(uri, part))[1] for part in parts]
            return pyarrow.dataset.dataset(files, filesystem=fs, format="parquet").to_table()
        if suffix is None:
            raise ManifestError(f"{name}: a manifest's name ends in one of {', '.join(FORMATS)}")
        data = pa.BufferReader(storage.read_bytes(uri))
        if suffix == ".parquet":
            return pq.read_table(data)
        if suffix == ".csv":
            # Ids such as 007 are text, whatever they look like.
            types = pa.csv.ConvertOptions(
                column_types={column: pa.string() for column in STRINGS}, strings_can_be_null=True
            )
            return pa.csv.read_csv(data, convert_options=types)
        return pa.json.read_json(data)
    except pa.ArrowInvalid as e:
        raise ManifestError(f"{name}: cannot be read as a table: {e}") from None


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
