"""Records as text: for eyes, for scripts, for documents."""

from __future__ import annotations

import csv
import io
import json
import sys
from enum import StrEnum

import typer

from jobs.console import one_line


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


def print_records(records: list[dict], style: str) -> None:
    """The records on the standard output: a table of a terminal is ruled and fits its width."""
    if style != Style.table or not sys.stdout.isatty():
        typer.echo(render(records, style))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # which takes no markup: values are anybody's

    columns = list(dict.fromkeys(name for record in records for name in record))
    table = Table(box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name in columns:
        numeric = all(isinstance(record.get(name), int | float | None) for record in records)
        table.add_column(Text(_cell(name)), justify="right" if numeric else "left", overflow="fold")
    for record in records:
        table.add_row(*(Text(_cell(record.get(name))) for name in columns))
    Console().print(table)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return one_line(str(value))  # line breaks would break the table, and escapes the terminal
