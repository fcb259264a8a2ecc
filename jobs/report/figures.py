"""The numbers of a run as plots and tables: plain values, which the page draws."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.aggregate import aggregate
from jobs.report.fields import METRIC_FIELDS
from jobs.results import METRICS
from pipeline.output.parts import Tally

BINS = 40
POINTS = 1500  # of a scatter plot, at most
MOST_BARS = 24
# Pairs of columns that say something together: x, y, and whether equal values are a line.
PAIRS = (
    ("baseline_psnr", "psnr", True),
    ("residual", "psnr", False),
    ("uncertainty", "psnr", False),
    ("pixels", "seconds", False),
)
LABELS = {name: field.label for name, field in METRIC_FIELDS.items()} | {"pixels": "Pixels"}
SHOWN = ("count", "mean", "std", "sem", "min", "q05", "median", "q95", "max")
HEADS = ("Count", "Mean", "Std", "Std error", "Least", "5 %", "Median", "95 %", "Most")


def plots_of(
    table: pa.Table, groups: Collection[str], shown: np.ndarray, keys: Sequence[str]
) -> list[dict[str, Any]]:
    """Histograms of the metrics, scatter plots, and means by the user's own columns.

    Args:
        table: of a scan.
        groups: the user's own columns to group by.
        shown: places in it of the rows that the gallery has.
        keys: of their cards.
    """
    plots = [histogram(name, {"": table[name].to_numpy()}) for name in METRIC_FIELDS]
    plots += [_scatter(table, x, y, diagonal, shown, keys) for x, y, diagonal in PAIRS]
    plots += [_by_group(table, name) for name in groups]
    return [plot for plot in plots if plot]


def histogram(name: str, series: dict[str, np.ndarray], title: str = "") -> dict[str, Any] | None:
    """How often which values occur; None where there are no two different ones."""
    series = {label: values[np.isfinite(values)] for label, values in series.items()}
    every = np.concatenate(list(series.values()))
    if not len(every) or every.min() == every.max():
        return None
    edges = np.histogram_bin_edges(every, BINS)
    counts = {label: np.histogram(values, edges)[0].tolist() for label, values in series.items()}
    title = title or LABELS[name]
    low, middle, high = np.quantile(every, [0.05, 0.5, 0.95])
    rows = [
        [_text(edges[i]), *(values[i] for values in counts.values())] for i in range(len(edges) - 1)
    ]
    return {
        "kind": "histogram",
        "title": title,
        "x": _with_unit(name, title),
        "y": "Images",
        "edges": edges.tolist(),
        "series": [{"name": label, "values": values} for label, values in counts.items()],
        "summary": f"Histogram of {title} over {len(every):,} values: median {_text(middle)}, nine "
        f"of ten between {_text(low)} and {_text(high)}.",
        "table": {
            "columns": ["From", *(label or "Images" for label in counts)],
            "numeric": [True] * (len(counts) + 1),
            "rows": rows,
        },
    }


def scatter(
    x: tuple[str, np.ndarray],
    y: tuple[str, np.ndarray],
    title: str,
    diagonal: bool,
    shown: np.ndarray,
    keys: Sequence[str],
) -> dict[str, Any] | None:
    """Pairs of values, all of the rows shown and evenly many of the others."""
    xs, ys = x[1], y[1]
    both = np.flatnonzero(np.isfinite(xs) & np.isfinite(ys))
    if len(both) < 3 or xs[both].min() == xs[both].max():
        return None
    known = dict(zip(shown.tolist(), keys, strict=True))
    spread = both[np.linspace(0, len(both) - 1, min(len(both), POINTS)).astype(int)]
    places = np.union1d(spread, np.intersect1d(both, shown))
    ends = [float(min(xs[both].min(), ys[both].min())), float(max(xs[both].max(), ys[both].max()))]
    constant = ys[both].min() == ys[both].max()
    r = 0.0 if constant else float(np.corrcoef(xs[both], ys[both])[0, 1])
    return {
        "kind": "scatter",
        "title": title,
        "x": x[0],
        "y": y[0],
        "diagonal": ends if diagonal else None,
        "series": [
            {
                "name": "images",
                "values": [[float(xs[i]), float(ys[i])] for i in places],
                "keys": [known.get(int(i)) for i in places],
            }
        ],
        "summary": f"{title}: {len(both):,} images, correlation {r:.2f}.",
    }


def tables_of(table: pa.Table, groups: Collection[str]) -> list[dict[str, Any]]:
    """The summary of every metric, and of every group the main ones."""
    # ``aggregate`` wants every metric; the groups are under names of their own.
    tables = [_summary("All images", aggregate(table, None), None)]
    for name in groups:
        records = aggregate(table, f"own:{name}", heading="group")
        tables.append(_summary(f"By {name}", records, name))
    return [found for found in tables if found["rows"]]


def _summary(title: str, records: list[dict], group: str | None) -> dict[str, Any]:
    wanted = METRICS if group is None else ("psnr", "gain", "ssim", "residual", "seconds")
    rows = [
        [
            *([] if group is None else [_group_text(record["group"])]),
            LABELS[record["metric"]],
            *(finite(record[name]) for name in SHOWN),
        ]
        for record in records
        if record.get("metric") in wanted
    ]
    heads = ["Metric", *HEADS] if group is None else [group, "Metric", *HEADS]
    numeric = [head in HEADS for head in heads]
    return {"title": title, "columns": heads, "numeric": numeric, "rows": rows}


def _scatter(table, x: str, y: str, diagonal: bool, shown, keys) -> dict[str, Any] | None:
    title = f"{LABELS[y]} against {LABELS[x]}"
    pairs = [(_with_unit(name, LABELS[name]), table[name].to_numpy()) for name in (x, y)]
    return scatter(pairs[0], pairs[1], title, diagonal, shown, keys)


def _by_group(table: pa.Table, name: str) -> dict[str, Any] | None:
    metric = next((m for m in METRIC_FIELDS if table[m].null_count < len(table)), None)
    if metric is None:
        return None
    records = aggregate(table.select([f"own:{name}", "status", *METRICS]), f"own:{name}", "group")
    found = [r for r in records if r.get("metric") == metric][:MOST_BARS]
    if len(found) < 2:
        return None
    label = LABELS[metric]
    return {
        "kind": "bars",
        "title": f"Mean {label} by {name}",
        "x": name,
        "y": _with_unit(metric, label),
        "labels": [_group_text(record["group"]) for record in found],
        "series": [{"name": label, "values": [record["mean"] for record in found]}],
        "summary": f"Mean {label} of {len(found)} groups by {name}; the table below has them.",
    }


def failures_of(table: pa.Table) -> list[tuple[str, int, list[tuple[int, int]]]]:
    """Of each kind of failure how many rows have it, and where the first ones are: shard, place."""
    from jobs.report.scan import PLACE, SHARD

    failed = table.select([SHARD, PLACE, "status", "error_kind"]).filter(
        pc.equal(table["status"], "error")
    )
    kinds = np.array(failed["error_kind"].to_pylist(), dtype=object)
    shards, places = failed[SHARD].to_numpy(), failed[PLACE].to_numpy()
    found = []
    for kind in sorted(set(kinds), key=str):
        at = np.flatnonzero(kinds == kind)
        first = [(int(shards[i]), int(places[i])) for i in at[:5]]
        found.append((str(kind or "unknown"), len(at), first))
    return sorted(found, key=lambda item: -item[1])


def work_plots(tallies: Collection[Tally]) -> list[dict[str, Any]]:
    """Throughput over time, and images and memory of each actor."""
    timed = sorted((t for t in tallies if t.ended), key=lambda t: t.ended)
    plots: list[dict[str, Any]] = []
    if len(timed) > 2 and timed[0].ended < timed[-1].ended:
        ends = np.array([t.ended for t in timed])
        counts = np.array([t.rows for t in timed])
        edges = np.linspace(ends[0], ends[-1], min(61, len(timed)))
        done, _ = np.histogram(ends[1:], edges, weights=counts[1:])
        rates = done / np.diff(edges)
        values = [[(edges[i + 1] - ends[0]) / 60, float(rate)] for i, rate in enumerate(rates)]
        began = datetime.fromtimestamp(ends[0], UTC).strftime("%Y-%m-%d %H:%M UTC")
        plots.append(
            {
                "kind": "line",
                "title": "Throughput",
                "x": f"Minutes since {began}",
                "y": "Images per second",
                "series": [{"name": "images per second", "values": values}],
                "summary": f"Images per second since {began}: {rates.mean():.3g} on average, "
                f"{rates.max():.3g} at most.",
            }
        )
    actors: dict[str, list[float]] = {}
    for tally in tallies:
        if tally.actor:
            told = actors.setdefault(tally.actor, [0, 0.0, 0])
            told[0] += tally.rows
            told[1] += tally.seconds
            told[2] = max(told[2], tally.peak_memory)
    if actors:
        names = sorted(actors)
        rows = [[n, actors[n][0], actors[n][1], actors[n][2] / 2**30] for n in names]
        plots.append(
            {
                "kind": "bars",
                "title": "Images by actor",
                "x": "Host and process",
                "y": "Images",
                "labels": names[:MOST_BARS],
                "series": [{"name": "images", "values": [actors[n][0] for n in names[:MOST_BARS]]}],
                "summary": f"{len(names)} actors; the table below has the numbers of each.",
                "table": {
                    "columns": ["Actor", "Images", "Busy seconds", "Memory, GiB at most"],
                    "numeric": [False, True, True, True],
                    "rows": rows,
                },
            }
        )
    return plots


def _with_unit(name: str, label: str) -> str:
    field = METRIC_FIELDS.get(name)
    return f"{label} ({field.unit})" if field and field.unit else label


def _group_text(value: Any) -> str:
    text = "(nothing)" if value is None else str(value)
    return text if len(text) <= 60 else text[:59] + "…"


def _text(value: float) -> str:
    return f"{value:.4g}"


def finite(value: Any) -> Any:
    """A value, or None for a number that JSON does not know."""
    return value if not isinstance(value, float) or np.isfinite(value) else None
