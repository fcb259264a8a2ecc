"""Saying what is wrong with a manifest, row by row."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import pyarrow as pa
from PIL import Image, UnidentifiedImageError

from manifests import storage
from manifests.array_files import NPY
from manifests.errors import ManifestError, StorageError
from manifests.files import Cells, read_cells, read_file
from manifests.formats import decodable_formats
from manifests.limits import short
from manifests.read import open_source
from manifests.schema import (
    FILES,
    TYPES,
    check_depth,
    check_storable,
    is_parametric,
    normalise,
    row_fault,
)
from manifests.sources.base import new_names
from manifests.unique import duplicate_ids

THREADS = 16
TOGETHER = 64  # rows whose pictures inside of files are read together
HINTED = tuple(TYPES.keys() - {"width", "height"})  # a near miss of these is a mistake
PICTURES = ("image", "reference")  # the others may be arrays


@dataclass(frozen=True)
class Finding:
    """A fault: the row (counted from 1; 0 for the table), its id, and what is wrong."""

    row: int
    id: str | None
    message: str

    def __str__(self) -> str:
        where = f"row {self.row} (id {short(self.id)}): " if self.row else ""
        return where + self.message


def check(
    uri: str,
    *,
    reserved: Collection[str] = (),
    text_faults: Mapping[str, Callable[[str], str | None]] = MappingProxyType({}),
    file_fault: Callable[[str, bytes], str | None] | None = None,
) -> Iterator[Finding]:
    """The faults of a manifest that can be told without knowing the job.

    Files are read from wherever the rows say, private addresses included: unlike a job, it runs
    on the user's own machine and shows nobody else what it finds.

    Args:
        uri: of the manifest.
        reserved: names that the user's own columns may not have.
        text_faults: tell what is wrong with the ``kernel`` and the ``noise`` that a row writes out.
        file_fault: tells what is wrong with the content of a column's file; without it only the
            header of pictures is looked at.

    Raises:
        ManifestError: the manifest itself cannot be read.
    """
    name = storage.shown(uri)
    source = open_source(uri)
    table = pa.concat_tables(
        [source.schema.empty_table(), *(batch.rows for batch in source.batches())]
    )
    renamed = new_names(source, reserved)
    table = table.rename_columns([renamed.get(name, name) for name in table.column_names])
    names = set(table.column_names)
    for column in table.column_names:
        near = difflib.get_close_matches(column, HINTED, n=1, cutoff=0.75)
        if column not in TYPES and near and near[0] not in names:
            yield Finding(0, None, f"column {column!r}: did you mean {near[0]!r}?")
    if not len(table):
        yield Finding(0, None, "the manifest has no rows")
        return
    wrong_kind: list[tuple[int, str]] = []
    try:
        table = normalise(table, name, reserved, faults=wrong_kind)
        check_storable(table.schema, name)
        check_depth(table.schema, name)
    except ManifestError as e:
        yield Finding(0, None, str(e))
        return
    for row, words in wrong_kind:
        yield Finding(row, table["id"][row - 1].as_py(), words)
    for value, first, second in duplicate_ids(table["id"]):
        yield Finding(second, value, f"id: the same as in row {first}")
    base = source.base

    no_text = {row for row, words in wrong_kind if words.startswith("id ")}

    def faults(cells: Cells, number: int, row: dict[str, Any]) -> list[Finding]:
        found = [] if row["id"] or number in no_text else ["id: the row has none"]
        wrong = row_fault(row)
        found += [wrong] if wrong else []
        for column, text_fault in text_faults.items():
            text = row.get(column) or ""
            written = is_parametric(text) or (text and column not in FILES)
            wrong = text_fault(text) if written else None
            found += [f"{column}: {wrong}"] if wrong else []
        for column in FILES:
            if column == "kernel" and is_parametric(row.get(column) or ""):
                continue
            if row.get(column):
                wrong = _file_fault(row[column], base, cells, column, file_fault)
                found += [wrong] if wrong else []
        return [Finding(number, row["id"], message) for message in found]

    known = [name for name in table.column_names if name in TYPES]
    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(table), TOGETHER):
            rows = table.select(known).slice(start, TOGETHER).to_pylist()
            named = (row[name] for row in rows for name in FILES if row.get(name))
            cells = read_cells(named, base)
            numbers = range(start + 1, start + 1 + len(rows))
            for found in pool.map(partial(faults, cells), numbers, rows):
                yield from found


def _file_fault(
    name: str,
    base: str,
    cells: Cells,
    column: str,
    content_fault: Callable[[str, bytes], str | None] | None,
) -> str | None:
    uri = storage.resolve(base, name)
    try:
        data = read_file(name, base, cells)
    except StorageError as e:
        return f"{column}: {e}"
    if data is None:
        return f"{column}: there is none: {storage.shown(uri)}" if column == "image" else None
    if not data:
        return f"{column}: {storage.shown(uri)} is empty (0 bytes)"
    cause = (content_fault or _header_fault)(column, data)
    return cause and f"{column}: {storage.shown(uri)}: {cause}"


def _header_fault(column: str, data: bytes) -> str | None:
    if column not in PICTURES:
        return None
    if data.startswith(NPY):
        return None
    try:
        with Image.open(io.BytesIO(data), formats=decodable_formats()):
            return None
    except UnidentifiedImageError:
        return "not an image of a known format"
    except Exception as e:  # decoders raise what they like
        return f"cannot be decoded ({type(e).__name__}: {e})"
