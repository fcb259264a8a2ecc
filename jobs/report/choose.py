"""Which rows a report shows: all of a small run, a reproducible sample of a large one."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.report.fields import METRIC_FIELDS

FAILED_SHARE = 8  # one card in so many may be of a failed row
EXTREMES = 2  # rows at each end of every metric


def main_metric(table: pa.Table) -> str | None:
    """The metric that rows are ranked by: the first of them that any row has."""
    return next((name for name in METRIC_FIELDS if len(_finite(table[name]))), None)


def choose(
    table: pa.Table,
    limit: int,
    metric: str | None = None,
    metrics: Collection[str] = tuple(METRIC_FIELDS),
) -> np.ndarray:
    """Places in a scan's table of the rows to show, in its order; at most ``limit``.

    Of failed rows every kind is there, of restored ones the extremes of every metric; the rest are
    evenly spread over the ranks of one metric. The same table always gives the same rows.

    Args:
        table: of :class:`jobs.report.scan.Scan`.
        limit: rows.
        metric: that restored rows are ranked by; None for :func:`main_metric`.
        metrics: whose extremes are to be there.
    """
    rows = np.arange(len(table))
    if len(rows) <= limit:
        return rows
    restored = pc.equal(table["status"], "ok").to_numpy()
    failed = rows[~restored]
    chosen = _of_kinds(table, failed, max(limit // FAILED_SHARE, limit - int(restored.sum())))
    metric = metric or (main_metric(table) if metrics else None)
    good = rows[restored]
    for name in (metric, *metrics):
        if name is None:
            continue
        ranked = _ranked(table[name], good)
        for i in (*range(EXTREMES), *range(-EXTREMES, 0)):
            if -len(ranked) <= i < len(ranked) and len(chosen) < limit:
                chosen.add(int(ranked[i]))
    ranked = good if metric is None else _ranked(table[metric], good)
    spread = np.linspace(0, len(ranked) - 1, limit - len(chosen)).round().astype(int)
    chosen.update(ranked[spread].tolist() if len(ranked) else ())
    for row in good.tolist():  # rows without the metric, and those that were chosen twice
        if len(chosen) >= limit:
            break
        chosen.add(row)
    return np.array(sorted(chosen))


def _of_kinds(table: pa.Table, failed: np.ndarray, limit: int) -> set[int]:
    """Failed rows, each kind in turn."""
    kinds = np.array(table["error_kind"].take(pa.array(failed)).to_pylist(), dtype=object)
    queues = [list(failed[kinds == kind]) for kind in sorted(set(kinds), key=str)]
    chosen: set[int] = set()
    while len(chosen) < limit and any(queues):
        for queue in queues:
            if queue and len(chosen) < limit:
                chosen.add(int(queue.pop(0)))
    return chosen


def _ranked(values: pa.ChunkedArray, rows: np.ndarray) -> np.ndarray:
    """Those of the rows that have a finite value, from the lowest to the highest."""
    found = values.to_numpy()[rows]
    rows, found = rows[np.isfinite(found)], found[np.isfinite(found)]
    return rows[np.argsort(found, kind="stable")]


def _finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    values = values.drop_null()
    return values.filter(pc.is_finite(values))
