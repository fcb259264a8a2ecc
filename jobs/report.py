"""Metrics of a job's results, aggregated."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from jobs.results import METRICS, load_columns
from pipeline.errors import PipelineError

QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


def report(output: str, by: str | None) -> list[dict]:
    """One record for each group and metric that has values; each names the group's failed rows.

    Args:
        output: folder or URI of a job.
        by: column to group by; a dotted name reaches into a struct (``sampler.nfe``).

    Raises:
        PipelineError: no results there, no such column, or one that is no group.
    """
    table = load_columns(output, dict.fromkeys(["status", *METRICS, *([by] if by else [])]))
    return aggregate(table, by)


def aggregate(table: pa.Table, by: str | None) -> list[dict]:
    """As :func:`report`, of columns that were read."""
    if by is None:
        return _records(table, {})
    group = table[by]
    try:
        if pa.types.is_floating(group.type):
            group = pc.if_else(pc.is_nan(group), None, group)
        values = pc.unique(group).to_pylist()
    except pa.ArrowException as e:  # lists and structs are no groups
        raise PipelineError(f"cannot group by column {by!r}: {e}") from None
    records = []
    for value in sorted(values, key=lambda v: (v is None, isinstance(v, str), v)):
        same = pc.is_null(group) if value is None else pc.equal(group, value)
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
