"""What is on the page of several runs over the same images: differences, paired by id."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.compare import compare_rows
from jobs.report import figures
from jobs.report.cards import Card, Cards, Shown
from jobs.report.choose import choose
from jobs.report.contents import cards_at, failures, job_text, made_now
from jobs.report.fields import METRIC_FIELDS, Field
from jobs.report.previews import Gallery
from jobs.report.scan import PLACE, SHARD, Scan
from manifests import storage
from pipeline.errors import PipelineError

LETTERS = "ABCDEFGH"


class Pairs:
    """Several runs as one page shows them; the others are compared with the first.

    Args:
        outputs: folders or URIs of the jobs, two or more.
        limit: images that are shown.
        allow_code: modules and packages that a benchmark's task may import.

    Raises:
        PipelineError: no results there, no id in common, or too many outputs.
        StorageError: one cannot be read.
    """

    def __init__(self, outputs: Sequence[str], limit: int, allow_code: Collection[str] = ()):
        if len(outputs) > len(LETTERS):
            raise PipelineError(f"{len(outputs)} outputs: a page compares {len(LETTERS)} at most")
        self.limit, self.allow_code = limit, allow_code
        self.letters = LETTERS[: len(outputs)]
        self.shown = [storage.shown(output) for output in outputs]
        self.scans = [Scan(output, with_ids=True) for output in outputs]
        for scan in self.scans:
            scan.refresh()
        ids = self.scans[0].table["id"]
        for scan in self.scans[1:]:
            ids = ids.filter(pc.is_in(ids, scan.table["id"].combine_chunks()))
        if not len(ids):
            raise PipelineError(f"{' and '.join(self.shown)} have no id in common")
        # Rows of each run in the order of the first one's: a row of all tables is one image.
        self.tables = [
            scan.table.take(pc.index_in(ids, scan.table["id"].combine_chunks()))
            for scan in self.scans
        ]

    @property
    def rows(self) -> int:
        """Images that all runs have."""
        return len(self.tables[0])

    def payload(self, gallery: Gallery) -> dict[str, Any]:
        """Everything that the page shows, as JSON holds it; raises as :meth:`Contents.payload`."""
        differences = self._differences()
        metric = next((name for name in METRIC_FIELDS if f"1:{name}" in differences), None)
        ranked = f"1:{metric}" if metric else None
        both = self._choosable(differences)
        places = choose(both, self.limit, ranked, [ranked] if ranked else [])
        fields = self._fields(differences)
        rows = list(gallery.plain(self._cards(places, fields)))
        keys = [row["key"] for row in rows]
        named = [f"{x}: {shown}" for x, shown in zip(self.letters, self.shown, strict=True)]
        return {
            "title": " against ".join(_short(self.shown)),
            "made": made_now(),
            "summary": f"{self.rows:,} images that all runs have. {'; '.join(named)}",
            "tiles": self._tiles(differences, metric),
            "note": self._sample_words(len(rows), metric),
            "fields": [field.plain() for field in fields],
            "sort": {
                "field": f"difference:{ranked}" if ranked else "id",
                "order": "best" if metric and METRIC_FIELDS[metric].better != "one" else "up",
            },
            "pairs": {mode: [["restored", "restored-1"]] for mode in ("wipe", "difference")},
            "rows": rows,
            "figures": self._figures(differences, places, keys),
            "tables": self._comparisons(),
            "failures": [
                {**kind, "kind": f"{letter}: {kind['kind']}"}
                for letter, scan in zip(self.letters, self.scans, strict=True)
                for kind in failures(scan)
            ],
            "retry": "diffpir run JOB.yaml --retry-failed",
            "job": [
                {"title": title, "text": job_text(scan.folder.record.spec)}
                for title, scan in zip(named, self.scans, strict=True)
            ],
        }

    def _sample_words(self, shown: int, metric: str | None) -> str:
        if shown == self.rows:
            return f"All {self.rows:,} images are shown."
        text = (
            f"A sample of {shown:,} of {self.rows:,} images is shown, the same one every time: "
            "failures, the greatest differences both ways"
        )
        if metric:
            label = METRIC_FIELDS[metric].label
            text += f", and the others spread evenly by their difference in {label}"
        return f"{text}. All numbers are of all images."

    def _differences(self) -> dict[str, np.ndarray]:
        """``RUN:METRIC`` -> what the run has more than the first one, for each image."""
        found = {}
        for run, table in enumerate(self.tables[1:], 1):
            for name in METRIC_FIELDS:
                with np.errstate(invalid="ignore"):
                    values = table[name].to_numpy() - self.tables[0][name].to_numpy()
                if np.isfinite(values).any():
                    found[f"{run}:{name}"] = values
        return found

    def _choosable(self, differences: dict[str, np.ndarray]) -> pa.Table:
        ok = np.all([pc.equal(table["status"], "ok").to_numpy() for table in self.tables], axis=0)
        kinds = [table["error_kind"].cast(pa.string()) for table in self.tables]
        kind = kinds[0]
        for other in kinds[1:]:
            kind = pc.if_else(pc.equal(kind, ""), other, kind)
        status = pa.array(np.where(ok, "ok", "error"))
        return pa.table({"status": status, "error_kind": kind, **differences})

    def _fields(self, differences: dict[str, np.ndarray]) -> list[Field]:
        fields = []
        for key in differences:
            run, name = key.split(":")
            field = METRIC_FIELDS[name]
            better = field.better if field.better in ("high", "low") else None
            label = f"{field.label}, {LETTERS[int(run)]} - A"
            fields.append(Field(f"difference:{key}", label, field.unit, better=better))
        measured = dict.fromkeys(key.split(":")[1] for key in differences)
        for i, letter in enumerate(self.letters):
            for name in measured:
                field = METRIC_FIELDS[name]
                fields.append(
                    replace(field, name=f"run:{i}:{name}", label=f"{field.label}, {letter}")
                )
        return [*fields, Field("status", "Status", kind="text")]

    def _cards(self, places: np.ndarray, fields: list[Field]) -> Iterator[tuple[str, Card]]:
        """The cards of images: those of the first run, with the other runs' results beside."""
        sources = [
            Cards(scan.folder, scan.schema, self.allow_code, scan.tallies) for scan in self.scans
        ]
        # Parts are read in their order, each once: the others' cards wait for those of the first.
        several: list[dict[int, Card]] = []
        for run, source in enumerate(sources[1:], 1):
            order = np.lexsort(
                [self.tables[run][name].to_numpy()[places] for name in (PLACE, SHARD)]
            )
            read = cards_at(source, self.tables[run], places[order], again=False)
            several.append({int(places[i]): card for i, (_, card) in zip(order, read, strict=True)})
        first = cards_at(sources[0], self.tables[0], places)
        for place, (name, card) in zip(places.tolist(), first, strict=True):
            others = [cards.pop(place) for cards in several]
            yield name, self._joined(place, card, others, fields)

    def _joined(self, place: int, card: Card, others: list[Card], fields: list[Field]) -> Card:
        cards = [card, *others]
        pictures = [shown for shown in card.pictures if shown.key == "measured"]
        for run, one in enumerate(cards):
            key = f"restored-{run}" if run else "restored"
            pictures += [
                Shown(key, LETTERS[run], shown.picture)
                for shown in one.pictures
                if shown.key == "restored"
            ]
        pictures += [shown for shown in card.pictures if shown.key == "reference"]
        values: dict[str, Any] = {}
        for field in fields:
            if field.name == "status":
                values["status"] = "ok" if not any(one.error for one in cards) else "error"
                continue
            kind, run_text, name = field.name.split(":")
            run = int(run_text)
            value = cards[run].values.get(name)
            if kind == "difference":
                base = card.values.get(name)
                value = None if value is None or base is None else value - base
            values[field.name] = value
        errors = [f"{LETTERS[run]}: {one.error}" for run, one in enumerate(cards) if one.error]
        warnings = [f"{LETTERS[run]}: {w}" for run, one in enumerate(cards) for w in one.warnings]
        return replace(
            card,
            values=values,
            warnings=[*errors, *warnings] if pictures else warnings,
            error="; ".join(errors),
            pictures=pictures,
            steps=[
                (f"{LETTERS[run]}, {label}", before, after)
                for run, one in enumerate(cards)
                for label, before, after in one.steps
            ],
        )

    def _tiles(self, differences: dict[str, np.ndarray], metric: str | None) -> list[dict]:
        tiles = []
        for run in range(1, len(self.scans)):
            values = differences.get(f"{run}:{metric}")
            if values is None:
                continue
            values = values[np.isfinite(values)]
            field = METRIC_FIELDS[metric or ""]
            sign = -1 if field.better == "low" else 1
            letter = LETTERS[run]
            tiles += [
                {"label": f"Mean {field.label}, {letter} - A", "value": float(values.mean()),
                 "unit": field.unit},
                {"label": f"Images on which {letter} is better",
                 "value": int((sign * values > 0).sum()), "unit": f"of {len(values):,}"},
                {"label": "on which A is better",
                 "value": int((sign * values < 0).sum()), "unit": f"of {len(values):,}"},
            ]  # fmt: skip
        return tiles

    def _figures(
        self, differences: dict[str, np.ndarray], places: np.ndarray, keys: Sequence[str]
    ) -> list[dict[str, Any]]:
        plots = []
        for key, values in differences.items():
            run, name = key.split(":")
            letter, label = LETTERS[int(run)], METRIC_FIELDS[name].label
            title = f"{label}: {letter} - A"
            plots.append(figures.histogram(name, {"": values}, title))
            both = (self.tables[0], self.tables[int(run)])
            x, y = (
                (f"{label}, {which}", table[name].to_numpy())
                for which, table in zip(("A", letter), both, strict=True)
            )
            title = f"{label}: {letter} against A"
            plots.append(figures.scatter(x, y, title, True, places, keys))
        return [plot for plot in plots if plot]

    def _comparisons(self) -> list[dict[str, Any]]:
        tables = []
        for run, table in enumerate(self.tables[1:], 1):
            letter = LETTERS[run]
            records, _ = compare_rows(self.tables[0], table)
            heads = ("Metric", "Pairs", "Mean A", f"Mean {letter}", f"{letter} - A", "95 % from",
                     "to", f"{letter} higher in", "p (Wilcoxon)")  # fmt: skip
            rows = [[METRIC_FIELDS[r["metric"]].label, *list(r.values())[1:]] for r in records]
            tables.append(
                {
                    "title": f"{letter} against A, paired by id",
                    "columns": list(heads),
                    "numeric": [False, *[True] * (len(heads) - 1)],
                    "rows": [[figures.finite(value) for value in row] for row in rows],
                }
            )
        return tables


def _short(shown: Sequence[str]) -> Sequence[str]:
    """The last parts of paths or URIs, as far as they tell them apart."""
    lasts = [place.rstrip("/").rpartition("/")[2] for place in shown]
    return lasts if all(lasts) and len(set(lasts)) == len(lasts) else shown
