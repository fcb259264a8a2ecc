"""Runs over the same images: paired differences of their metrics."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from scipy import stats

from jobs.results import METRICS, load_columns
from pipeline.errors import PipelineError


def compare(a: str, b: str, confidence: float = 0.95) -> tuple[list[dict], dict[str, int]]:
    """Differences ``b - a`` over the ids that both runs restored.

    The interval is Student's, of the mean difference; ``p`` is of Wilcoxon's signed-rank test,
    which does not take differences for normal ones. Values that are not finite form no pair.

    Args:
        a, b: folders or URIs of two jobs.
        confidence: of the interval.

    Returns:
        A record for each metric that has pairs: ``metric, pairs, mean_a, mean_b, difference, low,
        high, b_higher`` (share of the pairs), ``p`` (None where all differences are 0); and
        counts of ids: ``both, only_a, only_b, failed_a, failed_b`` (the last two among ``both``).

    Raises:
        PipelineError: no results there, or no id in common.
    """
    return _compared((a, _columns(a)), (b, _columns(b)), confidence)


def compare_several(
    outputs: Sequence[str], confidence: float = 0.95
) -> tuple[list[dict], list[dict[str, int]]]:
    """As :func:`compare`, of each run with the first one, A: B, C and so on.

    Returns:
        Records by metric, ``run`` being the letter of the one that A is compared with; and the
        counts of each.

    Raises:
        PipelineError: as :func:`compare`.
    """
    first, *others = ((output, _columns(output)) for output in outputs)
    found = [_compared(first, other, confidence) for other in others]
    records = [
        {"metric": record["metric"], "run": letter(place), **record}
        for place, (compared, _) in enumerate(found, start=1)
        for record in compared
    ]
    records.sort(key=lambda record: METRICS.index(record["metric"]))
    return records, [counts for _, counts in found]


def letter(place: int) -> str:
    """What a run is called: A, B, ... Z, AA, AB, ..."""
    name = chr(ord("A") + place % 26)
    return letter(place // 26 - 1) + name if place >= 26 else name


def _columns(output: str) -> pa.Table:
    return load_columns(output, ["id", "status", *METRICS])


def _compared(
    a: tuple[str, pa.Table], b: tuple[str, pa.Table], confidence: float
) -> tuple[list[dict], dict[str, int]]:
    records, counts = compare_rows(a[1], b[1], confidence)
    if not counts["both"]:
        raise PipelineError(f"{a[0]} and {b[0]} have no id in common")
    return records, counts


def compare_rows(
    one: pa.Table, two: pa.Table, confidence: float = 0.95
) -> tuple[list[dict], dict[str, int]]:
    """As :func:`compare`, of columns that were read: ``id``, ``status`` and all metrics."""
    place = pc.index_in(one["id"], two["id"].combine_chunks())
    both = pc.is_valid(place)
    joined = two.take(place.filter(both))
    counts = {
        "both": len(joined),
        "only_a": len(one) - len(joined),
        "only_b": len(two) - len(joined),
        "failed_a": _failed(one.filter(both)),
        "failed_b": _failed(joined),
    }
    one = one.filter(both)
    records = (_record(name, one[name], joined[name], confidence) for name in METRICS)
    return [record for record in records if record], counts


def _failed(table: pa.Table) -> int:
    return pc.sum(pc.equal(table["status"], "error")).as_py() or 0


def _record(name: str, a: pa.ChunkedArray, b: pa.ChunkedArray, confidence: float) -> dict | None:
    x, y = (values.cast(pa.float64()).to_numpy() for values in (a, b))  # null: nan
    paired = np.isfinite(x) & np.isfinite(y)
    x, y = x[paired], y[paired]
    if not len(x):
        return None
    d = y - x
    error = stats.sem(d) if len(d) > 1 else np.nan
    low = high = None
    if error > 0:
        low, high = (float(v) for v in stats.t.interval(confidence, len(d) - 1, d.mean(), error))
    elif error == 0:
        low = high = float(d.mean())
    return {
        "metric": name,
        "pairs": len(d),
        "mean_a": float(x.mean()),
        "mean_b": float(y.mean()),
        "difference": float(d.mean()),
        "low": low,
        "high": high,
        "b_higher": float((d > 0).mean()),
        "p": float(stats.wilcoxon(d).pvalue) if d.any() else None,
    }
