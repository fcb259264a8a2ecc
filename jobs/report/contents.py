"""What is on the page of a run."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from jobs.report import figures
from jobs.report.cards import Card, Cards
from jobs.report.choose import choose, main_metric
from jobs.report.fields import METRIC_FIELDS
from jobs.report.previews import Gallery
from jobs.report.scan import PLACE, SHARD, Scan
from jobs.results import read_columns
from manifests import storage
from pipeline.output.run_folder import RunFolder
from pipeline.spec.job import WATCHED

TILES = ("psnr", "gain", "ssim", "residual", "seconds")  # means at the top of the page


class Contents:
    """A run as a page shows it.

    Args:
        output: folder or URI of the job.
        limit: rows that are shown with their pictures.
        allow_code: modules and packages that a benchmark's task may import.

    Raises:
        PipelineError: no job has that output, or it would import code that is not allowed.
        StorageError: it cannot be read.
    """

    def __init__(self, output: str, limit: int, allow_code: Collection[str] = ()):
        self.scan, self.limit, self.allow_code = Scan(output), limit, allow_code
        sampler = self.scan.folder.record.spec.get("sampler") or {}
        self.scan.with_ids = bool(sampler.get("watch_ids"))
        self.output, self.shown = output, storage.shown(output)
        self._known: dict[str, dict[str, Any]] = {}  # rows as a page shows them, by their names
        self.scan.refresh()

    @property
    def rows(self) -> int:
        """Rows that are there by now."""
        return len(self.scan.table)

    def payload(self, gallery: Gallery, newest: int = 0) -> dict[str, Any]:
        """Everything that the page shows, as JSON holds it.

        Args:
            gallery: makes plain values of the rows that no earlier call has shown.
            newest: so many of the rows that came last are shown in any case.

        Raises:
            PipelineError: a part is damaged.
            StorageError: something cannot be read.
        """
        table, folder = self.scan.table, self.scan.folder
        cards = Cards(folder, self.scan.schema, self.allow_code, self.scan.tallies)
        places = choose(table, self.limit)
        places = np.union1d(places, self._watched()).astype(int)
        if newest:
            places = np.union1d(places, self._newest(newest)).astype(int)
        rows = self._rows(cards, places, gallery)
        metric = main_metric(table)
        failed = len(table) - _count_ok(table)
        return {
            "title": self.shown,
            "made": made_now(),
            "summary": summary_of(len(table), folder.rows, failed),
            "tiles": tiles_of(table),
            "note": sample_words(len(places), len(table), metric, newest > 0),
            "fields": [field.plain() for field in cards.fields],
            "sort": sort_of(metric),
            "rows": rows,
            "figures": [
                *figures.plots_of(table, self.scan.groups, places, [row["key"] for row in rows]),
                *figures.work_plots(self.scan.tallies.values()),
            ],
            "tables": figures.tables_of(table, self.scan.groups),
            "failures": list(failures(self.scan)),
            "retry": "diffpir run JOB.yaml --retry-failed",
            "job": [{"title": self.shown, "text": job_text(folder.record.spec)}],
        }

    def _rows(self, cards: Cards, places: np.ndarray, gallery: Gallery) -> list[dict[str, Any]]:
        table = self.scan.table
        names = names_at(self.scan.folder, table, places)
        fresh = places[[name not in self._known for name in names]]
        for row in gallery.plain(cards_at(cards, table, fresh)):
            self._known[row["key"]] = row
        self._known = {name: self._known[name] for name in names}
        return list(self._known.values())

    def _watched(self) -> np.ndarray:
        """Places in the scan's table of the rows whose steps were saved."""
        sampler = self.scan.folder.record.spec.get("sampler") or {}
        if not sampler.get("save_steps"):
            return np.array([], int)
        if ids := sampler.get("watch_ids"):
            return pc.indices_nonzero(pc.is_in(self.scan.table["id"], pa.array(ids))).to_numpy()
        return np.arange(min(WATCHED, len(self.scan.table)))

    def _newest(self, count: int) -> np.ndarray:
        """Places in the scan's table of rows in the parts that were made last."""
        latest = self.scan.folder.state.latest
        ended = {shard: self.scan.tallies[part.name].ended for shard, part in latest.items()
                 if part.name in self.scan.tallies}  # fmt: skip
        shards = self.scan.table[SHARD].to_numpy()
        times = np.array([ended[shard] for shard in shards.tolist()])
        return np.argsort(times, kind="stable")[-count:]


