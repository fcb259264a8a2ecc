"""Values of results as JSON and CSV hold them."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import pyarrow as pa


def plain_rows(table: pa.Table) -> list[dict[str, Any]]:
    """The rows as values that JSON knows; moments become text, bytes base64."""
    for i, field in enumerate(table.schema):
        # Python's have no nanoseconds, and Arrow's text has.
        if pa.types.is_timestamp(field.type) or pa.types.is_time(field.type):
            table = table.set_column(i, field.name, table[field.name].cast(pa.string()))
    return [{name: _plain(value) for name, value in row.items()} for row in table.to_pylist()]


def as_json(row: dict[str, Any]) -> bytes:
    """A row as JSON, which has no infinity and no NaN: they become null."""
    return json.dumps(_finite(row), ensure_ascii=False, allow_nan=False).encode()


def as_cell(value: Any) -> str:
    """A value as the text of a CSV cell: null is empty, what is nested becomes JSON."""
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):  # a map is a list of pairs
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if isinstance(value, str | int | float | None) else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
