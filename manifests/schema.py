"""The columns of a manifest and what they mean.

    id           string, required, unique: names the image in the results
    image        string, required: path or URI of the picture
    reference    string: path or URI of the true picture, where it is known
    mask         string: path or URI of the inpainting mask
    kernel       string: path or URI of the blur kernel; or, beginning with ``{``, the kernel
                 itself, such as {gaussian: {std: 3}} (an object in JSON Lines, or a struct)
    noise_level  float: standard deviation of the noise, pixels on [0, 1]
    noise        string: a model of the noise in its place, written out as a kernel may be:
                 {gaussian: 0.01, poisson: 0.004}
    noise_map    string: or path or URI of an array of standard deviations, one of each pixel
    seed         integer, 0 or more: replaces the job's seed for this row
    label        integer, 0 or more: class of the picture, for class-conditional priors; it may hold
                 anything else in jobs with other priors
    width, height   integers: of the picture as it is seen; bounds the memory of a job
    bytes        integer: size of the image's file; one of another size has changed since
    etag         string: of the image's file on S3 or a web server, likewise

Relative paths start from the manifest's own folder. Any other column travels to the results.
Null, an empty string and NaN mean "not given".
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from manifests.errors import ManifestError
from manifests.limits import cut, short
from manifests.secrets import shown

REQUIRED = ("id", "image")
FILES = ("image", "reference", "mask", "kernel", "noise_map")  # columns that name files
TYPES: dict[str, pa.DataType] = {
    "id": pa.string(),
    "image": pa.string(),
    "reference": pa.string(),
    "mask": pa.string(),
    "kernel": pa.string(),
    "noise_map": pa.string(),
    "noise_level": pa.float64(),
    "noise": pa.string(),
    "seed": pa.int64(),
    "width": pa.int64(),
    "height": pa.int64(),
}
LABEL = "label"  # of any type: most manifests have it for other reasons
RENAMED = (*TYPES, LABEL)  # columns that a job may read from others
WRITTEN = ("kernel", "noise")  # columns whose values may be written out, as objects
STRINGS = tuple(name for name, kind in TYPES.items() if kind == pa.string())
EXACT = 2.0**53  # above it, some whole numbers are no float64
MAX_DEPTH = 60  # Arrow's format for messages ends at 64
RANGES = {"noise_level": (0.0, 1.0), "seed": (0, None)}


def normalise(
    table: pa.Table,
    source: str,
    reserved: Collection[str] = (),
    *,
    faults: list[tuple[int, str]] | None = None,
    first: int = 1,
) -> pa.Table:
    """The table with the known columns in their types.

    Values out of range are left: they are their row's fault (:func:`row_fault`), not the table's.

    Args:
        table: as read.
        source: what messages call it.
        reserved: names that the user's own columns may not have.
        faults: takes each value of a wrong kind, as its row and words, and null stands in its
            place; without it, the first is raised.
        first: number of the table's first row.

    Raises:
        ManifestError: names the column, and the row (counted from 1) and value where there is one.
    """
    check_columns(table.column_names, source, reserved)
    changed: dict[str, pa.ChunkedArray] = {}
    for field in table.schema:  # views: most of Arrow cannot take rows of them
        if pa.types.is_string_view(field.type):
            changed[field.name] = table[field.name].cast(pa.large_string())
        elif pa.types.is_binary_view(field.type):
            changed[field.name] = table[field.name].cast(pa.large_binary())
    for name, kind in TYPES.items():
        if table.schema.get_field_index(name) >= 0:
            column = changed.get(name, table[name])
            if name in WRITTEN and pa.types.is_struct(column.type):
                column = _written_out(column)
            changed[name] = _cast(column, kind, name, source, faults, first)
    return with_columns(table, changed)


def holds_labels(kind: pa.DataType) -> bool:
    """Whether values of this type may be labels; which of them are, a job says row by row."""
    if pa.types.is_dictionary(kind):
        return holds_labels(kind.value_type)
    tests = ("integer", "floating", "boolean", "string", "large_string", "null")
    return any(getattr(pa.types, f"is_{name}")(kind) for name in tests)


def with_columns(table: pa.Table, columns: Mapping[str, pa.ChunkedArray]) -> pa.Table:
    """The table with these in the place of its columns of the same names.

    ``Table.set_column`` for each of many would take time that is quadratic in their number.
    """
    fields = [
        pa.field(field.name, columns[field.name].type) if field.name in columns else field
        for field in table.schema
    ]
    arrays = [
        columns.get(field.name, column)
        for field, column in zip(table.schema, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields, table.schema.metadata))


def row_fault(row: dict[str, Any]) -> str | None:
    """What is wrong with a row's own values, in words; None where nothing is."""
    if not row["image"]:
        return "image: the row names none"
    for name, (low, high) in RANGES.items():
        value = row.get(name)
        if value is not None and not (low <= value <= (float("inf") if high is None else high)):
            wanted = f"{low:g} or more" if high is None else f"from {low:g} to {high:g}"
            hint = " (is it on 0..255? Then divide it by 255)" if name == "noise_level" else ""
            return f"{name}: expected {wanted}, got {value}{hint if value > 1 else ''}"
    return None


def is_parametric(kernel: str) -> bool:
    """Whether a cell of the column ``kernel`` writes the kernel out, and names no file."""
    return kernel.lstrip().startswith("{")


