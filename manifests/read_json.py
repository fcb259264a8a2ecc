"""JSON Lines to a table, without guesses that change what was written."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from manifests.schema import TYPES

BLOCK_BYTES = 16 << 20  # the parser takes no row longer than a block
WRITTEN_KERNEL = re.compile(rb'"kernel"\s*:\s*\{')
DEPTH = 100  # of lists and objects in one another; Arrow dies of very many
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
BRACKET = re.compile(rb"[\[{\]}]")
EXACT = 2.0**53  # above it, some whole numbers are no float64
KINDS = {
    bool: "true or false", int: "a number", float: "a number", str: "text", dict: "an object",
    list: "a list",
}  # fmt: skip


def read_json(data: pa.Buffer) -> pa.Table:
    """The table, in types that keep what was written.

    Raises:
        pa.ArrowInvalid: it is no JSON Lines; says the line.
    """
    _check_depth(data)
    data = _kernels_as_text(data)
    try:
        table = _parse_json(data)
        # Text that looks like a time was parsed as one, and would not come back as it was.
        texts = [field.with_type(_timeless(field.type)) for field in table.schema]
        texts = [field for field in texts if field not in table.schema]
        if texts:
            table = _parse_json(data, pa.schema(texts)).select(table.column_names)
    except pa.ArrowInvalid as e:
        # Arrow counts rows within its blocks, and from 0.
        words = _json_fault(data) or re.sub(r" in row \d+$", "", str(e))
        raise pa.ArrowInvalid(words) from None
    return _with_large_integers(table, data)


def _check_depth(data: pa.Buffer) -> None:
    for number, line in enumerate(io.BytesIO(data), start=1):
        if line.count(b"[") + line.count(b"{") <= DEPTH:
            continue
        depth = 0
        for bracket in BRACKET.findall(STRING.sub(b"", line)):
            depth += 1 if bracket in b"[{" else -1
            if depth > DEPTH:
                raise pa.ArrowInvalid(f"line {number} has over {DEPTH} values in one another")


def _parse_json(data: pa.Buffer, schema: pa.Schema | None = None) -> pa.Table:
    return pa.json.read_json(
        pa.BufferReader(data),
        pa.json.ReadOptions(block_size=BLOCK_BYTES),
        pa.json.ParseOptions(explicit_schema=schema),
    )


def _timeless(kind: pa.DataType) -> pa.DataType:
    """The type with text in the place of times."""
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_timeless(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(_timeless(kind.value_type))
    return pa.string() if pa.types.is_temporal(kind) else kind


def _with_large_integers(table: pa.Table, data: pa.Buffer) -> pa.Table:
    """Columns of the user's own as text where floating point would change whole numbers."""
    names = [
        field.name
        for field in table.schema
        if field.name not in TYPES
        and pa.types.is_floating(field.type)
        and pc.any(pc.greater_equal(pc.abs(table[field.name]), EXACT)).as_py()
    ]
    if not names:
        return table
    rows = [{name: row.get(name) for name in names} for row in _literal_rows(data)]
    for name in names:
        texts = [row[name] for row in rows]
        if not all(text is None or _is_float(text) for text in texts):
            i = table.column_names.index(name)
            table = table.set_column(i, name, pa.array(texts, pa.string()))
    return table


def _literal_rows(data: pa.Buffer) -> Iterator[dict[str, Any]]:
    """The rows, with their numbers as the text that was written."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
    for line in data.to_pybytes().split(b"\n"):
        text = line.decode("utf-8-sig").strip()
        while text:  # Arrow takes several in a line
            row, end = decoder.raw_decode(text)
            yield row
            text = text[end:].lstrip()


def _is_float(number: str) -> bool:
    """Whether float64 holds it as well as it does any; of whole numbers, exactly."""
    whole = number.lstrip("-").isdecimal()
    return not whole or Decimal(number) == Decimal(float(number))


def _kernels_as_text(data: pa.Buffer) -> pa.Buffer:
    """Lines whose kernel is an object, with it as text: Arrow takes no mixture of both."""
    if not WRITTEN_KERNEL.search(data):
        return data
    lines = data.to_pybytes().split(b"\n")
    for i, line in enumerate(lines):
        if WRITTEN_KERNEL.search(line):
            try:
                row = json.loads(line, object_pairs_hook=_distinct)
            except DuplicateKeyError as e:
                raise pa.ArrowInvalid(f"line {i + 1} has the key {str(e)!r} twice") from None
            except ValueError:  # Arrow will say so
                continue
            if isinstance(row, dict) and isinstance(row.get("kernel"), dict):
                lines[i] = json.dumps({**row, "kernel": json.dumps(row["kernel"])}).encode()
    return pa.py_buffer(b"\n".join(lines))


def _json_fault(data: pa.Buffer) -> str | None:
    """The first line that does not fit, and why; None where each looks well."""
    kinds: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(data.to_pybytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_distinct)
        except DuplicateKeyError as e:
            return f"line {number} has the key {str(e)!r} twice"
        except ValueError:
            row = None
        if not isinstance(row, dict):
            return f"line {number} is not a JSON object"
        for path, kind in _kinds(row):
            before, line_before = kinds.setdefault(path, (kind, number))
            if kind != before:
                where = "before it" if line_before == number else "in a line before"
                return f"line {number}: {path} is {kind}, but {before} {where}"
    return None


class DuplicateKeyError(Exception):
    """A JSON object has a key twice."""


def _distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """A JSON object; as a dict, the last of equal keys would win."""
    found: dict[str, object] = {}
    for key, value in pairs:
        if key in found:
            raise DuplicateKeyError(key)
        found[key] = value
    return found


def _kinds(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Where in a row what kind of value stands; of a list's items, and of null nothing."""
    if path and value is not None:
        yield path, KINDS[type(value)]
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _kinds(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for inner in value:
            yield from _kinds(inner, f"{path}[]")
