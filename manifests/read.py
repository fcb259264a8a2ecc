"""Opening manifests: Parquet, CSV, JSON Lines and WebDataset's tar, from any storage."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from types import MappingProxyType

import pyarrow as pa

from manifests import storage
from manifests.errors import ManifestError
from manifests.expand import expand, root_of
from manifests.formats import image_suffixes
from manifests.manifest import Manifest
from manifests.scan import scan
from manifests.sources.base import Source
from manifests.sources.parquet import ParquetSource
from manifests.sources.table import TableSource
from manifests.sources.tar import TarSource

TABLES = (".csv", ".jsonl", ".ndjson")
CONTAINERS = (".parquet", ".tar")  # which may hold pictures
FORMATS = (*CONTAINERS, *TABLES)
COMPRESSED_TARS = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst")  # refused
SAME: Mapping[str, str] = MappingProxyType({})


def read_manifest(
    uri: str, reserved: Collection[str] = (), *, max_bytes: int | None = None
) -> pa.Table:
    """A whole manifest as a table, with its known columns in their types.

    Args:
        uri: path or URI (:func:`open_source`).
        reserved: names that the user's own columns may not have.
        max_bytes: that its rows may take in memory.

    Raises:
        ManifestError: it cannot be read, is empty, would take more than ``max_bytes``, or a column
            or row is wrong.
    """
    manifest = Manifest(open_source(uri, max_bytes=max_bytes), reserved)
    scan(manifest)
    return pa.concat_tables([batch.rows for batch in manifest.batches()]).combine_chunks()


def has_rows(uri: str) -> bool:
    """Whether a path, URI, glob or name with braces is of a manifest, and not of loose pictures.

    A folder is, if there are Parquet or tar files in it and no pictures.

    Raises:
        StorageError: it cannot be listed.
    """
    return storage.shown(uri).lower().endswith(TABLES) or holds_rows(uri)


def holds_rows(uri: str) -> bool:
    """The same, of Parquet and tar files alone."""
    if storage.shown(uri).lower().endswith((*CONTAINERS, *COMPRESSED_TARS)):
        return True
    if not uri or storage.kind_of(uri) != "directory":
        return False
    names = [name.lower() for name in storage.find_files(uri)]
    pictures = tuple(image_suffixes())
    return any(name.endswith(CONTAINERS) for name in names) and not any(
        name.endswith(pictures) for name in names
    )


def open_source(
    uri: str, *, renamed: Mapping[str, str] = SAME, max_bytes: int | None = None
) -> Source:
    """What a manifest is read from.

    Args:
        uri: a file (``.csv``, ``.jsonl``, ``.ndjson``, ``.parquet``, ``.tar``), or of Parquet or
            tar files many: a folder or bucket prefix, a glob, or a name with braces.
        renamed: the manifest's names of columns -> the files'.
        max_bytes: that its rows may take in memory; None for 1 GiB, or 100 times the files' size
            where this is more. CSV and JSON Lines, which are read whole, may take no more than a
            quarter of the machine's memory either.

    Raises:
        ManifestError: it cannot be read, would take more than ``max_bytes``, or is not of the
            format that its name says.
    """
    if not uri:
        raise ManifestError("the manifest's path is empty")
    name, base = storage.shown(uri), root_of(uri)
    if name.lower().endswith(TABLES) and storage.kind_of(uri) != "directory":
        return TableSource(uri, base, renamed, max_bytes)
    files = expand(uri, CONTAINERS)
    for file in map(storage.shown, files):
        if not file.lower().endswith((*CONTAINERS, *COMPRESSED_TARS)):
            raise ManifestError(f"{file}: a manifest's name ends in one of {', '.join(FORMATS)}")
    tars = [file for file in files if not storage.shown(file).lower().endswith(".parquet")]
    if not tars:
        return ParquetSource(name, base, files, renamed, max_bytes)
    if len(tars) < len(files):
        raise ManifestError(f"{name}: it names both Parquet and tar files; name one kind")
    return TarSource(name, base, files, renamed, max_bytes)
