"""The rows that a report shows: their pictures, and what is known of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from PIL import Image

from jobs.captions import facts
from jobs.export.values import as_cell, plain_rows
from jobs.measurements import Measurement, Measurements
from jobs.report.embed import heat
from jobs.report.fields import FACTS, METRIC_FIELDS, Field, own_fields
from jobs.restored import RestoredPictures
from jobs.results import read_columns
from pipeline.errors import PipelineError, RowError
from pipeline.fence.decoders import decode_picture
from pipeline.job_warnings import NOT_EXPLAINED
from pipeline.output.parts import Part, Tally
from pipeline.output.plan import read_shard
from pipeline.output.record import spec_of
from pipeline.output.run_folder import RunFolder
from pipeline.schema import FEATURES, PICTURES
from pipeline.steps.table import known_columns

BRIGHTEST = 0.99  # share of a map's pixels below the value that has the lightest colour
MAX_TEXT = 400  # characters of a value that a card shows
STEP = re.compile(r"/t(\d+)-(denoised|data)\.\w+$")  # pipeline.restoring.image_sampler.step_name


@dataclass(frozen=True)
class Shown:
    """One of a row's pictures.

    Attributes:
        key: ``measured``, ``restored``, ``reference``, ``uncertainty``, ...
        label: for people.
        picture: in RGB.
    """

    key: str
    label: str
    picture: Image.Image


@dataclass(frozen=True)
class Card:
    """A row as a report shows it.

    Attributes:
        id: of the row.
        values: by the name of a field; numbers that are not finite are None.
        caption: how it was restored, in a few words.
        warnings: what to look at twice, in words.
        error: why it failed, or empty.
        note: why a picture is not shown, or empty.
        pictures: as far as there are any.
        steps: of a watched row, what each is called, and x0 before and after the data step.
    """

    id: str
    values: dict[str, Any]
    caption: str
    warnings: Sequence[str]
    error: str
    note: str
    pictures: Sequence[Shown]
    steps: Sequence[tuple[str, Shown, Shown | None]] = ()


class Cards:
    """Reads the rows to show from an output.

    Args:
        folder: of the run.
        schema: of its results.
        allow_code: modules and packages that a benchmark's task may import.
        tallies: part's name -> its tally, which says when the part was made.

    Raises:
        PipelineError: the run is of another version, or its task would import code that is not
            allowed.
    """

    def __init__(
        self,
        folder: RunFolder,
        schema: pa.Schema,
        allow_code: Collection[str],
        tallies: Mapping[str, Tally],
    ):
        self.folder, self.tallies = folder, tallies
        self.spec = spec_of(folder.record, folder.layout)
        channels = folder.record.prior_channels
        self.measurements = Measurements(self.spec, channels, allow_code)
        self.show = RestoredPictures(self.spec, channels)
        there = {*schema.names, "gain", "pixels", "made"}  # three that are computed
        ours = [f for f in (*METRIC_FIELDS.values(), *FACTS) if f.name in there]
        self.fields: list[Field] = [*ours, *own_fields(schema)]
        left_out = {*FEATURES, "samples"}
        self.columns = [name for name in schema.names if name not in left_out]

    def read(self, part: Part, places: Sequence[int], again: bool = True) -> Iterator[Card]:
        """Some rows of a part, by their places in it; one row's pictures in memory at a time.

        Args:
            part: of the results.
            places: of the rows.
            again: read the files of the manifest again, which hold what was measured.

        Raises:
            PipelineError: the part is damaged.
            StorageError: something cannot be read.
        """
        uri = self.folder.layout.part(part.name)
        rows = pa.array(places, pa.int64())
        results = read_columns(uri, self.columns).take(rows)
        planned = read_shard(self.folder.shards[part.shard], self.folder.layout).take(rows)
        measure = self._reader(planned) if again else (lambda place: Measurement())
        pictures = [name for name in PICTURES.names if name in results.column_names]
        texts = plain_rows(results.drop_columns(pictures))
        manifest = known_columns(pa.chunked_array(planned.to_struct_array()))
        for i, (values, row) in enumerate(zip(texts, manifest, strict=True)):
            found = results.select(pictures).slice(i, 1).to_pylist()[0]
            values["made"] = self._made(part)
            yield self._card(values, row, found, lambda i=i: measure(i))

    def _made(self, part: Part) -> str | None:
        tally = self.tallies.get(part.name)
        if tally is None or not tally.ended:
            return None
        return datetime.fromtimestamp(tally.ended, UTC).strftime("%Y-%m-%d %H:%M:%S")

    def _reader(self, planned: pa.Table) -> Callable[[int], Measurement]:
        try:
            return self.measurements.reader(planned)
        except PipelineError as e:  # a kernel or a mask of the job is gone
            gone = Measurement(error=str(e))
            return lambda place: gone

    def _card(self, result: dict, row: dict, found: dict, measure) -> Card:
        failed = result["status"] != "ok"
        shown, note = ([], "") if failed else self._pictures(found, measure)
        return Card(
            id=result["id"],
            values=self._values(result),
            caption=", ".join(self._facts(result, row)),
            warnings=[] if failed else list(self._warnings(result)),
            error=(result["error"] or "") if failed else "",
            note=note,
            pictures=shown,
            steps=[] if failed else list(self._steps(found.get("steps") or ())),
        )

    def _pictures(self, found: dict, measure) -> tuple[list[Shown], str]:
        try:
            restored = self.show(found["restored"]["bytes"])
        except RowError as e:
            return [], f"restored: {e}"
        before = measure()
        shown = [Shown("restored", "Restored", restored)]
        if before.measured:
            shown.insert(0, Shown("measured", "Measured", before.measured))
        if before.reference:
            shown.append(Shown("reference", "Reference", before.reference))
        if seen := found.get("uncertainty_map"):
            spread = decode_picture(seen["bytes"], max_pixels=self.spec.max_pixels).pixels
            shown.append(Shown("uncertainty", "Uncertainty", heat(spread, BRIGHTEST)))
        return shown, before.error

    def _steps(self, cells: Sequence[dict]) -> Iterator[tuple[str, Shown, Shown | None]]:
        found: dict[tuple[str, str], Image.Image] = {}
        for cell in cells:
            if match := STEP.search(cell["path"]):
                found[match[1], match[2]] = self.show(cell["bytes"])
        for t, kind in found:
            if kind == "denoised":
                before = Shown(f"step-{t}", "x0 of the prior", found[t, kind])
                after = found.get((t, "data"))
                shown = Shown(f"step-{t}-data", "x0 with the data", after) if after else None
                yield f"timestep {int(t)}", before, shown

    def _values(self, result: dict) -> dict[str, Any]:
        known = dict(result)
        if known.get("psnr") is not None and known.get("baseline_psnr") is not None:
            known["gain"] = known["psnr"] - known["baseline_psnr"]
        if known.get("width") and known.get("height"):
            known["pixels"] = known["width"] * known["height"]
        return {field.name: _shown(known.get(field.name), field) for field in self.fields}

    def _facts(self, result: dict, row: dict) -> Iterator[str]:
        yield from facts(result, row, self.spec)
        if result.get("width"):
            yield f"{result['width']} x {result['height']} pixels"

    def _warnings(self, result: dict) -> Iterator[str]:
        psnr, baseline, residual = (result.get(k) for k in ("psnr", "baseline_psnr", "residual"))
        if psnr is not None and baseline is not None and psnr < baseline:
            yield f"worse than the measurement by {baseline - psnr:.1f} dB"
        if self.spec.task.is_linear and residual is not None and residual > NOT_EXPLAINED:
            yield f"does not explain the measurement (residual {residual:.1f}, expected near 1)"


def _shown(value: Any, field: Field) -> Any:
    if value is None:
        return None
    if field.kind == "number":
        return value if math.isfinite(value) else None
    text = " ".join(as_cell(value).split())
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + "…"
