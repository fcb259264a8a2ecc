"""The tables that pass through the flow, and the errors that their rows carry.

A row whose ``error`` is not empty is only passed on.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from manifests.schema import FILES, LABEL, TYPES, holds_labels
from manifests.secrets import redacted

INPUTS = (*FILES, "stored")  # the columns of what a row's problem is posed from
# What a manifest may say of the image file's version, in columns of these types.
VERSION = {"bytes": pa.types.is_integer, "etag": pa.types.is_string}
OTHERS = {**VERSION, LABEL: holds_labels}


def known_columns(rows: pa.ChunkedArray) -> list[dict]:
    """The columns that the flow reads, as Python values; the user's own may hold anything."""
    table = pa.Table.from_struct_array(rows)
    known = [
        field.name
        for field in table.schema
        if field.name in TYPES or (field.name in OTHERS and OTHERS[field.name](field.type))
    ]
    return table.select(known).to_pylist()


def uris_of(rows: pa.Table) -> list[list[str]]:
    """What each row of a manifest names files by."""
    names = [name for name in FILES if name in rows.column_names]
    return [[uri for uri in row.values() if uri] for row in rows.select(names).to_pylist()]


def with_errors(
    table: pa.Table, errors: list[tuple[str, str]], job: Collection[str] = ()
) -> pa.Table:
    """The table with these errors and error kinds; ``("", "")`` for none.

    Args:
        job: the URIs of the job that an error may tell of, beside those of its row.
    """
    if any(text for text, _ in errors):
        uris = uris_of(pa.Table.from_struct_array(table["row"]))
        errors = [
            (redacted(text, [*named, *job]), kind)
            for (text, kind), named in zip(errors, uris, strict=True)
        ]
    for i, name in enumerate(("error", "error_kind")):
        column = pa.array([error[i] for error in errors], pa.string())
        table = table.set_column(table.column_names.index(name), name, column)
    return table


def errors_of(table: pa.Table) -> list[tuple[str, str]]:
    """Error and error kind of each row."""
    return list(zip(table["error"].to_pylist(), table["error_kind"].to_pylist(), strict=True))
