"""Metrics of a job's results, aggregated."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from jobs.results import GROUP, METRICS, load_columns
from pipeline.errors import PipelineError

QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}
FIELDS = {"rows", "failed", "metric", "count", "mean", "std", "sem", "min", *QUANTILES, "max"}


def metrics_of(output: str, by: str | None) -> list[dict]:
    """One record for each group and metric that has values; each names the group's failed rows.

    Args:
        output: folder or URI of a job.
        by: column to group by; a dotted name reaches into a struct (``sampler.nfe``). Records have
            it under its name, or as ``by NAME`` where they have a field of that name.

    Raises:
        PipelineError: no results there, no such column, or one that is no group.
    """
    table = load_columns(output, ["status", *METRICS], by)
    return aggregate(table, None if by is None else GROUP, by)


def aggregate(table: pa.Table, by: str | None, heading: str | None = None) -> list[dict]:
    """As :func:`metrics_of`, of columns that were read; a group is shown under ``heading``."""
    if by is None:
        return _records(table, {})
    heading = by if heading is None else heading
    values, places = _groups(table[by], heading)
    heading = f"by {heading}" if heading in FIELDS else heading
    records = []
    for place, value in sorted(enumerate(values), key=lambda item: item[1]):
        records += _records(table.filter(pc.equal(places, place)), {heading: value})
    if places.null_count:
        records += _records(table.filter(pc.is_null(places)), {heading: None})
    return records


def _groups(column: pa.ChunkedArray, name: str) -> tuple[list, pa.Array]:
    """The different values of a column, and which of them each row has; null: none, or NaN."""
    group = column.combine_chunks()
    if isinstance(group.type, pa.BaseExtensionType):
        group = group.storage
    if pa.types.is_dictionary(group.type):
        group = group.dictionary_decode()
    if pa.types.is_null(group.type):
        return [], group
    if pa.types.is_float16(group.type):
        group = group.cast(pa.float32())
    if pa.types.is_floating(group.type):
        zero = pa.scalar(0, group.type)  # -0.0 + 0.0 is 0.0: one group
        group = pc.if_else(pc.is_nan(group), None, pc.add(group, zero))
    try:
        encoded = group.dictionary_encode()
    except pa.ArrowException:  # lists and structs are no groups
        raise PipelineError(f"cannot group by column {name!r}: it holds {column.type}") from None
    values = encoded.dictionary
    if pa.types.is_time64(values.type):  # Python's have no nanoseconds
        values = values.cast(pa.string())
    return values.to_pylist(), encoded.indices


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
        std = pc.stddev(values, ddof=1).as_py()  # None of one value
        records.append(
            {
                **counts,
                "metric": name,
                "count": len(values),
                "mean": pc.mean(values).as_py(),
                "std": std,
                "sem": None if std is None else std / len(values) ** 0.5,
                "min": extremes["min"],
                **dict(zip(QUANTILES, quantiles, strict=True)),
                "max": extremes["max"],
            }
        )
    return records or [counts]
