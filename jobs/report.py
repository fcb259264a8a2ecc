"""Metrics of a job's results, aggregated by Arrow without reading any image."""

from __future__ import annotations

import csv
import io
import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from manifests import storage
from pipeline.errors import PipelineError
from pipeline.layout import Layout
from pipeline.state import live_parts

METRICS = ("psnr", "psnr_y", "ssim", "residual", "baseline_psnr", "gain", "seconds")
QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


def load(output: str, by: str | None) -> pa.Table:
    """The metrics (and the grouping column) of every committed row.

    ``gain`` is ``psnr - baseline_psnr``. A dotted name reaches into a struct (``sampler.nfe``).

    Raises:
        PipelineError: no results there, or no such column.
    """
    layout = Layout(storage.absolute(output))
    parts = live_parts(layout)
    if not parts:
        raise PipelineError(f"{output} holds no results (no parts in {layout.results})")
    fs, _ = storage.filesystem(layout.results)
    files = [storage.filesystem(layout.part(part.name))[1] for part in parts]
    dataset = ds.dataset(files, filesystem=fs, format="parquet")
    names = ["status", *(m for m in METRICS if m != "gain")]
    columns = {name: ds.field(name) for name in names}
    if by:
        path = [by] if by in dataset.schema.names else by.split(".")
        if path[0] not in dataset.schema.names:
            raise PipelineError(f"no column {by!r}; there are {', '.join(dataset.schema.names)}")
        columns["group"] = ds.field(*path)
    try:
        table = dataset.to_table(columns=columns)
        if by and pa.types.is_floating(table["group"].type):
            group = pc.if_else(pc.is_nan(table["group"]), None, table["group"])
            table = table.set_column(table.column_names.index("group"), "group", group)
        if by:
            pc.unique(table["group"])  # lists and structs are no groups, and say so here
    except pa.ArrowException as e:
        raise PipelineError(f"cannot group by column {by!r}: {e}") from None
    return table.append_column("gain", pc.subtract(table["psnr"], table["baseline_psnr"]))


def aggregate(table: pa.Table, by: str | None) -> list[dict]:
    """One record for each group and metric that has values; each names the group's failed rows."""
    if by is None:
        return _records(table, {})
    records = []
    groups = pc.unique(table["group"]).to_pylist()
    for value in sorted(groups, key=lambda v: (v is None, isinstance(v, str), v)):
        same = pc.is_null(table["group"]) if value is None else pc.equal(table["group"], value)
        records += _records(table.filter(same), {by: value})
    return records


def _records(table: pa.Table, group: dict) -> list[dict]:
    failed = pc.sum(pc.equal(table["status"], "error")).as_py() or 0
    counts = {**group, "rows": len(table), "failed": failed}
    records = []
    for name in METRICS:
        values = table[name].drop_null()
        values = values.filter(pc.is_finite(values))  # equal images have an infinite PSNR
        if not len(values):
            continue
        quantiles = pc.quantile(values, q=list(QUANTILES.values())).to_pylist()
        extremes = pc.min_max(values).as_py()
        records.append(
            {
                **counts,
                "metric": name,
                "count": len(values),
                "mean": pc.mean(values).as_py(),
                "std": pc.stddev(values, ddof=1).as_py(),
                "min": extremes["min"],
                **dict(zip(QUANTILES, quantiles, strict=True)),
                "max": extremes["max"],
            }
        )
    return records or [counts]


def render(records: list[dict], style: str) -> str:
    """The records as ``table``, ``json`` or ``csv``."""
    if style == "json":
        return json.dumps(records, indent=1, default=str)
    columns = list(dict.fromkeys(name for record in records for name in record))
    if style == "csv":
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        return buffer.getvalue().rstrip("\n")
    cells = [columns, *([_cell(record.get(name)) for name in columns] for record in records)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    lines = [
        "  ".join(
            text.ljust(width) if columns[i] == "metric" else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
