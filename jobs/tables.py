"""Records as text: for eyes, for scripts, for documents."""

from __future__ import annotations

import csv
import io
import json
from enum import StrEnum


class Style(StrEnum):
    table = "table"
    json = "json"
    csv = "csv"
    markdown = "markdown"


def render(records: list[dict], style: str) -> str:
    """The records in a style; a key that a record lacks is empty there."""
    if style == Style.json:
        return json.dumps(records, indent=1, default=str)
    columns = list(dict.fromkeys(name for record in records for name in record))
    if style == Style.csv:
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return buffer.getvalue().rstrip("\n")
    cells = [[_cell(record.get(name)) for name in columns] for record in records]
    numeric = [
        all(isinstance(record.get(name), int | float | None) for record in records)
        for name in columns
    ]
    if style == Style.markdown:
        rule = ["---:" if right else "---" for right in numeric]
        cells = [[cell.replace("|", "\\|") for cell in row] for row in cells]
        return "\n".join(f"| {' | '.join(row)} |" for row in (columns, rule, *cells))
    lines = [columns, *cells]
    widths = [max(len(row[i]) for row in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in lines
    )


def _cell(value: object) -> str:
    if value is None:
        return "-"
    # A value with line breaks would break the table.
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
