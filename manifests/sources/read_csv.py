"""CSV to a table, without guesses that change what was written."""

from __future__ import annotations

import contextlib
import csv
import io
import re
from collections.abc import Collection

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from manifests.limits import Limit
from manifests.schema import EXACT, STRINGS, TYPES, with_columns

BLOCK_BYTES = 16 << 20  # the parser takes no row longer than a block
# Without a plus or zeros before it.
NUMBER = r"^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?$"
DIGITS = 17  # that tell every float64 apart
DECIMALS = 15  # that every float64 keeps


def read_csv(data: pa.Buffer, limit: Limit) -> pa.Table:
    """The table, in types that keep what was written.

    Raises:
        pa.ArrowInvalid: it is no CSV.
        ManifestError: it has more columns than the limit allows.
    """
    csv.field_size_limit(BLOCK_BYTES)  # else a quote that is not closed takes all in, fourfold
    limit.check_columns(_count_columns(data))
    _check_quotes(data)
    # Ids such as 007 and NA are text, whatever they look like.
    table = _parse_csv(data, STRINGS)
    own = [
        field.name
        for field in table.schema
        if field.name not in TYPES and not pa.types.is_string(field.type)
    ]
    if not own or len(set(table.column_names)) < len(table.column_names):
        return table
    texts = _parse_csv(data, own, only=own)
    return with_columns(table, {name: _as_written(texts[name], table[name].type) for name in own})


def _count_columns(data: pa.Buffer) -> int:
    first = io.BytesIO(data.slice(0, min(data.size, BLOCK_BYTES)))
    text = io.TextIOWrapper(first, "utf-8", errors="replace", newline="")
    with contextlib.suppress(csv.Error):  # _check_quotes has the words
        return len(next(filter(None, csv.reader(text)), []))
    return 0


def _check_quotes(data: pa.Buffer) -> None:
    """A quote that is not closed takes rows into a value, and Arrow takes that for a table."""
    content = data.to_pybytes()
    if b'"' not in content:
        return
    lines = csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""), strict=True)
    begins = 1
    try:
        for _ in lines:
            begins = lines.line_num + 1
    except csv.Error as e:
        if "field limit" in str(e) and content.count(b'"') % 2 == 0:
            raise pa.ArrowInvalid(
                f"line {begins} begins a row with a value of over {BLOCK_BYTES} bytes"
            ) from None
        raise pa.ArrowInvalid(
            f"line {begins} begins a row with a quote that is not closed, or not followed by a "
            "comma or the end of the line (a quote in a quoted value is written twice)"
        ) from None


def _parse_csv(data: pa.Buffer, texts: Collection[str], only: Collection[str] = ()) -> pa.Table:
    """The columns ``texts`` as text and others as they look; of all columns, or of some."""
    try:
        return pa.csv.read_csv(
            pa.BufferReader(data),
            # One thread: with more, an error does not say its line.
            pa.csv.ReadOptions(use_threads=False, block_size=BLOCK_BYTES),
            pa.csv.ParseOptions(newlines_in_values=True),
            pa.csv.ConvertOptions(
                column_types={column: pa.string() for column in texts},
                strings_can_be_null=False,
                include_columns=list(only),
            ),
        )
    except pa.ArrowInvalid as e:
        # The row itself may hold a secret.
        raise pa.ArrowInvalid(re.sub(r"(, got \d+): .*", r"\1", str(e), flags=re.S)) from None


def _as_written(texts: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The values of that type that the texts are; the texts, where something would be lost."""
    if pa.types.is_null(kind):  # NA would be null too
        empty = pc.all(pc.equal(texts, "")).as_py()
        return pa.chunked_array([pa.nulls(len(texts))]) if empty else texts
    number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    given = pc.utf8_trim_whitespace(texts) if number else texts
    given = pc.if_else(pc.equal(given, ""), None, given)
    try:
        values = given.cast(kind)
        back = values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return texts
    if pa.types.is_floating(kind):
        most = pc.if_else(pc.less(pc.abs(values), EXACT), DIGITS, DECIMALS)
        few = pc.less_equal(_digits(given), most)
        same = pc.and_(pc.match_substring_regex(given, NUMBER), few)
        same = pc.or_(same, pc.equal(back, given))
    elif pa.types.is_boolean(kind):
        same = pc.or_(pc.equal(back, given), pc.equal(pc.utf8_capitalize(back), given))
    else:
        same = pc.equal(back, given)
    return values if pc.all(same).as_py() in (True, None) else texts


def _digits(numbers: pa.ChunkedArray) -> pa.ChunkedArray:
    """How many digits of each number say something: no zeros before them, or after a fraction."""
    for pattern, by in ((r"[eE].*", ""), (r"(\.[0-9]*?)0+$", r"\1"), (r"^-?[0.]+|\D", "")):
        numbers = pc.replace_substring_regex(numbers, pattern, by)
    return pc.utf8_length(numbers)
