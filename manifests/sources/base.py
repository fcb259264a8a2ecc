"""What manifests are read from: rows in batches, as the files have them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa


@dataclass(frozen=True)
class Batch:
    """Some rows.

    Attributes:
        rows: of the manifest.
        group: number of the row group that holds these rows' pictures, which are best read
            together; None where they lie in files of their own.
    """

    rows: pa.Table
    group: int | None = None


class Source(Protocol):
    """Files that hold a manifest's rows.

    Attributes:
        name: what messages call it.
        base: folder that relative paths of its rows start from.
        schema: of all batches.
        notes: what a user should be told of how it is read.
        files: paths or URIs.
        holds_pictures: whether the files hold pictures, and do not only name them.
    """

    name: str
    base: str
    schema: pa.Schema
    notes: list[str]
    files: list[str]
    holds_pictures: bool

    def batches(self) -> Iterator[Batch]:
        """All rows, in the order of the files.

        Raises:
            ManifestError: a file cannot be read, or rows take more memory than allowed.
        """
        ...


def new_names(source: Source, reserved: Collection[str]) -> dict[str, str]:
    """New names for columns whose names are reserved, of a source that holds pictures.

    Such a source is a dataset that was not written for this project: its owner cannot be asked to
    rename a column. Of others, reserved names are refused.
    """
    if not source.holds_pictures:
        return {}
    return {name: f"source_{name}" for name in source.schema.names if name in reserved}


def fitted(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows with the columns and types of a schema that is theirs and of other files.

    Raises:
        pa.ArrowException: they do not fit.
    """
    if rows.schema.equals(schema):
        return rows
    both = [schema.empty_table(), rows]
    return pa.concat_tables(both, promote_options="permissive").select(schema.names).cast(schema)