def check_columns(names: list[str], source: str, reserved: Collection[str] = ()) -> None:
    """Required columns are there, none twice, none with a reserved name."""
    for name in REQUIRED:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f" (did you mean {short(near[0])} to be it?)" if near else ""
            raise ManifestError(
                f"{source}: no column {name!r}; it has {cut(', '.join(names)) or 'none'}{hint}"
            )
    for name, times in Counter(names).items():
        if times > 1:
            raise ManifestError(f"{source}: column {short(name)} stands there {times} times")
        if name in reserved:
            raise ManifestError(
                f"{source}: column {name!r} has the name of a column of the results; rename it"
            )


def check_storable(schema: pa.Schema, source: str) -> None:
    """Results can hold every column; else a ManifestError that names one."""
    if _storable(schema) is None:
        return
    for field in schema:
        if cause := _storable(pa.schema([field])):
            raise ManifestError(
                f"{source}: column {short(field.name)} holds {cut(str(field.type))}, which results "
                f"cannot: {cut(str(cause))}"
            )


def _storable(schema: pa.Schema) -> pa.ArrowException | None:
    """What prevents results with these columns."""
    empty = schema.empty_table()
    try:
        pq.write_table(empty, pa.BufferOutputStream())
        empty.take(pa.array([], pa.int64()))  # as the pipeline must
    except pa.ArrowException as e:
        return e
    return None


def check_depth(schema: pa.Schema, source: str) -> None:
    """No column has more values in one another than Arrow passes from process to process.

    Raises:
        ManifestError: names the column.
    """
    for field in schema:
        if _depth(field.type) > MAX_DEPTH:
            raise ManifestError(
                f"{source}: column {short(field.name)} has over {MAX_DEPTH} values in one another, "
                "which a job cannot pass on; write it as text"
            )


def _depth(kind: pa.DataType) -> int:
    deepest, level = 1, [kind]
    while level := [inner.field(i).type for inner in level for i in range(inner.num_fields)]:
        deepest += 1
    return deepest


def check_given(ids: pa.ChunkedArray, source: str, first: int = 1) -> None:
    """Every id is there; else a ManifestError that names the row.

    Args:
        first: number of the first row.
    """
    blank = pc.fill_null(pc.equal(ids, ""), True)
    if pc.any(blank).as_py():
        raise ManifestError(f"{source}: row {first + pc.index(blank, True).as_py()} has no id")


def _written_out(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Structs as JSON text; the fields that only other rows have are null, and left out."""
    texts = [None if v is None else json.dumps(_given(v), default=str) for v in column.to_pylist()]
    return pa.chunked_array([pa.array(texts, pa.string())])


def _given(value: object) -> object:
    if isinstance(value, dict):
        return {key: _given(inner) for key, inner in value.items() if inner is not None}
    return value


def _cast(
    column: pa.ChunkedArray,
    kind: pa.DataType,
    name: str,
    source: str,
    faults: list[tuple[int, str]] | None,
    first: int,
) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    wrong = pa.types.is_floating(column.type) and kind == pa.string()
    if wrong or pa.types.is_boolean(column.type):
        raise ManifestError(
            f"{source}: column {name!r} holds {column.type}, expected {_word(kind)}"
        )
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
    if is_text and kind != pa.string():
        column = pc.if_else(pc.equal(pc.utf8_trim_whitespace(column), ""), None, column)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    # A fraction's type holds no more whole numbers exactly: these are not what was written.
    rounded = pa.types.is_floating(column.type) and kind == pa.int64()

    def cast(values: pa.ChunkedArray) -> pa.ChunkedArray:
        if rounded and pc.any(pc.greater_equal(pc.abs(values), EXACT)).as_py():
            raise pa.ArrowInvalid
        return values.cast(kind)

    def refuse(row: int, value: object) -> None:
        given = shown(value) if isinstance(value, str) else value
        words = f"{name} is {short(given)}, expected {_word(kind)}"
        if rounded:
            words += " below 2^53, in a column that holds fractions too"
        if faults is None:
            raise ManifestError(f"{source}: row {row}: {words}")
        faults.append((row, words))

    try:
        return pa.chunked_array(_cast_parts(column, kind, cast, refuse, first), kind)
    except pa.ArrowNotImplementedError:
        raise ManifestError(
            f"{source}: column {name!r} holds {cut(str(column.type))}, expected {_word(kind)}"
        ) from None


def _cast_parts(
    column: pa.ChunkedArray,
    kind: pa.DataType,
    cast: Callable[[pa.ChunkedArray], pa.ChunkedArray],
    refuse: Callable[[int, object], None],
    row: int,
) -> list[pa.Array]:
    """The column's values in that type; halves it until the rows that cannot be cast are alone.

    Args:
        row: number of the column's first.
    """
    try:
        return list(cast(column).chunks)
    except pa.ArrowInvalid:
        if len(column) == 1:
            refuse(row, column[0].as_py())
            return [pa.nulls(1, kind)]
    half = len(column) // 2
    first = _cast_parts(column.slice(0, half), kind, cast, refuse, row)
    return first + _cast_parts(column.slice(half), kind, cast, refuse, row + half)


def _word(kind: pa.DataType) -> str:
    return {"string": "text", "double": "a number", "int64": "a whole number"}[str(kind)]
