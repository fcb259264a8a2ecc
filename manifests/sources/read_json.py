"""JSON Lines to a table, without guesses that change what was written."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from manifests.limits import Limit, cut, short
from manifests.schema import TYPES, WRITTEN, with_columns

BLOCK_BYTES = 16 << 20  # the parser takes no row longer than a block
WRITTEN_OUT = re.compile(rb'"(kernel|noise)"\s*:\s*\{')
DEPTH = 100  # of lists and objects in one another; Arrow dies of very many
# One that is not closed reaches to the end: else each quote in it would be tried as its beginning.
STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?$)', re.DOTALL)
BRACKET = re.compile(rb"[\[{\]}]")
EXACT = 2.0**53  # above it, some whole numbers are no float64
KINDS = {
    bool: "true or false", int: "a number", float: "a number", str: "text", dict: "an object",
    list: "a list",
}  # fmt: skip
PIECE_BYTES = 1 << 16  # of lines whose columns are looked at together
PIECE_CELLS = 1 << 24  # that they may have, were each of their keys a column
CELL_BYTES = 8
DIGITS = 4300  # of a whole number, which Python takes no longer than this


def read_json(data: pa.Buffer, limit: Limit) -> pa.Table:
    """The table, in types that keep what was written.

    Raises:
        pa.ArrowInvalid: it is no JSON Lines; says the line.
        ManifestError: it would take more memory than the limit allows.
    """
    _check_lines(data)
    data = _objects_as_text(data)
    try:
        _check_cells(data, limit)
        table = _parse_json(data)
        # Text that looks like a time was parsed as one, and would not come back as it was.
        texts = [
            field.with_type(kind)
            for field in table.schema
            if (kind := _timeless(field.type)) != field.type
        ]
        if texts:
            table = _parse_json(data, pa.schema(texts)).select(table.column_names)
    except pa.ArrowInvalid as e:
        # Arrow counts rows within its blocks, and from 0.
        words = _json_fault(data) or re.sub(r" in row \d+$", "", cut(str(e)))
        raise pa.ArrowInvalid(words) from None
    return _with_large_integers(table, data)


def _check_lines(data: pa.Buffer) -> None:
    for number, line in enumerate(io.BytesIO(data), start=1):
        if len(line) > 2 * BLOCK_BYTES:
            raise pa.ArrowInvalid(
                f"line {number} has {len(line)} bytes; a row may have {BLOCK_BYTES}"
            )
        if line.count(b"[") + line.count(b"{") <= DEPTH:
            continue
        depth = 0
        for bracket in BRACKET.findall(STRING.sub(b"", line)):
            depth += 1 if bracket in b"[{" else -1
            if depth > DEPTH:
                raise pa.ArrowInvalid(f"line {number} has over {DEPTH} values in one another")


def _check_cells(data: pa.Buffer, limit: Limit) -> None:
    """Refuse rows of which few give a value to each of many columns: a table holds them all.

    Raises:
        ManifestError: all cells would take more memory than the limit allows.
        pa.ArrowInvalid: not JSON Lines.
    """
    columns: dict[str, bool] = {}  # and whether they are of lists, with a cell for each item
    rows = items = in_lists = 0
    known = None
    for piece in _pieces(data):
        if b"{" not in piece:
            continue
        if _cells(piece) > PIECE_CELLS:  # a single line
            found = _paths(piece)
            rows += piece.count(b"{")
        else:
            table = _parse_json(pa.py_buffer(piece))
            found = {} if table.schema == known else _schema_paths(table.schema)
            known = table.schema
            rows += len(table)
        items += piece.count(b"{") + piece.count(b",")
        if found.keys() - columns.keys():
            columns |= found
            in_lists = sum(columns.values())
            limit.check_columns(len(columns))
        cells = (len(columns) - in_lists) * rows + in_lists * items
        limit.check(cells * CELL_BYTES, f"its {len(columns)} columns (fields of objects included)")


def _pieces(data: pa.Buffer) -> Iterator[bytes]:
    """Whole lines, of which Arrow may be asked what columns they have."""
    start = 0
    while start < data.size:
        piece = data.slice(start, min(PIECE_BYTES, data.size - start)).to_pybytes()
        end = piece.rfind(b"\n") + 1 or len(piece)
        if end == len(piece) and start + end < data.size and not piece.endswith(b"\n"):
            piece = data.slice(start, min(3 * BLOCK_BYTES, data.size - start)).to_pybytes()
            end = piece.find(b"\n") + 1 or len(piece)
        yield from _halves(piece[:end])
        start += end


def _halves(lines: bytes) -> Iterator[bytes]:
    if _cells(lines) > PIECE_CELLS:
        middle = lines.find(b"\n", len(lines) // 2) + 1 or lines.rfind(b"\n", 0, -1) + 1
        if 0 < middle < len(lines):
            yield from _halves(lines[:middle])
            yield from _halves(lines[middle:])
            return
    yield lines


def _cells(lines: bytes) -> int:
    """No fewer than all columns of these lines have."""
    return (lines.count(b"{") + lines.count(b",")) * lines.count(b":")


def _schema_paths(fields: Iterable[pa.Field], above: str = "") -> dict[str, bool]:
    """The columns that hold values, and objects' fields, by their paths: whether in a list."""
    found: dict[str, bool] = {}
    for field in fields:
        path, kind = above + field.name, field.type
        while pa.types.is_list(kind):
            path, kind = path + "[]", kind.value_type
        found[path] = "[]" in path
        if pa.types.is_struct(kind):
            found |= _schema_paths(kind, path + ".")
    return found