def names_at(folder: RunFolder, table: pa.Table, places: np.ndarray) -> list[str]:
    """A name for each of some rows of a scan's table, which another version of it has not."""
    shards, inside = (table[name].to_numpy()[places].tolist() for name in (SHARD, PLACE))
    latest = folder.state.latest
    return [f"{s}-{latest[s].generation}-{i}" for s, i in zip(shards, inside, strict=True)]


def cards_at(
    source: Cards, table: pa.Table, places: np.ndarray, again: bool = True
) -> Iterator[tuple[str, Card]]:
    """The cards of rows by their places in a scan's table, each with a name for its files.

    Args:
        source: of the run.
        table: of the scan.
        places: in which the rows of a part are next to each other.
        again: as of :meth:`Cards.read`.
    """
    shards, inside = (table[name].to_numpy()[places] for name in (SHARD, PLACE))
    starts = np.flatnonzero(np.diff(shards, prepend=-1))
    names = iter(names_at(source.folder, table, places))
    for start, stop in itertools.pairwise([*starts.tolist(), len(shards)]):
        shard, chosen = int(shards[start]), inside[start:stop].tolist()
        part = source.folder.state.latest[shard]
        for card in source.read(part, chosen, again):
            yield next(names), card


def failures(scan: Scan) -> Iterator[dict[str, Any]]:
    """Of each kind of failure how many rows have it, and the ids and errors of some."""
    for kind, count, places in figures.failures_of(scan.table):
        examples = []
        for shard, place in places:
            part = scan.folder.state.latest[shard]
            rows = read_columns(scan.folder.layout.part(part.name), ["id", "error"])
            (row,) = rows.slice(place, 1).to_pylist()
            examples.append([row["id"], row["error"]])
        yield {"kind": kind, "count": count, "examples": examples}


def made_now() -> str:
    """The time, for the foot of a page."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def summary_of(done: int, rows: int, failed: int) -> str:
    """How far a run is, in a line."""
    text = f"{done:,} images" if done == rows else f"{done:,} of {rows:,} images so far"
    return f"{text}, {failed:,} failed" if failed else f"{text}, none failed"


def tiles_of(table: pa.Table) -> list[dict[str, Any]]:
    """The means that stand at the top of a page."""
    tiles = []
    for name in TILES:
        values = table[name].to_numpy()
        values = values[np.isfinite(values)]
        if len(values):
            field = METRIC_FIELDS[name]
            tiles.append({"label": f"Mean {_small(field.label)}", "value": float(values.mean()),
                          "unit": field.unit})  # fmt: skip
    return tiles


def sort_of(metric: str | None) -> dict[str, str]:
    """How the gallery is sorted at first."""
    return {"field": metric or "id", "order": "best" if metric else "up"}


def sample_words(shown: int, rows: int, metric: str | None, newest: bool = False) -> str:
    """Which rows the gallery has, for people."""
    if shown == rows:
        return f"All {rows:,} images are shown."
    label = METRIC_FIELDS[metric].label if metric else ""
    kind = "the newest ones" if newest else "the same sample every time"
    spread = f"the others are spread evenly from the worst to the best {label}" if label else ""
    return (
        f"A sample of {shown:,} of {rows:,} images is shown ({kind}): failures of every "
        f"kind, the extremes of every metric{', and ' + spread if spread else ''}. All "
        "numbers are of all images."
    )


def job_text(spec: dict) -> str:
    """A job's specification as people write it, without what was left to its default."""
    given = {key: value for key, value in spec.items() if value not in (None, {}, [])}
    return yaml.safe_dump(given, sort_keys=False, allow_unicode=True)


def _count_ok(table: pa.Table) -> int:
    return pc.sum(pc.equal(table["status"], "ok")).as_py() or 0


def _small(label: str) -> str:
    return label if label[:2].isupper() else label[0].lower() + label[1:]
