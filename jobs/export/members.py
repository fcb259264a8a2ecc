"""A row's pictures as files beside each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.export.names import key_of
from jobs.export.source import MEASURED
from jobs.export.values import plain_rows


@dataclass(frozen=True)
class Member:
    """A picture.

    Attributes:
        kind: ``restored``, ``measured``, ``uncertainty``, or ``sample0`` and so on.
        name: of its file.
        data: of its file.
    """

    kind: str
    name: str
    data: bytes


def each_row(
    table: pa.Table, columns: list[str]
) -> Iterator[tuple[str, list[Member], dict[str, Any]]]:
    """Of each row its key, its pictures, of which the restored one comes first, and the rest.

    Args:
        table: of exported rows.
        columns: that hold pictures.
    """
    rest = plain_rows(table.drop_columns(columns))
    for pictures, values in zip(table.select(columns).to_pylist(), rest, strict=True):
        key = key_of(values["id"])
        yield key, list(_members(key, pictures)), values


def _members(key: str, pictures: dict[str, Any]) -> Iterator[Member]:
    found = {
        "restored": pictures["restored"],
        "measured": pictures.get(MEASURED),
        "uncertainty": pictures.get("uncertainty_map"),
        **{f"sample{i}": sample for i, sample in enumerate(pictures.get("samples") or ())},
    }
    for kind, picture in found.items():
        if picture is not None:
            suffix = os.path.splitext(picture["path"])[1]
            inner = "" if kind == "restored" else f".{kind}"
            yield Member(kind, f"{key}{inner}{suffix}", picture["bytes"])