def _paths(line: bytes) -> dict[str, bool]:
    """As :func:`_schema_paths`, of the objects of one line."""
    found: dict[str, bool] = {}
    decoder = json.JSONDecoder(parse_int=len)
    try:
        text = line.decode("utf-8-sig").strip()
        place = 0
        while place < len(text):  # Arrow takes several in a line
            row, place = decoder.raw_decode(text, place)
            for path, _ in _kinds(row):
                found[path] = "[]" in path
            while place < len(text) and text[place].isspace():
                place += 1
    except ValueError:
        raise pa.ArrowInvalid("not JSON") from None
    return found


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
    changed: dict[str, pa.ChunkedArray] = {}
    for name in names:
        texts = [row[name] for row in rows]
        if not all(text is None or _is_float(text) for text in texts):
            changed[name] = pa.chunked_array([pa.array(texts, pa.string())])
    return with_columns(table, changed) if changed else table


def _literal_rows(data: pa.Buffer) -> Iterator[dict[str, Any]]:
    """The rows, with their numbers as the text that was written."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str)
    for line in data.to_pybytes().split(b"\n"):
        text = line.decode("utf-8-sig").strip()
        place = 0
        while place < len(text):  # Arrow takes several in a line
            row, place = decoder.raw_decode(text, place)
            yield row
            while place < len(text) and text[place].isspace():
                place += 1


def _is_float(number: str) -> bool:
    """Whether float64 holds it as well as it does any; of whole numbers, exactly."""
    whole = number.lstrip("-").isdecimal()
    if len(number) > DIGITS:  # which float64 does not reach, and which take long to compare
        return not whole
    return not whole or Decimal(number) == Decimal(float(number))


def _objects_as_text(data: pa.Buffer) -> pa.Buffer:
    """Lines whose kernel or noise is an object, with it as text: Arrow takes no mixture of both."""
    if not WRITTEN_OUT.search(data):
        return data
    lines = data.to_pybytes().split(b"\n")
    for i, line in enumerate(lines):
        if WRITTEN_OUT.search(line):
            try:
                row = json.loads(line, object_pairs_hook=distinct, parse_int=whole)
            except DuplicateKeyError as e:
                raise pa.ArrowInvalid(f"line {i + 1} has the key {short(str(e))} twice") from None
            except DigitsError as e:
                raise pa.ArrowInvalid(f"line {i + 1} has a number of {e} digits") from None
            except ValueError:  # Arrow will say so
                continue
            if isinstance(row, dict):
                texts = {k: json.dumps(row[k]) for k in WRITTEN if isinstance(row.get(k), dict)}
                lines[i] = json.dumps(row | texts).encode()
    return pa.py_buffer(b"\n".join(lines))


def _json_fault(data: pa.Buffer) -> str | None:
    """The first line that does not fit, and why; None where each looks well."""
    kinds: dict[str, tuple[str, int]] = {}
    for number, line in enumerate(data.to_pybytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            # The number itself does not matter, and may be too long for Python.
            row = json.loads(line, object_pairs_hook=distinct, parse_int=len)
        except DuplicateKeyError as e:
            return f"line {number} has the key {short(str(e))} twice"
        except ValueError:
            row = None
        if not isinstance(row, dict):
            return f"line {number} is not a JSON object"
        for path, kind in _kinds(row):
            before, line_before = kinds.setdefault(path, (kind, number))
            if kind != before:
                where = "before it" if line_before == number else "in a line before"
                return f"line {number}: {cut(path)} is {kind}, but {before} {where}"
    return None


class DuplicateKeyError(Exception):
    """A JSON object has a key twice."""


class DigitsError(Exception):
    """A whole number is too long; the text says how many digits it has."""


def whole(number: str) -> int:
    """A JSON number; Python refuses more digits with no word of JSON."""
    if len(number) > DIGITS:
        raise DigitsError(str(len(number)))
    return int(number)


def distinct(pairs: list[tuple[str, object]]) -> dict[str, object]:
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
